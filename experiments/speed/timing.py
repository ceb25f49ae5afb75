"""How fast several ways to do the same work are: in turns, in one process."""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import psutil
import torch

Backend = Callable[[], int]
"""Does some of the work, and tells how much."""

_FEWEST = 3
"""turns that every way gets, however long they take"""
_MB = 2**20


@dataclass(frozen=True)
class Rate:
    """How fast a way was.

    Attributes:
        per_second: How much it did in a second, the median over its turns.
        low: The same of the turn that a quarter of them fell below.
        high: The same of the turn that a quarter of them exceeded.
        turns: How many there were.
    """

    per_second: float
    low: float
    high: float
    turns: int


def in_turns(ways: Mapping[str, Backend], seconds: float, device: str = "cpu") -> dict[str, Rate]:
    """How fast each of the ways is, by name.

    One turn of each after the other, so that a machine whose speed wanders wanders under all of them; one turn of each
    to warm up does not count.

    Args:
        ways: What is measured.
        seconds: How long each way is measured, about, after `_FEWEST` turns.
        device: Where they compute: nothing counts as done before the device has done it.
    """
    for way in ways.values():
        way()
    rates: dict[str, list[float]] = {name: [] for name in ways}
    begun, turns = time.perf_counter(), 0
    while turns < _FEWEST or time.perf_counter() - begun < seconds * len(ways):
        for name, way in ways.items():
            rates[name].append(_rate(way, device))
        turns += 1
    return {name: _summary(measured) for name, measured in rates.items()}


def seconds_of(work: Callable[[], object], device: str = "cpu") -> float:
    """How long the work takes, once."""
    _wait(device)
    begun = time.perf_counter()
    work()
    _wait(device)
    return time.perf_counter() - begun


def memory_mb(way: Backend, device: str) -> float:
    """What the process holds while it works this way: the most on a GPU meanwhile, or the machine's memory after it."""
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    way()
    held = torch.cuda.max_memory_allocated() if device == "cuda" else psutil.Process().memory_info().rss
    return held / _MB


def _rate(way: Backend, device: str) -> float:
    done = 0

    def work() -> None:
        nonlocal done
        done = way()

    seconds = seconds_of(work, device)
    return done / seconds


def _summary(rates: list[float]) -> Rate:
    low, middle, high = statistics.quantiles(rates, n=4, method="inclusive")
    return Rate(middle, low, high, len(rates))


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()
