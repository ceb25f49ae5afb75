"""Dreams as a vector environment with two faces: tensors on the device, and Gymnasium's NumPy arrays on top."""

from abc import abstractmethod
from math import inf
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray
from torch import Tensor

from envs.actions import as_stored, space_of
from envs.encoded import Batch
from worldmodel.spaces import ActionSpec

StepTensors = tuple[Tensor, Tensor, Tensor, Tensor]

_METADATA = {"autoreset_mode": AutoresetMode.NEXT_STEP, "render_modes": ["rgb_array"], "render_fps": 15}


class TensorVectorEnv(VectorEnv[NDArray[Any], NDArray[Any], NDArray[Any]]):
    """Dreams that go on for at most `horizon` steps.

    A finished dream begins anew in the step after (NEXT_STEP): that step ignores its action, pays nothing, and shows
    the start of the next dream. A predicted end is `terminated`; whatever else cuts a dream off is `truncated`, and
    never both.

    Attributes:
        device: Where the tensors are.
        horizon: Steps after which a dream is truncated; infinite: never.
        action_spec: The game's actions.
        needs_reset: bool, (num_envs,): dreams whose next step begins a new one.
    """

    metadata: dict[str, Any] = _METADATA

    def __init__(self, num_envs: int, horizon: int | None, device: str | torch.device) -> None:
        """Begin with no dream at all; `horizon` None: no limit."""
        self.num_envs = num_envs
        self.device = torch.device(device)
        self.horizon = inf if horizon is None else horizon
        self._stacked = torch.empty(0)
        self._forget()

    @abstractmethod
    def reset_tensors(self, seed: int | None = None) -> Tensor:
        """Begin every dream anew.

        Args:
            seed: Draw every random number from it; None: go on with the numbers as they come.

        Returns:
            The observations, (num_envs, height, width, channels).
        """

    @abstractmethod
    def step_tensors(self, actions: Tensor) -> StepTensors:
        """Dream on.

        Args:
            actions: (num_envs, ...), of the type and shape that the game's `ActionSpec` has.

        Returns:
            Observations (num_envs, height, width, channels), rewards float32 (num_envs,), terminated and truncated
            bool (num_envs,): fresh tensors on the device.
        """

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[NDArray[Any], dict]:
        """Begin every dream anew; `seed` as in `reset_tensors`."""
        return as_array(self.reset_tensors(seed)), {}

    def step(self, actions: NDArray[Any]) -> Batch:
        """Dream on; see `step_tensors`.

        Raises:
            UserError: If an action is none of the game's.
        """
        acted = torch.as_tensor(as_stored(self.action_spec, np.asarray(actions)), device=self.device)
        observations, rewards, terminated, truncated = map(as_array, self.step_tensors(acted))
        return observations, rewards, terminated, truncated, {}

    def _set_spaces(self, action_spec: ActionSpec, observation_space: gym.spaces.Box) -> None:
        self.action_spec = action_spec
        self.single_action_space = space_of(action_spec)
        self.single_observation_space = observation_space
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)

    def _forget(self) -> None:
        self._age = torch.zeros(self.num_envs, dtype=torch.int64, device=self.device)
        self.needs_reset = torch.zeros(self.num_envs, dtype=torch.bool, device=self.device)

    def _finish(self, terminated: Tensor, cut: Tensor) -> tuple[Tensor, Tensor]:
        """Which dreams end with this step: terminated, and truncated by the horizon or because they are `cut`."""
        begun = self.needs_reset
        self._age = torch.where(begun, 0, self._age + 1)
        terminated = terminated & ~begun
        truncated = (cut | (self._age >= self.horizon)) & ~terminated & ~begun
        self.needs_reset = terminated | truncated
        return terminated, truncated


def as_array(tensor: Tensor) -> NDArray[Any]:
    """A copy, so that nobody who changes it changes the dream."""
    return tensor.cpu().numpy().copy()
