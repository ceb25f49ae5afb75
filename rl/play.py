"""Playing real games: the loop that turns policies into episodes."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from envs.real import RealVectorEnv
from rl.players import Glimpse, Player
from rl.under_way import GameUnderWay, TakenUp
from worldmodel.data.episode import Episode, EpisodeInfo
from worldmodel.errors import UserError

RECENT = 16
"""Newest frames that are remembered, for a player that takes over games under way: the largest stack it can see."""


@dataclass(frozen=True, eq=False)
class Moment:
    """One step of all games, each array (num_envs, ...).

    Attributes:
        frames: What was seen.
        actions: What was done.
        rewards: What came of it.
        terminated: Whether the game ended with it.
        truncated: Whether it was cut off by its time limit.
        life_lost: Whether it cost a life.
        live: False where no step was played, because the game only began anew.
        player: Who acted.
        seeds: The game's seed.
        started: Steps played in the game before.
    """

    frames: NDArray[np.uint8]
    actions: NDArray[Any]
    rewards: NDArray[np.float32]
    terminated: NDArray[np.bool_]
    truncated: NDArray[np.bool_]
    life_lost: NDArray[np.bool_]
    live: NDArray[np.bool_]
    player: NDArray[np.int64]
    seeds: NDArray[np.int64]
    started: NDArray[np.int64]


class Turns:
    """Who plays which game: a new game goes to the player who is furthest behind its share of the steps."""

    def __init__(self, shares: Sequence[float], num_envs: int, rng: np.random.Generator) -> None:
        """Give all games to players; `shares` of the steps add up to 1.

        Drawn by systematic sampling: games that outlast many runs have changed hands by these shares in the end,
        however few they are. Whoever is furthest behind would begin every run with the same players.
        """
        self._shares = np.asarray(shares, np.float64)
        self._steps = np.zeros(len(shares), np.int64)
        places = (rng.permutation(num_envs) + rng.random()) / num_envs
        self.player = np.searchsorted(self._shares.cumsum()[:-1], places, side="right")

    def count(self, live: NDArray[np.bool_]) -> None:
        """A step was played in the games that are `live`."""
        self._steps += np.bincount(self.player[live], minlength=len(self._steps))

    def assign(self, rows: NDArray[np.int64]) -> None:
        """Give new games `rows` to players."""
        self.player[rows] = -1
        for row in rows:
            # A game under way counts as one step more: games that begin together are shared out too.
            taken = self._steps + np.bincount(self.player[self.player >= 0], minlength=len(self._steps))
            self.player[row] = np.argmax(self._shares * (taken.sum() + 1) - taken)


class Play:
    """Real games under way in a vector environment; they go on from one `run` to the next.

    Attributes:
        failure: How one of the games failed, with which all of them are over: they are out of step.
    """

    failure: UserError | None = None

    def __init__(self, env: RealVectorEnv, env_id: str, collector: int, seeds: Sequence[int]) -> None:
        """Begin a game with each of `seeds`, one an environment."""
        self._env = env
        self._env_id = env_id
        self._collector = collector
        frames, _ = env.reset(seed=seeds)
        self._over = np.zeros(env.num_envs, np.bool_)
        self._started = np.zeros(env.num_envs, np.int64)
        self._recent = deque([Glimpse(frames, ~self._over)], maxlen=RECENT)

    def take_up(self, games: TakenUp) -> None:
        """Play on in these games, to which the environment was brought."""
        self._over, self._started = games.over, games.steps
        self._recent = deque(games.recent, maxlen=RECENT)

    @property
    def under_way(self) -> list[GameUnderWay]:
        """The games as they are now."""
        games = zip(self._env.game_seeds.tolist(), self._started.tolist(), self._over.tolist(), strict=True)
        return [GameUnderWay(seed, steps, over) for seed, steps, over in games]

    def run(
        self, players: Sequence[Player], shares: Sequence[float], steps: int, number: int, rng: np.random.Generator
    ) -> list[Episode]:
        """Play `steps` steps in all (and fewer more than there are games), in round `number`.

        Games that are under way at the end are cut off and go on in the next run, where they may change hands. If one
        fails, what was played up to there comes back, and `failure` says why it is less.

        Args:
            players: Who plays.
            shares: The share of the steps that each plays.
            steps: Real steps, at least.
            number: The round, for the record.
            rng: What the players draw from.
        """
        turns = Turns(shares, self._env.num_envs, rng)
        for player in players:
            player.view.start(list(self._recent))
        moments: list[Moment] = []
        played = 0
        while played < steps and (moment := self._step(players, turns, rng)):
            moments.append(moment)
            played += int(moment.live.sum())
        return self._cut(moments, players, number) if moments else []

    def _step(self, players: Sequence[Player], turns: Turns, rng: np.random.Generator) -> Moment | None:
        """One step of all games; None if one of them failed."""
        began, live, seeds, player = self._over, ~self._over, self._env.game_seeds, turns.player.copy()
        seen, actions = self._recent[-1].frames, self._act(players, player, live, rng)
        try:
            frames, rewards, terminated, truncated, _ = self._env.step(actions)
        except UserError as error:
            self.failure = error
            return None
        moment = Moment(seen, actions, rewards, terminated, truncated, self._env.life_lost, live, player, seeds,
                        self._started)  # fmt: skip
        turns.count(live)
        turns.assign(np.flatnonzero(began))
        self._started = np.where(began, 0, self._started + 1)
        self._over = terminated | truncated
        self._recent.append(Glimpse(frames, began))
        for index, watcher in enumerate(players):
            watcher.view.look(self._recent[-1], np.flatnonzero(turns.player == index))
        return moment

    def _act(
        self, players: Sequence[Player], player: NDArray[np.int64], live: NDArray[np.bool_], rng: np.random.Generator
    ) -> NDArray[Any]:
        actions = self._env.action_spec.zeros(len(player))
        for index, actor in enumerate(players):
            rows = np.flatnonzero((player == index) & live)
            if len(rows):
                actions[rows] = actor.policy.act(actor.view.of(rows), rng)
        return actions

    def _cut(self, moments: Sequence[Moment], players: Sequence[Player], number: int) -> list[Episode]:
        """What was played as episodes: the runs of live steps of each game."""
        frames = [*(moment.frames for moment in moments), self._recent[-1].frames]
        live = np.stack([moment.live for moment in moments])
        episodes = []
        for row in range(self._env.num_envs):
            edges = np.flatnonzero(np.diff(live[:, row], prepend=False, append=False))
            for begin, end in edges.reshape(-1, 2).tolist():
                info = self._info(moments[begin], row, players, number)
                episodes.append(_episode(moments[begin:end], frames[begin : end + 1], row, info))
        return episodes

    def _info(self, first: Moment, row: int, players: Sequence[Player], number: int) -> EpisodeInfo:
        policy = players[first.player[row]].policy
        return EpisodeInfo(
            env_id=self._env_id,
            source=policy.source,
            policy_version=policy.version,
            world_model_version=policy.world_model_version,
            round=number,
            collector=self._collector,
            seed=int(first.seeds[row]),
            start=int(first.started[row]),
        )


def _episode(moments: Sequence[Moment], frames: Sequence[NDArray[np.uint8]], row: int, info: EpisodeInfo) -> Episode:
    return Episode(
        frames=np.stack([frame[row] for frame in frames]),
        actions=np.stack([moment.actions[row] for moment in moments]),
        rewards=np.array([moment.rewards[row] for moment in moments], np.float32),
        terminated=np.array([moment.terminated[row] for moment in moments], np.bool_),
        truncated=np.array([moment.truncated[row] for moment in moments], np.bool_),
        life_lost=np.array([moment.life_lost[row] for moment in moments], np.bool_),
        info=info,
    )
