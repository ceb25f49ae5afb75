"""Judging an agent in the real game, in an actor; nothing that is played here is ever learned from."""

from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import ray
from numpy.typing import NDArray

from envs.catalogue import has_limit
from envs.real import RealVectorEnv, action_spec, make_real
from rl.players import Glimpse, Player, Players
from rl.policies import PolicySnapshot
from rl.settings import EvaluateSettings, GameSettings
from rl.statistics import Evaluation
from worldmodel.spaces import FrameSize


class Evaluator:
    """Plays real games to their end and reports every one of them."""

    def __init__(
        self,
        game: GameSettings,
        frame_size: FrameSize,
        envs: int,
        longest: int = EvaluateSettings.max_steps,
        threads: int | None = None,
    ) -> None:
        """Open the games.

        Args:
            game: Which game.
            frame_size: Height and width of a frame, pixels.
            envs: Games at a time.
            longest: A game that has no limit of its own is cut off after so many steps.
            threads: Torch threads for what a policy sees and thinks; None: as they are.
        """
        limited = limited_game(game, longest)
        made = make_real(limited.id, envs, frame_size=frame_size, **limited.options)
        self._env = cast(RealVectorEnv, made.unwrapped)
        self._players = Players(action_spec(made), threads)

    def evaluate(
        self,
        episodes: int,
        seed: int,
        policy: PolicySnapshot | None = None,
        world_model: Path | None = None,
        greedy: bool = True,
    ) -> Evaluation:
        """Judge a policy, or random play.

        Which games are played is settled beforehand by `seed`, and all count, so that short games are not favoured as
        they are where the first to finish count.

        Args:
            episodes: Real games.
            seed: Same seed, same games; other policies meet them too.
            policy: Who plays; None: at random.
            world_model: Folder of the world model through whose encoder the policy sees; None if it sees frames.
            greedy: Take the likeliest action, not a sampled one.
        """
        players = self._players
        return self.watch(players.trained(policy, world_model, greedy) if policy else players.random(), episodes, seed)

    def watch(self, player: Player, episodes: int, seed: int) -> Evaluation:
        """Judge whoever plays; see `evaluate`."""
        seeds = np.random.default_rng([seed, 0]).integers(2**31, size=episodes)
        return _Match(self._env, player, seeds).play(np.random.default_rng([seed, 1]))


def limited_game(game: GameSettings, longest: int) -> GameSettings:
    """The game, cut off after `longest` steps if it has no limit: else a judgement might never end."""
    return game if game.max_steps or has_limit(game.id) else replace(game, max_steps=longest)


EvaluatorActor = ray.remote(num_cpus=0)(Evaluator)
"""An `Evaluator` on Ray."""


class _Match:
    """One policy playing one game for each seed; an environment that is done takes the next game."""

    def __init__(self, env: RealVectorEnv, player: Player, seeds: NDArray[np.int64]) -> None:
        self._env = env
        self._player = player
        self._seeds = seeds
        self._returns = np.zeros(len(seeds))
        self._lengths = np.zeros(len(seeds), np.int64)
        rows = np.arange(env.num_envs)
        self._game = np.where(rows < len(seeds), rows, -1)
        self._next = min(len(seeds), env.num_envs)

    def play(self, rng: np.random.Generator) -> Evaluation:
        """Play all games to their end."""
        frames, _ = self._env.reset(seed=self._seeds[self._game].tolist())
        self._player.view.start([Glimpse(frames, np.ones(len(frames), np.bool_))])
        while (self._game >= 0).any():
            self._step(rng)
        return Evaluation(tuple(self._returns.tolist()), tuple(self._lengths.tolist()))

    def _step(self, rng: np.random.Generator) -> None:
        rows = np.flatnonzero(self._game >= 0)
        actions = self._env.action_spec.zeros(self._env.num_envs)
        actions[rows] = self._player.policy.act(self._player.view.of(rows), rng)
        frames, rewards, terminated, truncated, _ = self._env.step(actions)
        self._returns[self._game[rows]] += rewards[rows]
        self._lengths[self._game[rows]] += 1
        finished = (terminated | truncated) & (self._game >= 0)
        if finished.any():
            frames = self._begin(finished, frames)
        self._player.view.look(Glimpse(frames, finished), np.flatnonzero(self._game >= 0))

    def _begin(self, finished: NDArray[np.bool_], frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Give the next games to those that are `finished`, as long as there are any; the frames thereafter."""
        self._game[finished] = -1
        rows = np.flatnonzero(finished)[: len(self._seeds) - self._next]
        if not len(rows):
            return frames
        self._game[rows] = self._next + np.arange(len(rows))
        self._next += len(rows)
        fresh = np.isin(np.arange(len(finished)), rows)
        seeds = np.where(fresh, self._seeds[self._game], 0).tolist()
        return self._env.reset(seed=seeds, options={"reset_mask": fresh})[0]
