"""The shared buffer: one writer appends what all collectors played; whoever learns maps the files and reads."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import ray

from rl.lock import FolderLock
from worldmodel.data.chunk import CHUNKS, chunk_file, write_chunk
from worldmodel.data.episode import Episode
from worldmodel.data.index import COPIES, BufferIndex, is_whole, read_index, write_index
from worldmodel.errors import UserError
from worldmodel.files import writing
from worldmodel.spaces import ActionSpec

_PATIENCE = 60.0
"""seconds in which the writer of a run that was killed has to be gone"""


@dataclass(frozen=True)
class BufferStatus:
    """What a buffer holds.

    Attributes:
        chunks: Chunks ever written, evicted ones included: `BufferReader(folder, chunks)` sees exactly this much.
        collected_steps: Steps ever written, evicted ones included.
        steps: Steps that are kept.
    """

    chunks: int
    collected_steps: int
    steps: int


class BufferWriter:
    """The single writer of a buffer folder; each `append` makes one chunk, and is either there as a whole or not."""

    def __init__(
        self, folder: str | Path, frame_shape: tuple[int, int, int], action_spec: ActionSpec, capacity: int
    ) -> None:
        """Go on with the buffer in `folder`, or begin one; it keeps about `capacity` steps.

        Raises:
            UserError: If `folder` holds the play of another game, is damaged, or can't be written.
        """
        self._folder = Path(folder)
        with writing(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
        self._capacity = capacity
        # Whoever was killed while he began the buffer left no play, and perhaps one copy of the index.
        empty = not any(self._folder.glob(CHUNKS)) and not is_whole(self._folder / COPIES[0])
        if empty or not read_index(self._folder).written.chunks:
            write_index(self._folder, BufferIndex(frame_shape, action_spec))
        self._index = read_index(self._folder)
        if (self._index.frame_shape, self._index.action_spec) != (frame_shape, action_spec):
            raise UserError(f"{folder} holds play of another game or frame size: use another run folder.")
        self._remove_strays()

    def append(self, episodes: Sequence[Episode], note: str = "", chunk: int | None = None) -> None:
        """Add one chunk with these episodes; evict the oldest chunks over the capacity.

        Args:
            episodes: What was played.
            note: What whoever played has to remember.
            chunk: Chunks ever written before this one; nothing is done if it is there already. So whoever does not know
                whether the last call came through may call again.
        """
        if not episodes or (chunk is not None and chunk < self._index.written.chunks):
            return
        index, spec = self._index, self._index.action_spec
        if any(episode.frames.shape[1:] != index.frame_shape for episode in episodes):
            raise ValueError(f"the buffer's frames are {index.frame_shape}")
        if any((e.actions.shape[1:], e.actions.dtype) != (spec.shape, spec.dtype) for e in episodes):
            raise ValueError(f"the buffer's actions are {spec}")
        file = chunk_file(self._index.written.chunks)
        # First the chunk, then the index that names it: a crash between the two leaves a stray file and no harm.
        entry = write_chunk(self._folder, file, episodes, note)
        self._replace(_within(replace(self._index, chunks=(*self._index.chunks, entry)), self._capacity))

    def truncate(self, chunks: int) -> None:
        """Forget all that was written after the first `chunks` chunks ever written; used when a run is resumed."""
        self._replace(self._index.first(chunks))

    def status(self) -> BufferStatus:
        """What the buffer holds now."""
        written = self._index.written
        return BufferStatus(written.chunks, written.steps, written.steps - self._index.evicted.steps)

    def _replace(self, index: BufferIndex) -> None:
        write_index(self._folder, index)
        self._index = index
        self._remove_strays()

    def _remove_strays(self) -> None:
        """Remove what the index does not name: evicted chunks, and what a crash left half done."""
        known = {entry.file for entry in self._index.chunks}
        for path in (*self._folder.glob(CHUNKS), *self._folder.glob("*.tmp")):
            if path.name not in known:
                path.unlink()


def _within(index: BufferIndex, capacity: int) -> BufferIndex:
    """The index without its oldest chunks, as long as it has more than `capacity` steps; the newest always stays."""
    kept = sum(chunk.steps for chunk in index.chunks)
    while kept > capacity and len(index.chunks) > 1:
        oldest, *rest = index.chunks
        kept -= oldest.steps
        index = replace(index, evicted=index.evicted.after(oldest), chunks=tuple(rest))
    return index


@ray.remote(num_cpus=0)
class BufferActor:
    """A `BufferWriter` on Ray, alone in its folder; started again, it goes on from there."""

    def __init__(
        self, folder: str | Path, frame_shape: tuple[int, int, int], action_spec: ActionSpec, capacity: int
    ) -> None:
        """See `BufferWriter`."""
        with writing(Path(folder)):
            Path(folder).mkdir(parents=True, exist_ok=True)
            self._lock = FolderLock(Path(folder), _PATIENCE)
        self._writer = BufferWriter(folder, frame_shape, action_spec, capacity)

    def append(self, episodes: Sequence[Episode], note: str = "", chunk: int | None = None) -> BufferStatus:
        """See `BufferWriter.append`."""
        self._writer.append(episodes, note, chunk)
        return self._writer.status()

    def truncate(self, chunks: int) -> BufferStatus:
        """Forget all that was written after the first `chunks` chunks ever written."""
        self._writer.truncate(chunks)
        return self._writer.status()

    def status(self) -> BufferStatus:
        """What the buffer holds now."""
        return self._writer.status()
