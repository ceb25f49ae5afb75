"""Whether this machine has the memory that a run starts with."""

import shutil
from pathlib import Path

import psutil

from rl.settings import Settings

_SHARED = Path("/dev/shm")
_MB = 1_000_000
_PROCESS_MB = 350
"""memory of a Ray worker that has imported torch"""
_OTHERS = 4
"""processes besides the collectors: the agent, the learner, the buffer and the evaluator"""


def scarce_memory(settings: Settings) -> list[str]:
    """What is short for a cluster that is started here, a sentence each: Ray would be slow, or would kill actors."""
    if settings.cluster.address is not None:
        return []
    return [*_scarce_store(settings.cluster.object_store_mb), *_scarce_processes(settings)]


def _scarce_store(wanted: int) -> list[str]:
    free = shutil.disk_usage(_SHARED).free // _MB if _SHARED.is_dir() else wanted
    if free >= wanted:
        return []
    return [
        f"{_SHARED} has {free} MB free and Ray's object store wants {wanted}, so it goes to disk, which is slow: start"
        " a container with --shm-size=1g, or lower --cluster.object-store-mb."
    ]


def _scarce_processes(settings: Settings) -> list[str]:
    free = psutil.virtual_memory().available // _MB
    needed = settings.cluster.object_store_mb + _PROCESS_MB * (_OTHERS + settings.collect.collectors)
    if free >= needed:
        return []
    return [
        f"{free} MB of memory are free, and the run's processes take about {needed} before any model is large: end"
        " other programs, or lower --collect.collectors."
    ]
