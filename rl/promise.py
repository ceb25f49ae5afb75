"""What the dream promises its agent, beside what the real game pays it from the very same moments.

Imagined returns of a run cannot be held against real ones: dreams begin near rewards and ends more often than games
do. Here the agent plays the real game; from moments of that play it then plays on in the dream, and the dream also
plays on under the actions that were really taken. Where only the agent's own choices are paid too well, it has found
what the dream gets wrong (model exploitation: Ha & Schmidhuber, 2018, section 4).
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray

from envs.pool import StartPool, fill_pool
from rl.correlation import Correlation, correlate
from rl.dream_play import dreamer, glimpses, remembered
from rl.players import Glimpse
from rl.policies import PolicySnapshot
from rl.real_moments import past, play_for_real
from rl.settings import GameSettings
from rl.statistics import bootstrap_interval
from worldmodel.base import Dream, WorldModel
from worldmodel.data.starts import Starts
from worldmodel.spaces import FrameSize

_PARTS = 4
"""a horizon is told in so many even parts"""


@dataclass(frozen=True)
class ReturnCurve:
    """What was paid from many moments on.

    Attributes:
        means: Mean return of the steps up to each horizon, or up to the game's end if that comes first.
        low: Lower bound of the last mean's 95 % bootstrap interval over moments.
        high: Upper bound.
    """

    means: tuple[float, ...]
    low: float
    high: float

    @classmethod
    def of(cls, rewards: NDArray[np.float32], horizons: tuple[int, ...]) -> Self:
        """That of rewards (moments, steps), 0 after a game's end."""
        returns = rewards.cumsum(1, dtype=np.float64)
        return cls(
            tuple(float(returns[:, h - 1].mean()) for h in horizons), *bootstrap_interval(returns[:, -1].tolist())
        )


@dataclass(frozen=True)
class Promise:
    """An agent in the real game, and in the dream from the same moments.

    Attributes:
        player: Who plays.
        horizons: Steps from a moment on.
        moments: How many, drawn from its real games.
        real: What the real game paid.
        replayed: What the dream pays for the actions that it took in the real game.
        dreamed: What the dream pays for those that it takes there.
        paired: Of `real` and `replayed`, moment by moment: their means may be right in a dream that is nowhere so. Of
            moments that share a step, one alone counts.
    """

    player: str
    horizons: tuple[int, ...]
    moments: int
    real: ReturnCurve
    replayed: ReturnCurve
    dreamed: ReturnCurve
    paired: Correlation


class Promises:
    """What a model's dreams promise the agents that are asked about."""

    def __init__(
        self,
        game: GameSettings,
        world_model: Path,
        model: WorldModel,
        *,
        horizon: int,
        moments: int,
        signs_alone: bool = False,
        seed: int = 0,
        device: str | torch.device = "cpu",
    ) -> None:
        """Make ready.

        Args:
            game: The real game.
            world_model: The world model's folder, through whose encoder an agent sees.
            model: The same, ready to dream on `device`.
            horizon: Steps of a dream.
            moments: Dreams, all at a time.
            signs_alone: The dream pays no more than the signs of rewards, and so is the real game taken to.
            seed: Seeds every random number.
            device: Where the model is.
        """
        self._device = torch.device(device)
        self._game, self._folder, self._model = game, world_model, model
        self._horizon, self._moments, self._signs, self._seed = horizon, moments, signs_alone, seed

    def ask(self, name: str, policy: PolicySnapshot, games: int, steps: int) -> Promise:
        """Let an agent act by chance, as its policy has it, in `games` real games for `steps` steps each, and dream.

        Raises:
            UserError: If the agent does not suit the game or the model, or `steps` are fewer than the horizon.
        """
        rng = np.random.default_rng(self._seed)
        play = play_for_real(self._game, self._folder, policy, _size(self._model), games, steps, rng)
        time, game = play.moments(self._moments, self._horizon, rng)
        starts = play.starts(time, game, self._model.context)
        actions, paid = play.ahead(time, game, self._horizon)
        real = np.sign(paid) if self._signs else paid
        pool = self._pool(starts, policy)
        replayed = self._dream(pool, lambda step: actions[:, step], _nobody)
        dreamed = self._played(pool, policy, rng)
        horizons = tuple(-(-self._horizon * part // _PARTS) for part in range(1, _PARTS + 1))

        def curve(rewards: NDArray[np.float32]) -> ReturnCurve:
            return ReturnCurve.of(rewards, horizons)

        apart = _apart(time, game, self._horizon)
        paired = correlate(replayed.sum(1)[apart].tolist(), real.sum(1)[apart].tolist())
        return Promise(name, horizons, self._moments, curve(real), curve(replayed), curve(dreamed), paired)

    def _pool(self, starts: Starts, policy: PolicySnapshot) -> StartPool:
        return fill_pool(self._model, starts, policy.spec.observation, remembered(policy.spec), self._device)

    def _played(self, pool: StartPool, policy: PolicySnapshot, rng: np.random.Generator) -> NDArray[np.float32]:
        spec, rows = policy.spec, np.arange(self._moments)
        player = dreamer(policy, self._folder, self._model.action_spec)
        player.view.start(glimpses(pool.stacks.cpu().numpy(), remembered(spec)))
        going_on = np.zeros(self._moments, np.bool_)

        def look(dreams: Dream) -> None:
            seen = self._model.observe(dreams, spec.observation).cpu().numpy()
            player.view.look(Glimpse(seen, going_on), rows)

        return self._dream(pool, lambda _: player.policy.act(player.view.of(rows), rng), look)

    @torch.no_grad()
    def _dream(
        self, pool: StartPool, act: Callable[[int], NDArray[Any]], look: Callable[[Dream], None]
    ) -> NDArray[np.float32]:
        """Rewards (moments, horizon) of the dreams, 0 after their ends."""
        dreams, generator = pool.dreams, torch.Generator(self._device).manual_seed(self._seed)
        rewards, ended = [], []
        for step in range(self._horizon):
            dreams, outcome = self._model.step(dreams, torch.from_numpy(act(step)).to(self._device), generator)
            look(dreams)
            rewards.append(outcome.rewards.cpu().numpy())
            ended.append(outcome.terminated.cpu().numpy())
        return np.where(past(np.stack(ended, 1)), np.float32(0), np.stack(rewards, 1))


def _apart(time: NDArray[np.int64], game: NDArray[np.int64], horizon: int) -> list[int]:
    """As many of these moments as come one after the other in their games, none within the steps of the one before."""
    kept: list[int] = []
    for moment in np.lexsort((time, game)).tolist():
        if not kept or game[moment] != game[kept[-1]] or time[moment] >= time[kept[-1]] + horizon:
            kept.append(moment)
    return kept


def _nobody(dreams: Dream) -> None:
    """Looks at nothing."""


def _size(model: WorldModel) -> FrameSize:
    height, width, _ = model.frame_shape
    return height, width
