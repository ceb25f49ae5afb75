"""Stopping when somebody asks for it: Ctrl-C, or SIGTERM from a scheduler."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

STOPPED = 130
"""exit status of whoever was asked to stop"""
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def stoppable() -> Iterator[None]:
    """Within, the first Ctrl-C or SIGTERM raises `KeyboardInterrupt`; the next one ends the process at once."""
    before = [signal.signal(number, _ask) for number in _SIGNALS]
    try:
        yield
    finally:
        for number, handler in zip(_SIGNALS, before, strict=True):
            signal.signal(number, handler)


@contextmanager
def handlers_kept() -> Iterator[None]:
    """Within, others may set handlers of their own, as Ray does; afterwards they are what they were.

    Where theirs ends the process with the signal's number as its status, it is stopped as by ours.
    """
    before = [(number, signal.getsignal(number)) for number in _SIGNALS]
    try:
        yield
    except SystemExit as ended:
        if ended.code in _SIGNALS:
            raise KeyboardInterrupt from ended
        raise
    finally:
        for number, handler in before:
            signal.signal(number, handler)


def _ask(number: int, frame: FrameType | None) -> Any:
    for each in _SIGNALS:
        signal.signal(each, _force)
    raise KeyboardInterrupt


def _force(number: int, frame: FrameType | None) -> Any:
    # The processes of a cluster that was started here end with this one.
    os._exit(STOPPED)
