"""Atari games, through ALE's own C++ environment."""

from typing import Any

import numpy as np
from ale_py import Action
from ale_py.vector_env import AtariVectorEnv
from numpy.typing import NDArray

from envs.game import Game, Outcome
from worldmodel.spaces import ActionSpec

FRAME_SKIP = 4
"""Emulated frames a step."""


class AtariGame(Game):
    """An Atari 2600 game in RGB: frame skip 4 with max-pooling, up to 30 no-ops at the start, rewards as they are.

    Each game has an emulator of its own, because ALE seeds a game only on a full reset; it is as fast as a batch of
    them on one thread.
    """

    def __init__(self, rom: str, frame_size: int, max_steps: int | None, sticky: float) -> None:
        """Load the ROM.

        Args:
            rom: ALE's name of it, such as "pong".
            frame_size: Height and width of a frame, pixels.
            max_steps: Truncate a game after this many steps; None: after 27,000, half an hour of play.
            sticky: Probability that the emulator repeats the last action instead (Machado et al., 2018).
        """
        self._ale = AtariVectorEnv(
            rom,
            num_envs=1,
            num_threads=1,
            max_num_frames_per_episode=(max_steps or 27_000) * FRAME_SKIP,
            repeat_action_probability=sticky,
            img_height=frame_size,
            img_width=frame_size,
            grayscale=False,
            stack_num=1,
            frameskip=FRAME_SKIP,
            noop_max=30,
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
        """The newest picture, (frame_size, frame_size, 3)."""
        return self._frame.copy()

    def close(self) -> None:
        """Close the emulator."""
        self._ale.close()

    def _see(self, observations: NDArray[np.uint8], info: dict[str, Any]) -> None:
        self._frame = observations[0, 0]
        self._lives = int(info["lives"][0])
