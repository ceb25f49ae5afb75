"""Beyond which doubt a dream is not believed any more, measured on real play that nobody learned from."""

import math
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from worldmodel.data.reader import BufferReader
from worldmodel.data.windows import Windows, WindowSampler
from worldmodel.familiarity import Familiarity

FALSE_ALARMS = 0.03
"""share of real stretches of play in which some step would be doubted"""
MOST_FALSE_ALARMS = 0.05
"""the same share where there is too little play to keep it lower"""
STRETCH = 64
"""steps of a stretch, as many as the presets' dreams have at most"""
_FAMILIAR = 4096
"""steps that teach what is familiar"""
_DOUBTED, _BATCH = 8192, 512
"""steps whose doubt is measured, the newest, and of how many pictures are made at a time"""


@torch.no_grad()
def measure_familiarity(familiarity: Familiarity, reader: BufferReader, pairs: Callable[[Windows], Tensor]) -> None:
    """Learn what is familiar from the play that is trained on, and how far from it play strays that is held out.

    Args:
        familiarity: What learns; as it was, where there is too little play.
        reader: The play.
        pairs: The two pictures of each step, as `familiarity` takes them.
    """
    train, held_out = (WindowSampler(reader, 1, 1, split) for split in ("train", "held_out"))
    if train.num_steps < familiarity.least_pairs or not held_out.num_steps:
        return

    def look(sampler: WindowSampler, steps: NDArray[np.int64]) -> Tensor:
        parts = np.split(steps, range(_BATCH, len(steps), _BATCH))
        return torch.cat([pairs(sampler.at(part)) for part in parts])

    familiarity.learn(look(train, np.random.default_rng(0).integers(train.num_steps, size=_FAMILIAR)))
    steps = np.arange(held_out.num_steps)[-_DOUBTED:]
    doubt = familiarity(look(held_out, steps)).cpu().numpy()
    familiarity.limit.fill_(doubt_limit(doubt, *held_out.where(steps)))


def doubt_limit(doubt: NDArray[np.float32], episode: NDArray[np.int64], time: NDArray[np.int64]) -> float:
    """The limit that a stretch of real play stays below, but for a share of `FALSE_ALARMS`.

    A split conformal bound (Vovk et al., 2005) on the largest doubt of a stretch: new play like the old stays below it
    with that probability, whatever the doubt's distribution. Of few stretches the largest doubt is the bound, as long
    as its share is at most `MOST_FALSE_ALARMS`; fewer give none: it is infinite then.

    Args:
        doubt: (steps,), of real steps.
        episode: (steps,), which episode each belongs to.
        time: (steps,), how far into its episode it lies.
    """
    largest = np.sort(largest_by_stretch(doubt, episode, time))
    if MOST_FALSE_ALARMS * (len(largest) + 1) < 1:
        return math.inf
    rank = math.ceil((len(largest) + 1) * (1 - FALSE_ALARMS))
    return float(largest[min(rank, len(largest)) - 1])


def stretches(episode: NDArray[np.int64], time: NDArray[np.int64]) -> NDArray[np.int64]:
    """Which stretch each step belongs to, numbered from 0: `STRETCH` steps of one episode, or what is left of it."""
    _, stretch = np.unique(np.stack([episode, time // STRETCH]), axis=1, return_inverse=True)
    return stretch.ravel()


def largest_by_stretch(
    doubt: NDArray[np.float32], episode: NDArray[np.int64], time: NDArray[np.int64]
) -> NDArray[np.float32]:
    """The largest doubt of every stretch, (stretches,)."""
    stretch = stretches(episode, time)
    largest = np.full(stretch.max(initial=-1) + 1, -np.inf, np.float32)
    np.maximum.at(largest, stretch, doubt)
    return largest
