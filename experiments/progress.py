"""Progress on a terminal: bars where there is one, plain lines in a log."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from rl.progress import Advance

_SECONDS_BETWEEN_LINES = 10.0


class ConsoleProgress:
    """Shows phases on a console."""

    def __init__(self, console: Console) -> None:
        self._console = console

    @contextmanager
    def phase(self, name: str, total: int) -> Iterator[Advance]:
        """A bar where the console is a terminal, else a line now and then; in both cases a line at the end."""
        began = time.monotonic()
        shown = self._bar(name, total) if self._console.is_terminal else self._lines(name, total)
        with shown as advance:
            yield advance
        self._console.print(f"  {name:<12} {time.monotonic() - began:7.1f} s", highlight=False)

    def say(self, sentence: str) -> None:
        """A line of its own."""
        self._console.print(f"  {sentence}", highlight=False, markup=False, soft_wrap=True)

    @contextmanager
    def _bar(self, name: str, total: int) -> Iterator[Advance]:
        with _bars(self._console) as bars:
            task = bars.add_task(name, total=total, figures="")

            def advance(n: int, **figures: float) -> None:
                bars.update(task, advance=n, figures=_figures(figures))

            yield advance

    @contextmanager
    def _lines(self, name: str, total: int) -> Iterator[Advance]:
        done, last = 0, time.monotonic()

        def advance(n: int, **figures: float) -> None:
            nonlocal done, last
            done += n
            if time.monotonic() - last >= _SECONDS_BETWEEN_LINES:
                last = time.monotonic()
                self._console.print(f"  {name:<12} {done}/{total} {_figures(figures)}", highlight=False)

        yield advance


def _bars(console: Console) -> Progress:
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description:<12}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[figures]}"),
        console=console,
        transient=True,
    )


def _figures(figures: dict[str, float]) -> str:
    return "  ".join(f"{name} {value:.4g}" for name, value in figures.items())
