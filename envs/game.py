"""One real game, as pixels and an `ActionSpec`: what every kind of real game is turned into."""

from abc import ABC, abstractmethod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from worldmodel.spaces import ActionSpec


class Outcome(NamedTuple):
    """What came of one action, besides the picture."""

    reward: float
    terminated: bool
    truncated: bool
    life_lost: bool


NOTHING = Outcome(0.0, False, False, False)
"""The outcome of a step in which a game only begins."""


class Game(ABC):
    """A game that its seed and its actions replay exactly.

    Attributes:
        action_spec: The actions that it takes.
    """

    action_spec: ActionSpec

    @abstractmethod
    def reset(self, seed: int) -> None:
        """Begin the game that `seed` names."""

    @abstractmethod
    def step(self, action: Any) -> Outcome:
        """Play on; `action` is one as `action_spec` has it."""

    @abstractmethod
    def frame(self) -> NDArray[np.uint8]:
        """The newest picture, (height, width, 3), a fresh array."""

    @abstractmethod
    def close(self) -> None:
        """Let go of what the game holds."""
