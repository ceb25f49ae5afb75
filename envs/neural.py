"""One dream: the learned game as a plain Gymnasium environment."""

from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from envs.models import ModelSource
from envs.neural_vector import NeuralVectorEnv

_METADATA = {"render_modes": ["rgb_array"], "render_fps": 15}


class NeuralEnv(gym.Env[NDArray[Any], Any]):
    """`NeuralVectorEnv` with a single dream; takes the same arguments, but for `num_envs`.

    Attributes:
        action_spec: The game's actions.
        frame_shape: (height, width, 3) of what `render` shows.
    """

    metadata: dict[str, Any] = _METADATA

    def __init__(self, world_model: ModelSource, *, render_mode: str | None = None, **settings: Any) -> None:
        """Make ready to dream."""
        self.render_mode = render_mode
        self._dreams = NeuralVectorEnv(world_model, num_envs=1, render_mode=render_mode, **settings)
        self.action_spec, self.frame_shape = self._dreams.action_spec, self._dreams.world_model.frame_shape
        self.action_space = self._dreams.single_action_space
        self.observation_space = self._dreams.single_observation_space

    @property
    def doubt_limit(self) -> float:
        """A dream that is doubted more than this is truncated."""
        return float(self._dreams.doubt_limit)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[Any], dict[str, Any]]:
        """Begin a dream; `options` as in `NeuralVectorEnv.reset`."""
        super().reset(seed=seed)
        observations, _ = self._dreams.reset(seed=seed, options=options)
        return observations[0], {}

    def step(self, action: Any) -> tuple[NDArray[Any], float, bool, bool, dict[str, Any]]:
        """Dream on.

        `info` tells `doubt`, how strange the step looks against real play, and `end_probability`, what `terminated` was
        drawn from; nothing in the step after an end, with which a dream only begins.
        """
        begins = bool(self._dreams.needs_reset[0])
        observations, rewards, terminated, truncated, _ = self._dreams.step(np.asarray(action)[None])
        info = {} if begins else self._told()
        return observations[0], float(rewards[0]), bool(terminated[0]), bool(truncated[0]), info

    def render(self) -> NDArray[np.uint8] | None:  # type: ignore[override]
        """The newest frame, uint8, (height, width, 3)."""
        frames = self._dreams.render()
        return None if frames is None else frames[0]

    def _told(self) -> dict[str, float]:
        step = self._dreams.last_step
        assert step is not None
        return {"doubt": float(step.doubt[0]), "end_probability": float(step.end_probability[0])}
