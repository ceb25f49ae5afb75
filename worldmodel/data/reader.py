"""Reading a buffer folder while somebody else may go on writing it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from worldmodel.data.chunk import Chunk, EpisodeEntry, how_to_mend, map_chunk
from worldmodel.data.episode import OUTCOME_FIELDS, EpisodeInfo, Source
from worldmodel.data.index import BufferIndex, read_index
from worldmodel.data.pieces import Joined, game_number, joined
from worldmodel.data.sources import Played, played_by_source
from worldmodel.errors import UserError
from worldmodel.spaces import ActionSpec


@dataclass(frozen=True)
class EpisodeRecord:
    """An episode of the buffer: pieces of one game that follow each other; see `worldmodel.data.pieces`.

    Attributes:
        info: Where it comes from; who played may have changed at later pieces.
        length: Its steps; it has one frame more.
        return_: Sum of its rewards.
        ended: Whether the game ends with it (it may also have been cut off while the game went on).
    """

    info: EpisodeInfo
    length: int
    return_: float
    ended: bool


@dataclass(frozen=True, eq=False)
class Steps:
    """All steps in a buffer, episode by episode: each (num_steps, ...); see `Episode`."""

    actions: NDArray[Any]
    rewards: NDArray[np.float32]
    terminated: NDArray[np.bool_]
    truncated: NDArray[np.bool_]
    life_lost: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class EpisodeTable:
    """All episodes in a buffer as columns, each int64, (episodes,).

    Attributes:
        ordinal: Number of the episode's first piece among all pieces ever written; -1 where that was evicted or lost.
        length: Its steps.
        offset: Place of its first step in `Steps`.
        frames: The ids of its frames, those of all episodes end to end, (steps + episodes,).
        round: In which round it was played.
    """

    ordinal: NDArray[np.int64]
    length: NDArray[np.int64]
    offset: NDArray[np.int64]
    frames: NDArray[np.int64]
    round: NDArray[np.int64]

    def frame_ids(self, episode: NDArray[np.int64], time: NDArray[np.int64]) -> NDArray[np.int64]:
        """Ids of the frames so far into their episodes; both of shapes that broadcast."""
        # Every episode before has one frame more than steps.
        return self.frames[self.offset[episode] + episode + time]


class BufferReader:
    """The play in a buffer folder, mapped.

    A frame has an id that never changes, not even when chunks before it are evicted; `table` has those of an episode.
    All ids that can be read are those from `first_frame_id` up to `end_frame_id`, excluded.

    Attributes:
        num_chunks: Chunks ever written up to the newest one that is seen here: what a second reader must be given as
            `chunks` to see no more than this one.
        num_steps: Steps that are there.
        num_frames: Frames that are there.
        first_frame_id: The oldest frame that is there.
        end_frame_id: One past the newest frame's id; as long as nothing is evicted, the same as `num_frames`.
        action_spec: The game's actions.
        frame_shape: (height, width, 3).
        chunk_firsts: int64, (chunks + 1,): the first frame's id of every chunk that is there, then `end_frame_id`.
        episodes: All episodes that are there, by when they began.
        steps: All their steps.
        table: The episodes as columns.
        generation: Changes whenever `refresh` saw something new.
    """

    def __init__(self, folder: str | Path, chunks: int | None = None, *, lives_end: bool = False) -> None:
        """Map the buffer in `folder`.

        Args:
            folder: Where it is.
            chunks: See only the first so many chunks ever written to it; None: all.
            lives_end: Show a lost life as the game's end (terminated), though the episode goes on.

        Raises:
            UserError: If there is no buffer, or one of its files is damaged or missing.
        """
        self._folder = Path(folder)
        self._limit, self._lives_end = chunks, lives_end
        self._mapped: dict[str, Chunk] = {}
        self._seen: BufferIndex | None = None
        self.generation = -1
        self.refresh()

    def refresh(self) -> None:
        """See what was appended and evicted since."""
        index = self._index()
        try:
            mapped = self._map(index)
        except FileNotFoundError as error:
            if self._index() == index:
                raise UserError(f"{error.filename} is missing: {how_to_mend(self._folder)}") from error
            # It was evicted after the index had been read.
            return self.refresh()
        if index != self._seen:
            self._mapped, self._seen = mapped, index
            self._take(index)
        return None

    def frames(self, index: NDArray[np.int64]) -> NDArray[np.uint8]:
        """The frames with these ids.

        Args:
            index: Ids of any shape.

        Returns:
            uint8, (*index.shape, height, width, 3).

        Raises:
            IndexError: If there is no such frame.
        """
        ids = np.asarray(index, np.int64).ravel()
        if ids.size and not self.first_frame_id <= ids.min() <= ids.max() < self.end_frame_id:
            raise IndexError(f"frame ids go from {self.first_frame_id} to {self.end_frame_id - 1}")
        order = np.argsort(ids, kind="stable")
        ordered = ids[order]
        cuts = np.searchsorted(ordered, self.chunk_firsts)
        frames = np.empty((ids.size, *self.frame_shape), np.uint8)
        for chunk, first, begin, end in zip(self._chunks, self.chunk_firsts[:-1], cuts[:-1], cuts[1:], strict=True):
            if begin < end:
                frames[order[begin:end]] = chunk.frames[ordered[begin:end] - first]
        return frames.reshape(*np.shape(index), *self.frame_shape)

    def games(self, frame_ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """For each frame a number that the frames of its game share, and those of hardly another."""
        return self._games[np.searchsorted(self._piece_firsts, frame_ids, side="right") - 1]

    def by_source(self) -> dict[Source, Played]:
        """What each kind of player played of all that is there."""
        assert self._seen is not None
        return played_by_source(self._seen.there, self._chunks)

    def _index(self) -> BufferIndex:
        index = read_index(self._folder)
        return index if self._limit is None else index.first(self._limit)

    def _map(self, index: BufferIndex) -> dict[str, Chunk]:
        """The index's chunks by checksum: a name may come again, with other content, when a run is resumed."""
        kinds = index.kinds
        return {e.sha256: self._mapped.get(e.sha256) or map_chunk(self._folder, e, kinds) for e in index.there}

    def _take(self, index: BufferIndex) -> None:
        written = index.written
        self.generation += 1
        self.num_chunks = written.chunks
        self.num_steps = written.steps - index.evicted.steps
        self.num_frames = written.frames - index.evicted.frames
        self.first_frame_id, self.end_frame_id = index.evicted.frames, written.frames
        self.action_spec = index.action_spec
        self.frame_shape = index.frame_shape
        self._chunks = [self._mapped[entry.sha256] for entry in index.there]
        sizes = [index.evicted.frames, *(entry.frames for entry in index.there)]
        self.chunk_firsts = np.cumsum(sizes, dtype=np.int64)
        pieces = [entry for chunk in index.there for entry in chunk.episodes]
        ordinals = _ordinals(index)
        self._piece_firsts = _firsts([piece.length + 1 for piece in pieces], index.evicted.frames)
        games = (game_number(piece.info, ordinal) for piece, ordinal in zip(pieces, ordinals, strict=True))
        self._games = np.fromiter(games, np.int64, len(pieces))
        episodes = joined(pieces)
        self.table = _table(pieces, episodes, ordinals, self._piece_firsts)
        self.steps = _ordered(_join(self._chunks, index.action_spec), pieces, episodes)
        self.episodes = _records(pieces, episodes, self.steps)
        if self._lives_end:
            self.steps = replace(self.steps, terminated=self.steps.terminated | self.steps.life_lost)


def _join(chunks: Sequence[Chunk], spec: ActionSpec) -> Steps:
    nothing = {"actions": spec.zeros(0)} | {name: np.empty(0, dtype) for name, dtype in OUTCOME_FIELDS.items()}
    return Steps(**{name: np.concatenate([empty, *(getattr(chunk, name) for chunk in chunks)])
                    for name, empty in nothing.items()})  # fmt: skip


def _ordered(steps: Steps, pieces: Sequence[EpisodeEntry], episodes: Sequence[Joined]) -> Steps:
    """The steps, stored piece by piece, episode by episode."""
    firsts = _firsts([piece.length for piece in pieces])
    order = _end_to_end(firsts[k] + np.arange(pieces[k].length) for episode in episodes for k in episode.pieces)
    return Steps(**{f.name: getattr(steps, f.name)[order] for f in fields(steps)})


def _ordinals(index: BufferIndex) -> NDArray[np.int64]:
    """The numbers of the pieces that are there, among all ever written."""
    lost = np.array([chunk.lost for chunk in index.chunks for _ in chunk.episodes], np.bool_)
    return index.evicted.episodes + np.flatnonzero(~lost)


def _table(
    pieces: Sequence[EpisodeEntry],
    episodes: Sequence[Joined],
    ordinals: NDArray[np.int64],
    first_frames: NDArray[np.int64],
) -> EpisodeTable:
    lengths = [sum(pieces[k].length for k in episode.pieces) for episode in episodes]
    frames = _end_to_end(
        # A piece begins with the frame that the one before it ends with.
        first_frames[k] + np.arange(k != episode.pieces[0], pieces[k].length + 1)
        for episode in episodes
        for k in episode.pieces
    )
    numbers = (ordinals[episode.pieces[0]] if episode.whole else -1 for episode in episodes)
    return EpisodeTable(
        ordinal=np.fromiter(numbers, np.int64, len(episodes)),
        length=np.array(lengths, np.int64),
        offset=_firsts(lengths),
        frames=frames,
        round=np.array([episode.begun.round for episode in episodes], np.int64),
    )


def _records(pieces: Sequence[EpisodeEntry], episodes: Sequence[Joined], steps: Steps) -> list[EpisodeRecord]:
    records, over, end = [], steps.terminated | steps.truncated, 0
    for episode in episodes:
        of_it = [pieces[k] for k in episode.pieces]
        length = sum(piece.length for piece in of_it)
        end += length
        return_ = sum(piece.return_ for piece in of_it)
        records.append(EpisodeRecord(episode.begun, length, return_, bool(over[end - 1])))
    return records


def _firsts(sizes: Sequence[int], begin: int = 0) -> NDArray[np.int64]:
    """Where each of what is stored end to end begins."""
    return begin + np.cumsum(sizes, dtype=np.int64) - np.array(sizes, np.int64)


def _end_to_end(ranges: Iterable[NDArray[np.int64]]) -> NDArray[np.int64]:
    return np.concatenate([np.empty(0, np.int64), *ranges])
