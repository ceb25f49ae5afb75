"""How a policy sees the real game: stacked frames, or stacked latents of an encoder."""

from collections.abc import Callable, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import VectorEnv, VectorWrapper
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from envs.stack import choose, stack_push, stack_start

Encode = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""Frames (batch, height, width, 3) to latents (batch, h, w, channels)."""

Batch = tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any], dict[str, Any]]
"""Observations, rewards, terminated, truncated, infos."""


def stacked_space(shape: Sequence[int], dtype: Any, stack: int) -> gym.spaces.Box:
    """The space of `stack` observations of this shape, channels last: uint8 pixels, or float32 without bounds."""
    low, high = (0, 255) if dtype == np.uint8 else (-np.inf, np.inf)
    height, width, channels = shape
    return gym.spaces.Box(low, high, (height, width, channels * stack), dtype)


class StackObservation(VectorWrapper):
    """Shows the newest `stack` observations of each game at once; the first is repeated where a game begins."""

    def __init__(self, env: VectorEnv, stack: int) -> None:
        """Wrap `env`, whose observations are (num_envs, height, width, channels)."""
        super().__init__(env)
        self._stack = stack
        self._stacked: NDArray[Any] = np.empty(0)
        first = self._view(np.zeros((1, *_shape(env)), np.uint8))
        self.single_observation_space = stacked_space(first.shape[1:], first.dtype, stack)
        self.observation_space = batch_space(self.single_observation_space, env.num_envs)
        self._finished = np.zeros(env.num_envs, np.bool_)

    def reset(  # type: ignore[override]
        self, *, seed: Any = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[Any], dict[str, Any]]:
        """Begin new games: all, or those in `options["reset_mask"]`."""
        observations, info = self.env.reset(seed=seed, options=options)
        stacked = stack_start(self._view(observations), self._stack)
        mask = (options or {}).get("reset_mask", np.ones(self.num_envs, np.bool_))
        self._stacked = stacked if mask.all() else choose(mask, stacked, self._stacked)
        self._finished = self._finished & ~mask
        return self._stacked.copy(), info

    def step(self, actions: Any) -> Batch:  # type: ignore[override]
        """Play on."""
        observations, rewards, terminated, truncated, info = self.env.step(actions)
        self._stacked = stack_push(self._stacked, self._view(observations), self._finished)
        self._finished = terminated | truncated
        return self._stacked.copy(), rewards, terminated, truncated, info

    def _view(self, observations: NDArray[np.uint8]) -> NDArray[Any]:
        return observations


class EncodeObservation(StackObservation):
    """Shows the real game through an encoder: stacked latents in place of frames."""

    def __init__(self, env: VectorEnv, encode: Encode, stack: int = 1) -> None:
        """Wrap `env`, whose observations are single frames (num_envs, height, width, 3)."""
        self._encode = encode
        super().__init__(env, stack)

    def _view(self, observations: NDArray[np.uint8]) -> NDArray[np.float32]:
        return self._encode(observations)


def _shape(env: VectorEnv) -> tuple[int, ...]:
    space = env.single_observation_space
    assert isinstance(space, gym.spaces.Box)
    return space.shape
