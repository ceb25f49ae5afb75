"""Real play: steps a second of the games, and what the buffer takes and gives."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
from gymnasium.spaces import Discrete
from gymnasium.vector import VectorEnv

from envs import make_real
from experiments.speed.timing import Backend, Rate, in_turns
from rl.buffer import BufferWriter
from worldmodel.data.episode import Episode, EpisodeInfo
from worldmodel.data.reader import BufferReader
from worldmodel.data.windows import WindowSampler, segment
from worldmodel.errors import UserError
from worldmodel.spaces import ActionSpec

ACTIONS = 6
"""of a game that is measured by noise, as in Pong"""
GAMES = ("CartPole-v1", "LunarLander-v3", "ALE/Pong-v5")
"""one of each kind: drawn by pygame, drawn and simulated, emulated"""
_ENVS = 8
_TURN = 50
"""steps of all games in a turn"""
_EPISODE, _EPISODES = 250, 8
_BATCH, _CONTEXT, _UNROLL = 32, 4, 2


def measure_games(seconds: float) -> Iterator[tuple[str, Rate]]:
    """Steps a second of eight games at a time, by game; a game whose package is not installed is left out."""
    for game in GAMES:
        try:
            env = make_real(game, _ENVS)
        except UserError:
            continue
        yield game, in_turns({game: _player(env)}, seconds)[game]
        env.close()


def _player(env: VectorEnv) -> Backend:
    actions = int(cast(Discrete, env.single_action_space).n)
    env.reset(seed=0)
    rng = np.random.default_rng(0)

    def play() -> int:
        for _ in range(_TURN):
            env.step(rng.integers(actions, size=_ENVS))
        return _TURN * _ENVS

    return play


@dataclass(frozen=True)
class Buffered:
    """Steps a second that a buffer takes, each chunk on the disk before the next, and windows a second that it gives.

    Attributes:
        written: Steps a second.
        sampled: Windows a second, with their frames.
    """

    written: Rate
    sampled: Rate


def measure_buffer(folder: Path, seconds: float) -> Buffered:
    """Write noise to a new buffer in `folder`, and draw windows from it."""
    writer, episodes = _writer(folder), _noise_episodes()

    def write() -> int:
        writer.append(episodes)
        return sum(len(episode.actions) for episode in episodes)

    write()
    rng, read = np.random.default_rng(0), BufferReader(folder)
    sampler = WindowSampler(read, _CONTEXT, _UNROLL)

    def sample() -> int:
        segment(read, sampler.sample(_BATCH, rng))
        return _BATCH

    sampled = in_turns({"sampled": sample}, seconds)["sampled"]
    return Buffered(in_turns({"written": write}, seconds)["written"], sampled)


def write_noise(folder: Path) -> None:
    """A buffer of noise in `folder`."""
    _writer(folder).append(_noise_episodes())


def _writer(folder: Path) -> BufferWriter:
    return BufferWriter(folder, (64, 64, 3), ActionSpec.discrete(ACTIONS), capacity=20 * _EPISODE * _EPISODES)


def _noise_episodes() -> list[Episode]:
    """Games as large as those of Atari."""
    rng = np.random.default_rng(0)
    return [_noise(rng) for _ in range(_EPISODES)]


def _noise(rng: np.random.Generator) -> Episode:
    last = np.arange(_EPISODE) == _EPISODE - 1
    return Episode(
        frames=rng.integers(256, size=(_EPISODE + 1, 64, 64, 3)).astype(np.uint8),
        actions=rng.integers(ACTIONS, size=_EPISODE),
        rewards=rng.integers(-1, 2, size=_EPISODE).astype(np.float32),
        terminated=last,
        truncated=np.zeros_like(last),
        life_lost=np.zeros_like(last),
        info=EpisodeInfo("Noise-v0", "random", 0, 0, 1, 0, None, 0),
    )
