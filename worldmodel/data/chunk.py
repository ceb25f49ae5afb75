"""A chunk: several episodes, end to end, in one safetensors file that is written once and then only mapped."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from worldmodel.data.episode import OUTCOME_FIELDS, Episode, EpisodeInfo
from worldmodel.errors import UserError
from worldmodel.files import write_whole

Kinds = Mapping[str, tuple[np.dtype[Any], tuple[int, ...]]]
"""Of each array in a chunk by name, its type and the shape of one of its rows."""
CHUNKS = "[0-9]*.safetensors"
"""what the chunks of a buffer folder are called"""
_DAMAGE = (ValueError, TypeError, KeyError, AttributeError, PermissionError)
"""What reading a damaged file raises."""
_METADATA, _NOTE = "__metadata__", "note"
_DTYPES = {"U8": np.uint8, "I64": np.int64, "F32": np.float32, "BOOL": np.bool_}


@dataclass(frozen=True)
class EpisodeEntry:
    """One episode of a chunk: its steps, the sum of its rewards, where it comes from."""

    length: int
    return_: float
    info: EpisodeInfo


@dataclass(frozen=True)
class ChunkEntry:
    """What the index knows of a chunk.

    Attributes:
        file: Its name.
        sha256: Its checksum.
        episodes: What is in it, in order.
        lost: Its file was damaged and was set aside; its episodes keep their numbers.
    """

    file: str
    sha256: str
    episodes: tuple[EpisodeEntry, ...]
    lost: bool = False

    @property
    def steps(self) -> int:
        """Steps of all its episodes; none if it is lost."""
        return 0 if self.lost else sum(episode.length for episode in self.episodes)

    @property
    def frames(self) -> int:
        """Frames of all its episodes, one more than steps in each; none if it is lost."""
        return 0 if self.lost else self.steps + len(self.episodes)


@dataclass(frozen=True, eq=False)
class Chunk:
    """A chunk's arrays, mapped: `frames` (frames, H, W, 3), all else (steps, ...); see `Episode`."""

    frames: NDArray[np.uint8]
    actions: NDArray[Any]
    rewards: NDArray[np.float32]
    terminated: NDArray[np.bool_]
    truncated: NDArray[np.bool_]
    life_lost: NDArray[np.bool_]


def write_chunk(folder: Path, file: str, episodes: Sequence[Episode], note: str = "") -> ChunkEntry:
    """Write `episodes` (one or more) to `folder/file`, whole, with a `note` of whoever played them."""
    arrays = {
        name: np.concatenate([getattr(e, name) for e in episodes]) for name in ("frames", "actions", *OUTCOME_FIELDS)
    }
    data = save(arrays, {_NOTE: note})
    write_whole(folder / file, data)
    entries = tuple(EpisodeEntry(len(e), float(e.rewards.sum(dtype=np.float64)), e.info) for e in episodes)
    return ChunkEntry(file, hashlib.sha256(data).hexdigest(), entries)


def chunk_file(number: int) -> str:
    """The name of the chunk that is written after `number` others."""
    return f"{number:06d}.safetensors"


def map_chunk(folder: Path, entry: ChunkEntry, kinds: Kinds) -> Chunk:
    """Map a chunk into memory, once its checksum is seen to hold and its arrays to be of these `kinds`.

    Raises:
        UserError: If the file is not what was written.
        FileNotFoundError: If it is gone.
    """
    path = folder / entry.file
    try:
        data = np.memmap(path, np.uint8, mode="r")
        if hashlib.sha256(data.data).hexdigest() != entry.sha256:
            raise ValueError("its checksum differs")
        chunk = Chunk(**_views(data))
        _check(chunk, entry, kinds)
    except _DAMAGE as error:
        raise UserError(f"{path} is damaged ({error}): {how_to_mend(folder)}") from error
    return chunk


def how_to_mend(folder: Path) -> str:
    """A closing clause for what is damaged in the buffer `folder`."""
    return f"restore it from a copy, or give `python experiments/mend.py {folder}`, which sets it aside."


def _check(chunk: Chunk, entry: ChunkEntry, kinds: Kinds) -> None:
    for name, (dtype, shape) in kinds.items():
        array = getattr(chunk, name)
        wanted = (entry.frames if name == "frames" else entry.steps, *shape)
        if array.dtype != dtype or array.shape != wanted:
            raise ValueError(f"its {name} are {array.dtype} {array.shape}, not {dtype} {wanted}")


def read_note(folder: Path, entry: ChunkEntry) -> str:
    """The note that a chunk was written with; "" if there is none."""
    header, _ = _split(np.memmap(folder / entry.file, np.uint8, mode="r"))
    return str(header.get(_METADATA, {}).get(_NOTE, ""))


def _views(data: NDArray[np.uint8]) -> dict[str, NDArray]:
    header, arrays = _split(data)
    return {name: _view(arrays, **tensor) for name, tensor in header.items() if name != _METADATA}


def _split(data: NDArray[np.uint8]) -> tuple[dict[str, Any], NDArray[np.uint8]]:
    # The layout of safetensors: 8 bytes of header length, the header in JSON, then the arrays.
    begin = 8 + int.from_bytes(data[:8].tobytes(), "little")
    return json.loads(data[8:begin].tobytes()), data[begin:]


def _view(data: NDArray[np.uint8], dtype: str, shape: list[int], data_offsets: list[int]) -> NDArray:
    first, last = data_offsets
    return data[first:last].view(_DTYPES[dtype]).reshape(shape)
