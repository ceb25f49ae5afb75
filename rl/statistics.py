"""What a number of real games say about an agent."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np


@dataclass(frozen=True)
class Evaluation:
    """Real games, played to their end to judge who played.

    Attributes:
        returns: The sum of rewards of each game.
        lengths: The steps of each game.
    """

    returns: tuple[float, ...]
    lengths: tuple[int, ...]

    @property
    def steps(self) -> int:
        """Real steps that it took."""
        return sum(self.lengths)

    @property
    def mean(self) -> float:
        """Mean return."""
        return float(np.mean(self.returns))

    @cached_property
    def interval(self) -> tuple[float, float]:
        """95 % bootstrap interval of the mean return."""
        return bootstrap_interval(self.returns)


def bootstrap_interval(
    returns: Sequence[float], confidence: float = 0.95, resamples: int = 10_000, seed: int = 0
) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean (Efron, 1979).

    Args:
        returns: One or more values.
        confidence: Probability that the interval is meant to hold the mean with.
        resamples: Bootstrap samples; memory grows with it.
        seed: Same seed, same interval.
    """
    values = np.asarray(returns, np.float64)
    drawn = np.random.default_rng(seed).integers(len(values), size=(resamples, len(values)))
    low, high = np.quantile(values[drawn].mean(axis=1), [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)
