"""Many dreams at a time: the learned game as a Gymnasium vector environment."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from envs.encoded import stacked_space
from envs.models import ModelSource, WeightSource, open_model, renew_model
from envs.pool import StartPool, check_starts, chosen_start, fill_pool
from envs.stack import choose, stack_push
from envs.tensors import StepTensors, TensorVectorEnv, as_array
from worldmodel.base import Dream, Step, WorldModel
from worldmodel.data.starts import Starts, load_starts
from worldmodel.errors import UserError
from worldmodel.spaces import Observation

STARTS_FILE = "starts.safetensors"
"""Where, in a world model's folder, the starts are that make it playable by itself."""


class NeuralVectorEnv(TensorVectorEnv):
    """N dreams of one world model, a single forward pass a step.

    `reset` and `step` speak NumPy; `reset_tensors` and `step_tensors` are the same on the device, without waiting
    for it and without Python for each dream.

    Attributes:
        last_step: What the world model told of the newest step, on the device; of a dream that only began with it, what
            followed the end of the one before. None before the first step.
    """

    last_step: Step | None = None

    def __init__(
        self,
        world_model: ModelSource,
        num_envs: int = 1,
        *,
        observation: Observation = "frames",
        stack: int = 4,
        horizon: int | None = 48,
        starts: Starts | None = None,
        doubt_limit: float | None = None,
        shuffled: bool = False,
        steps_ahead: int = 0,
        device: str | torch.device = "cpu",
        seed: int | None = None,
        render_mode: str | None = None,
    ) -> None:
        """Make ready to dream.

        Args:
            world_model: The model, or the folder of one.
            num_envs: Dreams at a time.
            observation: "frames": uint8, (height, width, 3 * stack); "latents": float32, (h, w, channels * stack).
            stack: Newest observations that are shown at once, newest last.
            horizon: A dream is truncated after this many steps; None: never.
            starts: The real contexts that dreams begin from; None: those in the model's folder, if it has any.
            doubt_limit: A dream whose doubt exceeds this is truncated; None: as the model was measured on real play.
            shuffled: Give each dream the action that was meant for another one: a game that can't be learned.
            steps_ahead: How many steps of all dreams are to come. Where they will take long, faster ways to compute
                them are tried at the first one: in bfloat16, compiled.
            device: Where to dream.
            seed: Seeds every random number until `reset` is given a seed; None: by chance.
            render_mode: "rgb_array", or None.

        Raises:
            UserError: If the starts do not suit the model, or actions are to be shuffled among fewer than 2 dreams.
        """
        if shuffled and num_envs < 2:
            raise UserError("actions are shuffled among dreams: ask for at least 2 of them.")
        super().__init__(num_envs, horizon, device)
        self.render_mode = render_mode
        self.world_model = open_model(world_model, self.device)
        self._observation, self.stack, self._shuffled = observation, stack, shuffled
        self._given_limit = doubt_limit
        self._steps_ahead = steps_ahead
        self._autotuned: WorldModel | None = None
        self._generator = torch.Generator(self.device)
        self._generator.seed() if seed is None else self._generator.manual_seed(seed)
        self._set_spaces(self.world_model.action_spec, self._space())
        self._dreams: Dream | None = None
        self._pool: StartPool | None = None
        self._starts: Starts | None = None
        self._chose = False
        if (known := _starts_beside(world_model) if starts is None else starts) is not None:
            self.set_starts(known)

    @property
    def doubt_limit(self) -> Tensor | float:
        """A dream that is doubted more than this is truncated; a number, or float32 () on the device."""
        return self.world_model.doubt_limit if self._given_limit is None else self._given_limit

    def set_starts(self, starts: Starts) -> None:
        """Begin dreams from other starts; those under way go on."""
        check_starts(self.world_model, starts)
        self._starts, self._pool, self._chose = starts, None, False

    def load_world_model(self, world_model: WeightSource) -> None:
        """Dream in another model, of the same game and shape; dreams begin anew at the next reset.

        Args:
            world_model: A state dict for the model that is there, or another model, or the folder of one.
        """
        self.world_model = renew_model(self.world_model, world_model, self.device)
        self._dreams = self._pool = None
        if self._starts is not None:
            # It may see them with other eyes.
            self._starts = replace(self._starts, latents=None)
            check_starts(self.world_model, self._starts)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[Any], dict[str, Any]]:
        """Begin every dream anew.

        Args:
            seed: Seeds every random number from here on.
            options: `{"frames": ..., "actions": ...}` begins every dream at a start of one's choice: frames uint8,
                (n, height, width, 3), at most the model's context; the n - 1 actions between them may be left out.
        """
        if not options or "frames" not in options:
            return super().reset(seed=seed)
        self._reseed(seed)
        start = chosen_start(self.world_model, options["frames"], options.get("actions"))
        if self._starts is None or self._chose:
            # Where nothing else is known, later dreams begin there too.
            self._starts, self._pool, self._chose = start, None, True
        return as_array(self._begin(self._encoded(start).draw(self.num_envs, self._generator))), {}

    @torch.no_grad()
    def reset_tensors(self, seed: int | None = None) -> Tensor:
        """Begin every dream anew, from starts drawn from the pool; see `TensorVectorEnv`.

        Raises:
            UserError: If there is nothing to begin from.
        """
        self._reseed(seed)
        return self._begin(self._begun().draw(self.num_envs, self._generator))

    @torch.no_grad()
    def step_tensors(self, actions: Tensor) -> StepTensors:
        """Dream on; see `TensorVectorEnv`."""
        if self._dreams is None:
            raise gym.error.ResetNeeded("call reset before step")
        fresh = self._begun().draw(self.num_envs, self._generator)
        acted = self._acted(actions)
        self._autotune(self._dreams, acted)
        dreams, step = self.world_model.step(self._dreams, acted, self._generator)
        begun, self.last_step = self.needs_reset, step
        stacked = stack_push(self._stacked, self.world_model.observe(dreams, self._observation))
        self._dreams = dreams.where(begun, fresh.dreams)
        self._stacked = choose(begun, fresh.stacks, stacked)
        rewards = torch.where(begun, 0.0, step.rewards)
        # A dream whose doubt is no number has run away furthest of all.
        doubted = ~(step.doubt <= self.doubt_limit)
        return self._stacked, rewards, *self._finish(step.terminated, doubted)

    def render(self) -> tuple[NDArray[np.uint8], ...] | None:  # type: ignore[override]
        """The newest frame of each dream, uint8, (height, width, 3)."""
        if self.render_mode is None:
            return None
        if self._dreams is None:
            raise gym.error.ResetNeeded("call reset before render")
        with torch.no_grad():
            return tuple(as_array(self.world_model.observe(self._dreams, "frames")))

    def _space(self) -> gym.spaces.Box:
        dtype = np.uint8 if self._observation == "frames" else np.float32
        return stacked_space(self.world_model.observation_shape(self._observation), dtype, self.stack)

    def _reseed(self, seed: int | None) -> None:
        if seed is not None:
            self._generator.manual_seed(seed)

    def _begun(self) -> StartPool:
        """All starts, encoded when they are first needed: models and starts often change together."""
        if self._starts is None:
            raise UserError("no dream can begin: give `starts`, or `reset(options={'frames': ...})`.")
        self._pool = self._pool or self._encoded(self._starts)
        return self._pool

    def _encoded(self, starts: Starts) -> StartPool:
        return fill_pool(self.world_model, starts, self._observation, self.stack, self.device)

    def _begin(self, starts: StartPool) -> Tensor:
        self._forget()
        self._dreams, self._stacked, self.last_step = starts.dreams, starts.stacks, None
        return self._stacked

    def _autotune(self, dreams: Dream, actions: Tensor) -> None:
        if self._steps_ahead and self._autotuned is not self.world_model:
            self.world_model.autotune(dreams, actions, self._steps_ahead)
            self._autotuned = self.world_model

    def _acted(self, actions: Tensor) -> Tensor:
        if not self._shuffled:
            return actions
        # Turned, not permuted: a permutation leaves one dream in N its own action, and PPO learned from that alone.
        by = torch.randint(1, self.num_envs, (1,), generator=self._generator, device=self.device)
        return actions[(torch.arange(self.num_envs, device=self.device) + by) % self.num_envs]


def _starts_beside(world_model: ModelSource) -> Starts | None:
    if not isinstance(world_model, str | Path):
        return None
    path = Path(world_model) / STARTS_FILE
    return load_starts(path) if path.exists() else None
