"""Whether a disk has room for what a run is going to write."""

import math
from pathlib import Path

from rl.buffer import BufferStatus
from rl.settings import Settings
from worldmodel.errors import UserError
from worldmodel.files import free_space
from worldmodel.spaces import ActionSpec

_OUTCOME_BYTES = 7
"""a reward, and whether the game was terminated, truncated or a life lost"""
_GROWTH = 1.5
"""a round's folder against that of the untrained model: adapter, modules trained in full and agent come on top"""


def check_space(run: Path, settings: Settings, spec: ActionSpec, there: BufferStatus, model: Path) -> None:
    """Refuse a disk that would be full before the run is over.

    Args:
        run: The run's folder.
        settings: The run's.
        spec: The game's actions.
        there: The play that is kept already.
        model: Folder of the world model as it is now.

    Raises:
        UserError: If the disk has less room than the run will take.
    """
    free, play, rounds = free_space(run), _play_to_come(settings, spec, there), _rounds_to_come(run, settings, model)
    if play + rounds > free:
        raise UserError(
            f"{run} has {free / 1e6:.0f} MB free, but the run is going to write about {play / 1e6:.0f} MB of play and"
            f" {rounds / 1e6:.0f} MB of rounds: make room, lower --collect.capacity or --rounds, or choose another"
            " --runs-dir."
        )


def _play_to_come(settings: Settings, spec: ActionSpec, there: BufferStatus) -> int:
    """Bytes by which the buffer will grow."""
    collect = settings.collect
    steps = collect.longest_first + (settings.rounds - 1) * collect.steps - there.collected_steps
    kept = max(min(steps, collect.capacity - there.steps), 0)
    return kept * (math.prod(settings.world_model.frame_shape) + len(spec) * spec.dtype.itemsize + _OUTCOME_BYTES)


def _rounds_to_come(run: Path, settings: Settings, model: Path) -> int:
    """Bytes of the rounds that are not finished yet."""
    finished = sum(folder.name.isdecimal() for folder in run.glob("rounds/*"))
    size = sum(path.stat().st_size for path in model.rglob("*") if path.is_file())
    return int(max(settings.rounds - finished, 0) * size * _GROWTH)
