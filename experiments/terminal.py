"""The terminal: where words are shown, and what was typed."""

import shlex
import sys
from collections.abc import Sequence

from rich.console import Console

LOG_WIDTH = 140
"""characters of a line where nobody watches, so that no table is cut"""


def make_console() -> Console:
    """A console as wide as the terminal, or as a log should be."""
    return Console(width=None if sys.stdout.isatty() else LOG_WIDTH)


def as_typed(program: str, arguments: Sequence[str]) -> str:
    """The command again, to be copied."""
    return f"{program} {shlex.join(arguments)}".strip()
