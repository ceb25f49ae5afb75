"""The buffer's index, `index.json`: which chunks there are, in the order in which they were written."""

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from worldmodel.data.chunk import ChunkEntry, EpisodeEntry
from worldmodel.data.episode import EpisodeInfo
from worldmodel.errors import UserError
from worldmodel.files import write_json
from worldmodel.plain import from_plain
from worldmodel.spaces import ActionSpec

FORMAT = 2
_FILE = "index.json"


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
        chunks: Those that are there.
    """

    frame_shape: tuple[int, int, int]
    action_spec: ActionSpec
    evicted: Extent = field(default_factory=Extent)
    chunks: tuple[ChunkEntry, ...] = ()

    @property
    def written(self) -> Extent:
        """Everything ever written, evicted or not."""
        extent = self.evicted
        for chunk in self.chunks:
            extent = extent.after(chunk)
        return extent

    def first(self, chunks: int) -> "BufferIndex":
        """The index without all that was written after the first `chunks` chunks."""
        return replace(self, chunks=self.chunks[: max(0, chunks - self.evicted.chunks)])


def write_index(folder: Path, index: BufferIndex) -> None:
    """Write `index` to `folder`, whole."""
    write_json(folder / _FILE, {"format": FORMAT, **asdict(index)})


def read_index(folder: Path) -> BufferIndex:
    """The index of the buffer in `folder`.

    Raises:
        UserError: If there is none, or it is of another version.
    """
    try:
        stored = json.loads((folder / _FILE).read_text())
    except FileNotFoundError as error:
        raise UserError(f"{folder} holds no buffer: collect some play into it first.") from error
    if stored["format"] != FORMAT:
        raise UserError(f"{folder} was written by another version of this project: start a new run folder.")
    spec = from_plain(ActionSpec, stored["action_spec"], str(folder / _FILE))
    height, width, channels = stored["frame_shape"]
    chunks = tuple(_chunk(**chunk) for chunk in stored["chunks"])
    return BufferIndex((height, width, channels), spec, Extent(**stored["evicted"]), chunks)


def has_index(folder: Path) -> bool:
    """Whether `folder` holds a buffer."""
    return (folder / _FILE).exists()


def _chunk(file: str, sha256: str, episodes: list[dict[str, Any]]) -> ChunkEntry:
    return ChunkEntry(file, sha256, tuple(_episode(**episode) for episode in episodes))


def _episode(length: int, return_: float, info: dict[str, Any]) -> EpisodeEntry:
    return EpisodeEntry(length, return_, EpisodeInfo(**info))
