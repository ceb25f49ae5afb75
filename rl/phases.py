"""The phases of a round: shown to whoever watches, and timed."""

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rl.progress import Advance, NullProgress, Progress


@dataclass(frozen=True)
class Spent:
    """What a phase took: wall time, and the units (steps, updates, games) that were done in it."""

    seconds: float = 0.0
    units: int = 0

    def __add__(self, other: "Spent") -> "Spent":
        return Spent(self.seconds + other.seconds, self.units + other.units)


class Phases:
    """What a round goes through.

    Attributes:
        progress: Where the phases are shown.
    """

    def __init__(self) -> None:
        self.progress: Progress = NullProgress()
        self._spent: dict[str, Spent] = defaultdict(Spent)

    @contextmanager
    def phase(self, name: str, total: int = 1) -> Iterator[Advance]:
        """A phase of `total` units; what it takes adds to what others of the same name took."""
        began, done = time.monotonic(), 0
        with self.progress.phase(name, total) as shown:

            def advance(n: int, **figures: float) -> None:
                nonlocal done
                done += n
                shown(n, **figures)

            yield advance
        self._spent[name] += Spent(time.monotonic() - began, done)

    def say(self, sentence: str) -> None:
        """Tell whoever watches."""
        self.progress.say(sentence)

    def take(self) -> dict[str, Spent]:
        """What each phase took since this was asked last."""
        spent = dict(self._spent)
        self._spent.clear()
        return spent
