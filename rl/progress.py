"""How long work tells how far it has come."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Advance(Protocol):
    """Tells that `n` more of a phase's units are done; `figures` are what is worth watching, a loss say."""

    def __call__(self, n: int, **figures: float) -> None:
        """Report `n` more units."""


class Progress(Protocol):
    """Shows phases of work to somebody."""

    def phase(self, name: str, total: int) -> AbstractContextManager[Advance]:
        """A phase of `total` units; it is over when the context is left."""

    def say(self, sentence: str) -> None:
        """Tell something that happened in between."""


class NullProgress:
    """Shows nothing."""

    @contextmanager
    def phase(self, name: str, total: int) -> Iterator[Advance]:
        """A phase that nobody watches."""
        yield _ignore

    def say(self, sentence: str) -> None:
        """Tell nobody."""


def _ignore(n: int, **figures: float) -> None:
    pass
