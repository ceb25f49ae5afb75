"""Playing a real game again up to a moment that was stored."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from envs.game import Game
from worldmodel.data.reader import BufferReader, EpisodeRecord
from worldmodel.data.starts import Starts
from worldmodel.errors import UserError


@dataclass(frozen=True, eq=False)
class Replay:
    """A moment of a real game: what `seed` begins, after `actions`, (steps, ...)."""

    seed: int
    actions: NDArray[Any]


def find_replays(reader: BufferReader, starts: Starts) -> list[Replay]:
    """How to play to each of `starts`, which were drawn from `reader` as it is now.

    A game may be stored in pieces. Starts in a game whose seed is not known, or whose first pieces were evicted, are
    left out.

    Raises:
        UserError: If no start is left.
    """
    before = _pieces_before(reader.episodes)
    replays = [_replay(reader, before, int(e), int(s)) for e, s in zip(starts.episode, starts.step, strict=True)]
    found = [replay for replay in replays if replay is not None]
    if not found:
        raise UserError(
            "no game in the buffer can be replayed to a start: collect games with seeds, or dream in a model."
        )
    return found


def find_cut(reader: BufferReader, collector: int, seed: int, steps: int) -> tuple[Replay, NDArray[np.uint8]] | None:
    """How to play to where a collector's game was cut off, after `steps` steps, and what it showed there.

    None if not all of the game's pieces are there.
    """
    for index, record in reversed(list(enumerate(reader.episodes))):
        info = record.info
        if (info.collector, info.seed, info.start + record.length) == (collector, seed, steps):
            replay = _replay(reader, _pieces_before(reader.episodes), index, record.length)
            last = reader.table.frame_ids(np.array(index), np.array(record.length))
            return None if replay is None else (replay, reader.frames(last))
    return None


def play_to(game: Game, replay: Replay, count: int) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Bring `game` to the moment of `replay`; not as far, if it ends on the way (it is no such game then).

    Returns:
        The newest `count` frames, (count, height, width, 3), the first repeated where the game is younger, and a mask,
        bool (count,), False there.
    """
    game.reset(replay.seed)
    actions = replay.actions
    unseen = max(len(actions) - count + 1, 0)
    going_on = all(_goes_on(game, action) for action in actions[:unseen])
    frames = [game.frame(), *_watch(game, actions[unseen:] if going_on else actions[:0])]
    padding = count - len(frames)
    return np.stack(frames[:1] * padding + frames), np.arange(count) >= padding


def _watch(game: Game, actions: NDArray[Any]) -> Iterator[NDArray[np.uint8]]:
    for action in actions:
        going_on = _goes_on(game, action)
        yield game.frame()
        if not going_on:
            return


def _goes_on(game: Game, action: Any) -> bool:
    outcome = game.step(action)
    return not (outcome.terminated or outcome.truncated)


def _pieces_before(episodes: Sequence[EpisodeRecord]) -> list[int | None]:
    """For each episode, which one holds the piece of the same game just before it."""
    ends: dict[tuple[int, int | None, int], int] = {}
    before = []
    for index, episode in enumerate(episodes):
        info = episode.info
        before.append(ends.get((info.collector, info.seed, info.start)) if info.start else None)
        ends[info.collector, info.seed, info.start + episode.length] = index
    return before


def _replay(reader: BufferReader, before: Sequence[int | None], episode: int, step: int) -> Replay | None:
    seed = reader.episodes[episode].info.seed
    pieces = [_actions(reader, episode, step)]
    while (piece := before[episode]) is not None:
        episode = piece
        pieces.insert(0, _actions(reader, episode, reader.episodes[episode].length))
    if seed is None or reader.episodes[episode].info.start:
        return None
    return Replay(seed, np.concatenate(pieces))


def _actions(reader: BufferReader, episode: int, count: int) -> NDArray[Any]:
    first = reader.table.offset[episode]
    return reader.steps.actions[first : first + count]
