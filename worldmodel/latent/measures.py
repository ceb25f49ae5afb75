"""What is measured of a fitted model on play that is held out from all fitting."""

from collections.abc import Callable

import numpy as np
import torch

from worldmodel.data.reader import BufferReader
from worldmodel.data.segment import Segment
from worldmodel.data.windows import Windows, WindowSampler
from worldmodel.latent.dreamed_steps import PAST, dream_steps, ends_recalled
from worldmodel.latent.model import LatentWorldModel
from worldmodel.latent.scatter import left_out

Latents = Callable[[Windows], Segment]
"""Windows with the latents of their frames, on the model's device"""

_COMPARED = 1024
"""steps by which it is measured what predictions leave out"""
_FEWEST_ENDS, _RECALLED = 10, 256
"""ends that it takes to tell how well ends are dreamed, and the most that are looked at, the newest"""


def measure_left_out(model: LatentWorldModel, reader: BufferReader, latents: Latents) -> None:
    """Set the variance that predictions leave out; without held-out play it stays as it is."""
    held_out, context = WindowSampler(reader, model.context, 1, "held_out"), model.context
    if not held_out.num_steps:
        return
    windows = latents(held_out.sample(_COMPARED, np.random.default_rng(0)))
    windows = windows[windows.mask.all(1).nonzero().squeeze(-1)]
    if not len(windows.mask):
        return
    assert windows.latents is not None
    seen, history = windows.latents[:, :context], model.known(windows.actions, windows.mask)
    generator = torch.Generator(seen.device).manual_seed(0)
    drawn, again = (model.draw(seen, history, generator) for _ in range(2))
    model.left_out.copy_(left_out(windows.latents[:, context], drawn, again, seen[:, -1]))


def measure_recall(model: LatentWorldModel, reader: BufferReader, latents: Latents, longest: int) -> float | None:
    """The share of ends that dreams which run free come to; None where there are too few to tell.

    Such a dream goes on from up to `longest` steps before the end, under the recorded actions, and may be a few steps
    late. What is drawn is the same every time that the play is the same.
    """
    held_out = WindowSampler(reader, model.context, longest + PAST, "held_out")
    ends = np.flatnonzero(reader.steps.terminated[held_out.places])[-_RECALLED:]
    if len(ends) < _FEWEST_ENDS:
        return None
    before = np.minimum(np.random.default_rng(0).integers(longest, size=len(ends)), held_out.where(ends)[1])
    windows = latents(held_out.at(ends, before))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        dreamed = dream_steps(model, windows, torch.from_numpy(before).to(windows.mask.device))
    return ends_recalled(model, dreamed)
