"""The games that a collector has open: written beside its play, and taken up again after its death."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from envs.real import RealVectorEnv
from envs.replay import Replay, find_cut
from rl.players import Glimpse
from worldmodel.data.chunk import read_note
from worldmodel.data.index import holds_play, read_index
from worldmodel.data.reader import BufferReader


@dataclass(frozen=True)
class GameUnderWay:
    """A real game after `steps` steps of what `seed` began; if it is `over`, the next step begins another."""

    seed: int
    steps: int
    over: bool


@dataclass(frozen=True, eq=False)
class TakenUp:
    """Games that go on where they were.

    Attributes:
        recent: The newest frames, newest last.
        steps: int64, (num_envs,): steps played.
        over: bool, (num_envs,): whose next step begins another game.
        lost: How many of them could not be played again, and are over therefore.
    """

    recent: Sequence[Glimpse]
    steps: NDArray[np.int64]
    over: NDArray[np.bool_]
    lost: int


def as_note(games: Sequence[GameUnderWay]) -> str:
    """The games as text, to go with the play."""
    return json.dumps([asdict(game) for game in games])


def newest_games(folder: Path, collector: int) -> list[GameUnderWay]:
    """What was under way when `collector` last wrote to the buffer in `folder`; nothing if it never did."""
    if not holds_play(folder):
        return []
    mine = [chunk for chunk in read_index(folder).chunks if chunk.episodes[0].info.collector == collector]
    if not mine or mine[-1].lost:
        return []
    return [GameUnderWay(**game) for game in json.loads(read_note(folder, mine[-1]) or "[]")]


def take_up(env: RealVectorEnv, games: Sequence[GameUnderWay], folder: Path, collector: int, count: int) -> TakenUp:
    """Play `games` again in `env`, which was reset, from the buffer in `folder`; remember their newest `count` frames.

    A game whose pieces are not all there any more, or that shows another picture in the end, is given up.
    """
    reader = BufferReader(folder)
    seen, begun = np.stack([env.render()] * count), np.ones((count, len(games)), np.bool_)
    over = np.array([game.over for game in games])
    for index, game in enumerate(games):
        again = None if game.over else _play_again(env, index, game, reader, collector, count)
        if again is None:
            over[index] = True
            env.give_up(index)
        else:
            seen[:, index], begun[:, index] = again
    first = np.diff(begun, axis=0, prepend=False)
    recent = [Glimpse(seen[k], first[k]) for k in range(count)]
    steps = np.array([game.steps for game in games], np.int64)
    return TakenUp(recent, steps, over, int(over.sum()) - sum(game.over for game in games))


def _play_again(
    env: RealVectorEnv, index: int, game: GameUnderWay, reader: BufferReader, collector: int, count: int
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]] | None:
    if not game.steps:
        return env.take_up(index, Replay(game.seed, np.empty(0, np.int64)), count)
    found = find_cut(reader, collector, game.seed, game.steps)
    if found is None:
        return None
    replay, picture = found
    seen, begun = env.take_up(index, replay, count)
    return (seen, begun) if np.array_equal(seen[-1], picture) else None
