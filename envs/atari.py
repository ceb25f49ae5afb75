"""Atari games, through ALE's own C++ environment."""

from typing import Any

import numpy as np
from ale_py import Action
from ale_py.vector_env import AtariVectorEnv
from numpy.typing import NDArray

from envs.atari_config import AtariConfig
from envs.game import Game, Outcome
from worldmodel.spaces import ActionSpec, FrameShape

HALF_AN_HOUR = 108_000
"""Emulated frames, 60 a second."""


class AtariGame(Game):
    """An Atari 2600 game, its rewards as they are; a lost life ends nothing.

    Each game has an emulator of its own, because ALE seeds a game only on a full reset; it is as fast as a batch of
    them on one thread.
    """

    def __init__(self, rom: str, frame_shape: FrameShape, max_steps: int | None, config: AtariConfig) -> None:
        """Load the ROM.

        Args:
            rom: ALE's name of it, such as "pong".
            frame_shape: (height, width, 3) of a frame.
            max_steps: Truncate a game after this many steps, or after half an hour of play if that comes first.
            config: How it is emulated.
        """
        self._ale = AtariVectorEnv(
            rom,
            num_envs=1,
            num_threads=1,
            max_num_frames_per_episode=min((max_steps or HALF_AN_HOUR) * config.frame_skip, HALF_AN_HOUR),
            repeat_action_probability=config.sticky,
            full_action_space=config.full_actions,
            img_height=frame_shape[0],
            img_width=frame_shape[1],
            grayscale=config.grayscale,
            stack_num=1,
            frameskip=config.frame_skip,
            noop_max=config.noop_max,
            reward_clipping=False,
        )
        actions: list[Action] = self._ale.ale.get_action_set()
        self.action_spec = ActionSpec.discrete(len(actions), [action.name for action in actions])

    def reset(self, seed: int) -> None:
        """Begin the game that `seed` names."""
        self._see(*self._ale.reset(seed=seed))

    def step(self, action: Any) -> Outcome:
        """Play on; a lost life is reported and ends nothing."""
        lives = self._lives
        observations, rewards, terminated, truncated, info = self._ale.step(np.array([action]))
        self._see(observations, info)
        return Outcome(float(rewards[0]), bool(terminated[0]), bool(truncated[0]), self._lives < lives)

    def frame(self) -> NDArray[np.uint8]:
        """The newest picture, of `frame_shape`."""
        return self._frame.copy()

    def close(self) -> None:
        """Close the emulator."""
        self._ale.close()

    def _see(self, observations: NDArray[np.uint8], info: dict[str, Any]) -> None:
        picture = observations[0, 0]
        self._frame = picture if picture.ndim == 3 else np.stack([picture] * 3, axis=-1)
        self._lives = int(info["lives"][0])
