"""How long a stage lasts: so many updates or so many minutes, whichever comes first."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class Pace:
    """A stage's budget, and what is spent of it.

    Attributes:
        steps: Updates, at most.
        minutes: Minutes, at most; None: no limit.
        updates: Updates so far.
        seconds: Seconds so far.
        progress: What is spent of the budget, 0 to 1; several workers agree on one.
        clock: Tells seconds.
    """

    steps: int
    minutes: float | None = None
    updates: int = 0
    seconds: float = 0.0
    progress: float = field(default=0.0, init=False)
    clock: Callable[[], float] = field(default=time.monotonic, repr=False)

    def __post_init__(self) -> None:
        self.progress = self._spent()
        self.start()

    def start(self) -> None:
        """Let the time run from here on."""
        self._began = self.clock() - self.seconds

    def count(self) -> None:
        """Count an update, and the time that it took."""
        self.updates += 1
        self.seconds = self.clock() - self._began
        self.progress = self._spent()

    def _spent(self) -> float:
        minutes = self.seconds / (60 * self.minutes) if self.minutes else 0.0
        return min(max(self.updates / self.steps, minutes), 1.0)
