"""Beyond which doubt a dream is not believed any more, measured on real play that nobody learned from."""

import math

import numpy as np
import torch
from numpy.typing import NDArray

FALSE_ALARMS = 0.03
"""share of real stretches of play in which some step would be doubted"""
STRETCH = 48
"""steps of a stretch, as many as a dream has by default"""


def doubt_limit(doubt: NDArray[np.float32], episode: NDArray[np.int64], time: NDArray[np.int64]) -> float:
    """The limit that a stretch of real play stays below, but for a share of `FALSE_ALARMS`.

    A split conformal bound (Vovk et al., 2005) on the largest doubt of a stretch: new play like the old stays below it
    with that probability, whatever the doubt's distribution. Too few stretches give no bound: it is infinite then.

    Args:
        doubt: (steps,), of real steps.
        episode: (steps,), which episode each belongs to.
        time: (steps,), how far into its episode it lies.
    """
    if not len(doubt):
        return torch.inf
    _, stretch = np.unique(np.stack([episode, time // STRETCH]), axis=1, return_inverse=True)
    largest = np.full(stretch.max() + 1, -np.inf)
    np.maximum.at(largest, stretch.ravel(), doubt)
    rank = math.ceil((len(largest) + 1) * (1 - FALSE_ALARMS))
    return float(np.sort(largest)[rank - 1]) if rank <= len(largest) else torch.inf
