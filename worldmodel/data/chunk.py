"""A chunk: several episodes, end to end, in one safetensors file that is written once and then only mapped."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from worldmodel.data.episode import OUTCOME_FIELDS, Episode, EpisodeInfo
from worldmodel.errors import UserError
from worldmodel.files import write_whole

_DTYPES = {"U8": np.uint8, "I64": np.int64, "F32": np.float32, "BOOL": np.bool_}


@dataclass(frozen=True)
class EpisodeEntry:
    """One episode of a chunk: its steps, the sum of its rewards, where it comes from."""

    length: int
    return_: float
    info: EpisodeInfo


@dataclass(frozen=True)
class ChunkEntry:
    """What the index knows of a chunk."""

    file: str
    sha256: str
    episodes: tuple[EpisodeEntry, ...]

    @property
    def steps(self) -> int:
        """Steps of all its episodes."""
        return sum(episode.length for episode in self.episodes)

    @property
    def frames(self) -> int:
        """Frames of all its episodes: one more than steps in each."""
        return self.steps + len(self.episodes)


@dataclass(frozen=True, eq=False)
class Chunk:
    """A chunk's arrays, mapped: `frames` (frames, H, W, 3), all else (steps, ...); see `Episode`."""

    frames: NDArray[np.uint8]
    actions: NDArray[Any]
    rewards: NDArray[np.float32]
    terminated: NDArray[np.bool_]
    truncated: NDArray[np.bool_]
    life_lost: NDArray[np.bool_]


def write_chunk(folder: Path, file: str, episodes: Sequence[Episode]) -> ChunkEntry:
    """Write `episodes` (one or more) to `folder/file`, whole."""
    arrays = {
        name: np.concatenate([getattr(e, name) for e in episodes]) for name in ("frames", "actions", *OUTCOME_FIELDS)
    }
    data = save(arrays)
    write_whole(folder / file, data)
    entries = tuple(EpisodeEntry(len(e), float(e.rewards.sum(dtype=np.float64)), e.info) for e in episodes)
    return ChunkEntry(file, hashlib.sha256(data).hexdigest(), entries)


def map_chunk(folder: Path, entry: ChunkEntry) -> Chunk:
    """Map a chunk into memory, once its checksum is seen to hold.

    Raises:
        UserError: If the file is not what was written.
        FileNotFoundError: If it is gone.
    """
    path = folder / entry.file
    data = np.memmap(path, np.uint8, mode="r")
    if hashlib.sha256(data.data).hexdigest() != entry.sha256:
        raise UserError(f"{path} is damaged (its checksum differs): restore it from a copy, or start a new run folder.")
    return Chunk(**_views(data))


def _views(data: NDArray[np.uint8]) -> dict[str, NDArray]:
    # The layout of safetensors: 8 bytes of header length, the header in JSON, then the arrays.
    begin = 8 + int.from_bytes(data[:8].tobytes(), "little")
    header = json.loads(data[8:begin].tobytes())
    return {name: _view(data[begin:], **tensor) for name, tensor in header.items()}


def _view(data: NDArray[np.uint8], dtype: str, shape: list[int], data_offsets: list[int]) -> NDArray:
    first, last = data_offsets
    return data[first:last].view(_DTYPES[dtype]).reshape(shape)
