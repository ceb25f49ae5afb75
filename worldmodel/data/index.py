"""The buffer's index, `index.json`: which chunks there are, in the order in which they were written."""

import hashlib
import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from worldmodel.data.chunk import CHUNKS, ChunkEntry, EpisodeEntry, Kinds, how_to_mend
from worldmodel.data.episode import OUTCOME_FIELDS, EpisodeInfo
from worldmodel.errors import UserError
from worldmodel.files import write_json
from worldmodel.plain import from_plain
from worldmodel.spaces import ActionSpec

FORMAT = 3
COPIES = ("index.json", "index.backup.json")
"""what the index and its second copy are called"""
_DAMAGE = (OSError, ValueError)
"""What reading a damaged file raises."""


@dataclass(frozen=True)
class Extent:
    """How much play: of the chunks that were evicted, or of all so far."""

    chunks: int = 0
    episodes: int = 0
    frames: int = 0
    steps: int = 0

    def after(self, chunk: ChunkEntry) -> "Extent":
        """This and one more chunk."""
        return Extent(
            self.chunks + 1, self.episodes + len(chunk.episodes), self.frames + chunk.frames, self.steps + chunk.steps
        )


@dataclass(frozen=True)
class BufferIndex:
    """What a buffer folder holds.

    Chunks, episodes, frames and steps are numbered in the order in which they were ever written, and keep their
    numbers when older chunks are evicted.

    Attributes:
        frame_shape: (height, width, 3).
        action_spec: The game's actions.
        evicted: What came before the first chunk that is still there.
        chunks: All others.
    """

    frame_shape: tuple[int, int, int]
    action_spec: ActionSpec
    evicted: Extent = field(default_factory=Extent)
    chunks: tuple[ChunkEntry, ...] = ()

    @property
    def there(self) -> tuple[ChunkEntry, ...]:
        """The chunks that can be read: neither evicted nor lost."""
        return tuple(chunk for chunk in self.chunks if not chunk.lost)

    @property
    def kinds(self) -> Kinds:
        """What every chunk's arrays are made of."""
        outcomes: Kinds = {name: (dtype, ()) for name, dtype in OUTCOME_FIELDS.items()}
        actions = (self.action_spec.dtype, self.action_spec.shape)
        return {"frames": (np.dtype(np.uint8), self.frame_shape), "actions": actions, **outcomes}

    @property
    def written(self) -> Extent:
        """Everything ever written, evicted or not; of what was lost, only the numbers of chunks and episodes."""
        extent = self.evicted
        for chunk in self.chunks:
            extent = extent.after(chunk)
        return extent

    def first(self, chunks: int) -> "BufferIndex":
        """The index without all that was written after the first `chunks` chunks."""
        return replace(self, chunks=self.chunks[: max(0, chunks - self.evicted.chunks)])


def write_index(folder: Path, index: BufferIndex) -> None:
    """Write `index` to `folder`, whole, and before it a second copy for the case that it gets damaged."""
    stored = {"format": FORMAT, **asdict(index)}
    for name in reversed(COPIES):
        write_json(folder / name, {"sha256": _digest(stored), **stored})


def read_index(folder: Path, name: str = COPIES[0]) -> BufferIndex:
    """The index of the buffer in `folder`, from the copy that is called `name`.

    Raises:
        UserError: If there is none, or it is damaged or of another version.
    """
    if not holds_play(folder):
        raise UserError(f"{folder} holds no buffer: collect some play into it first.")
    path = folder / name
    try:
        stored = _stored(path)
    except FileNotFoundError as error:
        raise UserError(f"{path} is missing: {how_to_mend(folder)}") from error
    except _DAMAGE as error:
        raise UserError(f"{path} is damaged ({error}): {how_to_mend(folder)}") from error
    if stored["format"] != FORMAT:
        raise UserError(
            f"{path} has format {stored['format']}, this version reads {FORMAT}: start a new run folder, or go on with"
            " the version that wrote it."
        )
    return _index(stored, str(path))


def is_whole(path: Path) -> bool:
    """Whether a copy of an index is there and undamaged, whatever its version."""
    try:
        _stored(path)
    except _DAMAGE:
        return False
    return True


def holds_play(folder: Path) -> bool:
    """Whether `folder` holds a buffer, whole or damaged."""
    return any(any(folder.glob(name)) for name in (*COPIES, CHUNKS))


def _stored(path: Path) -> dict[str, Any]:
    """What the file says; of another version nothing is checked.

    Raises:
        OSError: If it is missing or can't be read.
        ValueError: If it is damaged.
    """
    stored = json.loads(path.read_text())
    if not isinstance(stored, dict) or "format" not in stored:
        raise ValueError("it tells no format")
    checksum = stored.pop("sha256", None)
    if stored["format"] == FORMAT and checksum != _digest(stored):
        raise ValueError("its checksum differs")
    return stored


def _digest(stored: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(stored, sort_keys=True).encode()).hexdigest()


def _index(stored: dict[str, Any], source: str) -> BufferIndex:
    spec = from_plain(ActionSpec, stored["action_spec"], source)
    height, width, channels = stored["frame_shape"]
    chunks = tuple(_chunk(**chunk) for chunk in stored["chunks"])
    return BufferIndex((height, width, channels), spec, Extent(**stored["evicted"]), chunks)


def _chunk(file: str, sha256: str, episodes: list[dict[str, Any]], lost: bool) -> ChunkEntry:
    if Path(file).name != file:
        raise UserError(
            f"the buffer's index names {file!r}, which lies elsewhere: take an index that its writer wrote."
        )
    return ChunkEntry(file, sha256, tuple(_episode(**episode) for episode in episodes), lost)


def _episode(length: int, return_: float, info: dict[str, Any]) -> EpisodeEntry:
    return EpisodeEntry(length, return_, EpisodeInfo(**info))
