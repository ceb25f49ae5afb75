"""Steps for the head to learn from: what is rare in play is not rare among them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from worldmodel.data.reader import BufferReader
from worldmodel.data.windows import WindowSampler


@dataclass(frozen=True)
class Balance:
    """How much oftener than in play outcomes come among the steps of a batch, as logarithms.

    A classifier's logits are shifted by them in training, so that they stand for play without them (logit adjustment,
    Menon et al., 2021).

    Attributes:
        ends: Of the odds of an end.
        signs: Of the shares of rewards below, at and above 0.
    """

    ends: float = 0.0
    signs: tuple[float, float, float] = (0.0, 0.0, 0.0)


class OutcomeSampler:
    """Draws steps, half of them as they come in play, half with every kind of outcome equally often.

    A kind is an end or none, with a reward below, at or above 0.
    """

    def __init__(self, reader: BufferReader, windows: WindowSampler) -> None:
        """Steps of the split that `windows` draws from."""
        self._reader = reader
        self._windows = windows
        self._generation = -1

    @property
    def balance(self) -> Balance:
        """How much oftener than in play outcomes are drawn."""
        self._catch_up()
        natural = np.bincount(self._kinds, minlength=6) / len(self._kinds)
        drawn = np.zeros(6)
        drawn[list(self._members)] = 1 / len(self._members)
        drawn = (natural + drawn) / 2
        signs = [_log_ratio(drawn[sign::3].sum(), natural[sign::3].sum()) for sign in range(3)]
        return Balance(ends=_log_ratio(_odds(drawn), _odds(natural)), signs=(signs[0], signs[1], signs[2]))

    def sample(self, batch: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """Draw steps, by their places in the split; see `WindowSampler.at`."""
        self._catch_up()
        drawn = rng.integers(len(self._kinds), size=batch)
        kind = rng.choice(list(self._members), size=batch)
        evenly = rng.random(batch) < 0.5
        for index, members in self._members.items():
            rows = np.flatnonzero(evenly & (kind == index))
            drawn[rows] = rng.choice(members, size=len(rows))
        return drawn

    def rare(self, batch: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """Draw steps of every kind but the commonest, each kind equally often; any steps if there is but one kind."""
        self._catch_up()
        commonest = max(self._members, key=lambda kind: len(self._members[kind]))
        others = [members for kind, members in self._members.items() if kind != commonest]
        if not others:
            return rng.integers(len(self._kinds), size=batch)
        return np.array([rng.choice(others[kind]) for kind in rng.integers(len(others), size=batch)])

    def _catch_up(self) -> None:
        if self._generation == self._reader.generation:
            return
        steps, places = self._reader.steps, self._windows.places
        self._kinds = 3 * steps.terminated[places] + np.sign(steps.rewards[places]).astype(np.int64) + 1
        self._members = {int(kind): np.flatnonzero(self._kinds == kind) for kind in np.unique(self._kinds)}
        self._generation = self._reader.generation


def rare_rewards(rewards: NDArray[np.float32]) -> int:
    """How many of them are of another sign than most; 0 counts as a sign."""
    signs = np.bincount(np.sign(rewards).astype(np.int64) + 1, minlength=3)
    return int(signs.sum() - signs.max())


def _odds(shares: NDArray[np.float64]) -> float:
    """Of an end, by the shares of the kinds; 0 where there are none."""
    ends = float(shares[3:].sum())
    return ends / (1 - ends) if ends < 1 else 0.0


def _log_ratio(drawn: float, natural: float) -> float:
    return float(np.log(drawn / natural)) if drawn and natural else 0.0
