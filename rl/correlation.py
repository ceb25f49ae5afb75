"""Whether returns in the dream order what they are returns of as those in the real game do."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import PermutationMethod, pearsonr, spearmanr

_PAIRINGS = 5040


@dataclass(frozen=True)
class Correlation:
    """How alike two lists of returns order the same players, or the same moments.

    Attributes:
        pairs: How many returns of each.
        pearson: Linear correlation; None of fewer than three, or where all returns are alike.
        spearman: That of the ranks, or None.
        chance: The baseline: of all ways to pair the same returns at random, the share that correlates as well.
    """

    pairs: int
    pearson: float | None
    spearman: float | None
    chance: float | None


def correlate(dreamed: Sequence[float], real: Sequence[float]) -> Correlation:
    """Correlate returns in the dream with those of the same players, or from the same moments, in the real game."""
    if len(real) < 3 or np.ptp(dreamed) == 0 or np.ptp(real) == 0:
        return Correlation(len(real), None, None, None)
    # Of few players all pairings are tried.
    pairings = PermutationMethod(n_resamples=_PAIRINGS, rng=np.random.default_rng(0))
    pearson = pearsonr(dreamed, real, alternative="greater", method=pairings)
    spearman = spearmanr(dreamed, real)
    return Correlation(len(real), float(pearson.statistic), float(spearman.statistic), float(pearson.pvalue))
