"""The phases of a round: shown to whoever watches, and timed."""

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

from rl.progress import Advance, NullProgress, Progress


class Phases:
    """What a round goes through.

    Attributes:
        progress: Where the phases are shown.
    """

    def __init__(self) -> None:
        self.progress: Progress = NullProgress()
        self._seconds: dict[str, float] = defaultdict(float)

    @contextmanager
    def phase(self, name: str, total: int = 1) -> Iterator[Advance]:
        """A phase of `total` units; its time adds to that of others of the same name."""
        began = time.monotonic()
        with self.progress.phase(name, total) as advance:
            yield advance
        self._seconds[name] += time.monotonic() - began

    def say(self, sentence: str) -> None:
        """Tell whoever watches."""
        self.progress.say(sentence)

    def take_seconds(self) -> dict[str, float]:
        """Wall time of each phase since this was asked last."""
        seconds = dict(self._seconds)
        self._seconds.clear()
        return seconds
