"""Gathering real play, in an actor that may die and be started again."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np
import ray

from envs.real import RealVectorEnv, action_spec, make_real
from rl.play import RECENT, Play
from rl.players import Player, Players
from rl.policies import ExploringPolicy, PolicySnapshot, load_policy
from rl.settings import GameSettings
from rl.under_way import as_note, newest_games, take_up
from worldmodel.data.episode import Episode
from worldmodel.errors import UserError
from worldmodel.spaces import ActionSpec, FrameSize


@dataclass(frozen=True)
class Shares:
    """Who plays what share of the real steps; they add up to 1.

    Attributes:
        random: Random play.
        expert: The expert.
        policy: The learning policy.
        exploring: The learning policy, which acts at random with probability `epsilon`.
        epsilon: See there.
        hold: Steps for which random play holds an action at most.
    """

    random: float = 1.0
    expert: float = 0.0
    policy: float = 0.0
    exploring: float = 0.0
    epsilon: float = 0.0
    hold: int = 1

    def __post_init__(self) -> None:
        shares = (self.random, self.expert, self.policy, self.exploring)
        if min(shares) < 0 or abs(sum(shares) - 1) > 1e-6:
            raise ValueError(f"shares must not be negative and add up to 1, not {shares}")


@dataclass(frozen=True)
class Delivery:
    """What comes with a collector's episodes.

    Attributes:
        note: The games that are under way, to be written beside the play.
        failure: Why there are fewer steps than were asked for; None if there are not.
    """

    note: str
    failure: UserError | None


class Collector:
    """Plays real games by a stated ratio of random, expert and learning policies.

    What it draws follows from (seed, round, index), the pieces it delivered before and the games under way; those it
    takes up again when it is started again.
    """

    def __init__(
        self,
        game: GameSettings,
        frame_size: FrameSize,
        envs: int,
        index: int,
        seed: int,
        expert: Path | None = None,
        threads: int | None = None,
    ) -> None:
        """Open the games.

        Args:
            game: Which game.
            frame_size: Height and width of a frame, pixels.
            envs: Games at a time.
            index: Which collector this is.
            seed: The run's seed.
            expert: Folder of the expert's policy.
            threads: Torch threads for what a policy sees and thinks; None: as they are.
        """
        made = make_real(game.id, envs, frame_size=frame_size, **game.options)
        self._spec = action_spec(made)
        self._env = cast(RealVectorEnv, made.unwrapped)
        self._game, self._index, self._seed = game, index, seed
        self._players = Players(self._spec, threads)
        self._expert = load_policy(expert, source="expert") if expert else None
        self._play: Play | None = None

    def action_spec(self) -> ActionSpec:
        """The game's actions."""
        return self._spec

    def take_up(self, folder: Path) -> int:
        """Go on with the games that this collector's forerunner had open when it last wrote to the buffer in `folder`.

        Returns how many of them are lost, because they could not be played again; others begin in their places.
        """
        games = newest_games(folder, self._index)
        if len(games) != self._env.num_envs:
            return 0
        self._play = self._begin(np.random.default_rng(self._index))
        taken_up = take_up(self._env, games, folder, self._index, RECENT)
        self._play.take_up(taken_up)
        return taken_up.lost

    def deliver(
        self,
        steps: int,
        number: int,
        shares: Shares,
        policy: PolicySnapshot | None,
        world_model: Path | None,
        delivered: int,
    ) -> tuple[list[Episode], Delivery]:
        """What `collect` returns, and what comes with it; after a failure new games begin."""
        episodes = self.collect(steps, number, shares, policy, world_model, delivered)
        play = self._play
        assert play is not None
        if play.failure is None:
            return episodes, Delivery(as_note(play.under_way), None)
        self._play = None
        return episodes, Delivery(as_note([]), play.failure)

    def collect(
        self,
        steps: int,
        number: int,
        shares: Shares,
        policy: PolicySnapshot | None = None,
        world_model: Path | None = None,
        delivered: int = 0,
    ) -> list[Episode]:
        """Play at least `steps` real steps (and fewer more than there are games at a time).

        Args:
            steps: Real steps.
            number: The round.
            shares: Who plays how much.
            policy: The learning policy; needed if it has a share, exploring or not.
            world_model: Folder of the world model through whose encoder policies see; None if they see frames.
            delivered: Pieces of this round that this collector has played before; no two calls draw the same.

        Raises:
            UserError: If a game fails; those that fail while they are under way bring what was played, and are told by
                `deliver`, or by the next call.
        """
        if self._play is not None and self._play.failure is not None:
            raise self._play.failure
        rng = np.random.default_rng([self._seed, number, self._index, delivered])
        play = self._play = self._play or self._begin(rng)
        self._env.later_seeds = rng.spawn(1)[0]
        players = {self._players.random(shares.hold): shares.random}
        for snapshot, share in ((self._expert, shares.expert), (policy, shares.policy)):
            if share:
                players[self._trained(snapshot, world_model)] = share
        if shares.exploring:
            agent = self._trained(policy, world_model)
            players[replace(agent, policy=ExploringPolicy(agent.policy, self._spec, shares.epsilon))] = shares.exploring
        return play.run(list(players), list(players.values()), steps, number, rng)

    def _trained(self, snapshot: PolicySnapshot | None, world_model: Path | None) -> Player:
        if snapshot is None:
            raise ValueError("a policy that has a share must be given")
        return self._players.trained(snapshot, world_model)

    def _begin(self, rng: np.random.Generator) -> Play:
        seeds = rng.integers(2**31, size=self._env.num_envs).tolist()
        return Play(self._env, self._game.id, self._index, seeds)


CollectorActor = ray.remote(num_cpus=1)(Collector)
"""A `Collector` on Ray. It returns what was played, so that its caller owns it and keeps it when the actor dies."""
