"""How much memory a part takes, the processes that it starts among them."""

from threading import Event, Thread
from types import TracebackType
from typing import Self

import psutil

_MB = 2**20
_EVERY = 0.2
"""seconds between two looks: a look takes a hundredth of that"""


class MemoryWatch:
    """Watches, while it is entered, what this process and those below it hold.

    Attributes:
        peak_mb: The most that they held at a time. What several share counts once, as much as the one that shares most
            does.
    """

    def __init__(self) -> None:
        self.peak_mb = 0.0
        self._over = Event()
        self._thread = Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._look()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
        self._look()

    def _watch(self) -> None:
        while not self._over.wait(_EVERY):
            self._look()

    def _look(self) -> None:
        own, shared = 0, [0]
        here = psutil.Process()
        for process in (here, *here.children(recursive=True)):
            try:
                held = process.memory_info()
            except psutil.NoSuchProcess:
                continue
            # Only Linux tells what is shared.
            of_others = getattr(held, "shared", 0)
            own += held.rss - of_others
            shared.append(of_others)
        self.peak_mb = max(self.peak_mb, (own + max(shared)) / _MB)
