"""One real game, as pixels and a number of actions: what every kind of real game is turned into."""

from abc import ABC, abstractmethod
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


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
        num_actions: How many actions there are, numbered from 0.
        action_names: A word for each of them, or none at all.
    """

    num_actions: int
    action_names: tuple[str, ...] = ()

    @abstractmethod
    def reset(self, seed: int) -> None:
        """Begin the game that `seed` names."""

    @abstractmethod
    def step(self, action: int) -> Outcome:
        """Play on."""

    @abstractmethod
    def frame(self) -> NDArray[np.uint8]:
        """The newest picture, (size, size, 3), a fresh array."""

    @abstractmethod
    def close(self) -> None:
        """Let go of what the game holds."""
