"""One game that was played, or a piece of one."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Source = Literal["random", "expert", "policy", "human"]
"""Who played; "human": a person at the keyboard."""


@dataclass(frozen=True)
class EpisodeInfo:
    """Where an episode comes from.

    Attributes:
        env_id: The game's Gymnasium id.
        source: Who played.
        policy_version: Which policy it was; 0 for random play, and for a person's.
        world_model_version: Which world model that policy was trained in; 0 for none.
        round: The round in which it was played.
        collector: Which collector played it; -1 for none.
        seed: `reset(seed=...)` of the game, which replays it; None where the game can not be replayed.
        start: Steps already played in this game before this piece; 0: the episode begins with the game.
    """

    env_id: str
    source: Source
    policy_version: int
    world_model_version: int
    round: int
    collector: int
    seed: int | None
    start: int


@dataclass(frozen=True, eq=False)
class Episode:
    """T steps of one game: `actions[t]`, chosen on seeing `frames[t]`, leads to `frames[t + 1]` and `rewards[t]`.

    A piece that was cut off while its game went on has neither flag at its end.

    Attributes:
        frames: uint8, (T + 1, height, width, 3).
        actions: (T, *shape), int64 or float32, as the game's `ActionSpec` has them.
        rewards: float32, (T,), the game's own.
        terminated: bool, (T,), True at most at the last step.
        truncated: bool, (T,), True at most at the last step.
        life_lost: bool, (T,); the game goes on.
        info: Where it comes from.

    Raises:
        ValueError: If a shape or a type is another, or the game ends before its last step.
    """

    frames: NDArray[np.uint8]
    actions: NDArray[Any]
    rewards: NDArray[np.float32]
    terminated: NDArray[np.bool_]
    truncated: NDArray[np.bool_]
    life_lost: NDArray[np.bool_]
    info: EpisodeInfo

    def __post_init__(self) -> None:
        if self.frames.dtype != np.uint8 or self.frames.ndim != 4 or self.frames.shape[-1] != 3:
            raise ValueError(f"frames must be uint8 (T + 1, H, W, 3), not {self.frames.dtype} {self.frames.shape}")
        actions = self.actions
        if actions.dtype not in (np.int64, np.float32) or actions.shape[:1] != (len(self),):
            raise ValueError(f"actions must be int64 or float32, {len(self)}, not {actions.dtype} {actions.shape}")
        for name, dtype in OUTCOME_FIELDS.items():
            array = getattr(self, name)
            if array.dtype != dtype or array.shape != (len(self),):
                raise ValueError(f"{name} must be {dtype} {(len(self),)}, not {array.dtype} {array.shape}")
        if len(self) < 1 or (self.terminated | self.truncated)[:-1].any():
            raise ValueError("an episode has at least one step, and only its last step can end the game")

    def __len__(self) -> int:
        """Steps, not frames."""
        return len(self.frames) - 1


OUTCOME_FIELDS: dict[str, np.dtype] = {
    "rewards": np.dtype(np.float32),
    "terminated": np.dtype(np.bool_),
    "truncated": np.dtype(np.bool_),
    "life_lost": np.dtype(np.bool_),
}
"""What an episode has one of at each step besides its action, and its type."""
