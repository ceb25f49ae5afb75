"""Dreams with nothing to dream: a walk along a corridor, as a vector environment with a tensor face.

Every observation is unlike every other: it tells the dream, the game and the position, so that rows can be matched.
"""

from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
import torch
from gymnasium.vector import AutoresetMode
from torch import Tensor

from envs.actions import space_of
from worldmodel.spaces import ActionSpec

RIGHT = 1
SPECS = {
    "discrete": ActionSpec.discrete(2),
    "multi_discrete": ActionSpec.multi_discrete((3, 2, 4)),
    "multi_binary": ActionSpec.multi_binary(3),
    "box": ActionSpec.box((-2.0, 0.0), (1.0, 5.0)),
}


class Corridor(gym.vector.VectorEnv):
    """Walking right (action 1) pays 1 and ends the game at the corridor's far end; the horizon truncates.

    Of several components the second one counts: 1, or more than the middle.

    Dream `i` begins `i` steps nearer to its first horizon, so that dreams end one by one.
    """

    metadata: ClassVar[dict[str, Any]] = {"autoreset_mode": AutoresetMode.NEXT_STEP}

    def __init__(self, num_envs: int, length: int = 5, horizon: int = 7, size: int = 8, kind: str = "discrete") -> None:
        self.num_envs, self.length, self.horizon, self.size = num_envs, length, horizon, size
        self.single_observation_space = gym.spaces.Box(0, 255, (size, size, 3), np.uint8)
        self.spec_of_actions = SPECS[kind]
        self.single_action_space = space_of(SPECS[kind])
        self.observation_space = gym.vector.utils.batch_space(self.single_observation_space, num_envs)
        self.action_space = gym.vector.utils.batch_space(self.single_action_space, num_envs)
        self.seeds: list[int | None] = []
        self.executed: list[Tensor] = []
        self.world_model: Any = None
        self.starts: Any = None

    def reset_tensors(self, seed: int | None = None) -> Tensor:
        self.seeds.append(seed)
        self.place = torch.zeros(self.num_envs, dtype=torch.long)
        self.game = torch.zeros(self.num_envs, dtype=torch.long)
        self.played = torch.arange(self.num_envs) % self.horizon
        self.needs_reset = torch.zeros(self.num_envs, dtype=torch.bool)
        return self._observe()

    def step_tensors(self, actions: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        fresh = self.needs_reset
        self.executed.append(actions.clone())
        right = self._right(actions) & ~fresh
        self.game = self.game + fresh.long()
        self.played = (self.played + 1) * ~fresh
        self.place = (self.place + right.long()) * ~fresh
        terminated = ~fresh & (self.place == self.length)
        truncated = ~fresh & ~terminated & (self.played == self.horizon)
        self.needs_reset = terminated | truncated
        return self._observe(), right.float(), terminated, truncated

    def _right(self, actions: Tensor) -> Tensor:
        if self.spec_of_actions.kind == "discrete":
            return actions == RIGHT
        if self.spec_of_actions.kind == "box":
            return actions[:, 1] > 2.5
        return actions[:, 1] == RIGHT

    def load_world_model(self, world_model: Any) -> None:
        self.world_model = world_model

    def set_starts(self, starts: Any) -> None:
        self.starts = starts

    def reset(self, *, seed: Any = None, options: Any = None) -> tuple[np.ndarray, dict]:
        return self.reset_tensors(seed).numpy(), {}

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict]:
        observations, *rest = self.step_tensors(torch.as_tensor(np.asarray(actions)))
        return observations.numpy(), *(tensor.numpy() for tensor in rest), {}

    def _observe(self) -> Tensor:
        frames = torch.zeros((self.num_envs, self.size, self.size, 3), dtype=torch.uint8)
        frames[:, 0, 0] = torch.stack([torch.arange(self.num_envs), self.game, self.played], -1).to(torch.uint8)
        frames[:, 1:, :, 0] = (50 * self.place).to(torch.uint8)[:, None, None]
        return frames


gym.register("Corridor-v0", vector_entry_point="corridor:Corridor")


def key(observations: Any) -> np.ndarray:
    """A number that names each observation (uint8, (rows, height, width, 3)): dream, game and step."""
    told = np.asarray(observations)[:, 0, 0].astype(np.int64)
    return told[:, 0] * 65_536 + told[:, 1] * 256 + told[:, 2]
