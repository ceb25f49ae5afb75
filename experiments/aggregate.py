"""What several seeds in several games say: interquartile means with intervals (Agarwal et al., 2021).

The estimates are those of the authors' package, rliable, which cannot be imported beside pandas 3.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import bootstrap, trim_mean

Scores = Sequence[Sequence[float]]
"""for each game, one score a seed"""
_RESAMPLES = 10_000


@dataclass(frozen=True)
class Estimate:
    """A value and its 95% interval, by bootstrap stratified by game; the interval is nan where there is one seed."""

    value: float
    low: float
    high: float


def interquartile_mean(scores: Scores) -> Estimate:
    """The mean of the middle half of all scores."""
    return _estimate(_interquartile_mean, _columns(scores))


def improvement(scores: Scores, others: Scores) -> Estimate:
    """The probability that a run is better than one of the `others` in the same game; a tie counts half."""
    games = len(scores)

    def probability(*columns: NDArray[Any], axis: int) -> NDArray[Any]:
        pairs = zip(columns[:games], columns[games:], strict=True)
        return np.mean([_superiority(ours, theirs) for ours, theirs in pairs], axis=0)

    return _estimate(probability, _columns(scores) + _columns(others))


def _interquartile_mean(*columns: NDArray[Any], axis: int) -> NDArray[Any]:
    return trim_mean(np.concatenate(columns, axis=axis), 0.25, axis=axis)


def _superiority(ours: NDArray[Any], theirs: NDArray[Any]) -> NDArray[Any]:
    difference = ours[..., :, None] - theirs[..., None, :]
    return (0.5 + 0.5 * np.sign(difference)).mean(axis=(-2, -1))


def _columns(scores: Scores) -> list[NDArray[np.float64]]:
    return [np.asarray(column, np.float64) for column in scores]


def _estimate(statistic: Callable[..., NDArray[Any]], columns: list[NDArray[np.float64]]) -> Estimate:
    value = float(statistic(*columns, axis=-1))
    if min(len(column) for column in columns) < 2:
        return Estimate(value, math.nan, math.nan)
    # Each column, one game's scores, is drawn from by itself: a bootstrap stratified by game.
    drawn = bootstrap(columns, statistic, n_resamples=_RESAMPLES, method="percentile", rng=np.random.default_rng(0))
    return Estimate(value, *map(float, drawn.confidence_interval))
