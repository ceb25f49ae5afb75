"""Where workers write down how a pre-training goes, and whoever shows it reads."""

from typing import NamedTuple

import ray


class Word(NamedTuple):
    """How far a stage has come.

    Attributes:
        stage: Its name.
        progress: What is spent of its budget, 0 to 1.
        updates: Its updates so far.
        losses: Those of the last update, by name.
    """

    stage: str
    progress: float
    updates: int
    losses: dict[str, float]


class Board:
    """Keeps words until they are read."""

    def __init__(self) -> None:
        self._words: list[Word] = []

    def put(self, stage: str, progress: float, updates: int, losses: dict[str, float]) -> None:
        """Write one down."""
        self._words.append(Word(stage, progress, updates, losses))

    def take(self) -> list[Word]:
        """All that came since the last time, oldest first."""
        words, self._words = self._words, []
        return words


BoardActor = ray.remote(num_cpus=0)(Board)
"""A `Board` on Ray."""
