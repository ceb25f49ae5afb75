"""What is measured of a fitted model on play that is held out from all fitting."""

from collections.abc import Callable

import numpy as np
import torch

from worldmodel.data.reader import BufferReader
from worldmodel.data.segment import Segment
from worldmodel.data.windows import Windows, WindowSampler
from worldmodel.doubt import doubt_limit
from worldmodel.latent.dreamed_steps import PAST, SEEN, dream_steps, ends_recalled
from worldmodel.latent.model import LatentWorldModel
from worldmodel.latent.scatter import left_out

Latents = Callable[[Windows], Segment]
"""Windows with the latents of their frames, on the model's device"""

_COMPARED = 1024
"""steps by which it is measured what predictions leave out"""
_DOUBTED, _DOUBT_BATCH = 8192, 512
"""steps whose doubt is measured, the newest, and how many at a time"""
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


@torch.no_grad()
def measure_doubt(model: LatentWorldModel, reader: BufferReader, latents: Latents) -> None:
    """Set the doubt that real play hardly ever exceeds."""
    held_out = WindowSampler(reader, SEEN, 1, "held_out")
    steps = np.arange(held_out.num_steps)[-_DOUBTED:]
    head, doubt = model.head, [np.zeros(0, np.float32)]
    for part in np.split(steps, range(_DOUBT_BATCH, len(steps), _DOUBT_BATCH)):
        seen = latents(held_out.at(part))
        assert seen.latents is not None
        doubt.append(head.doubt(head(seen.latents, seen.actions[:, -1])).cpu().numpy())
    episode, time = held_out.where(steps)
    head.doubt_limit.fill_(doubt_limit(np.concatenate(doubt), episode, time))


def measure_recall(model: LatentWorldModel, reader: BufferReader, latents: Latents, longest: int) -> float | None:
    """The share of ends that dreams which run free come to; None where there are too few to tell.

    Such a dream goes on from up to `longest` steps before the end, under the recorded actions, and may be a few steps
    late. What is drawn is the same every time that the play is the same.
    """
    held_out = WindowSampler(reader, model.context, longest + PAST, "held_out")
    ends = np.flatnonzero(reader.steps.terminated[held_out.places])[-_RECALLED:]
    if len(ends) < _FEWEST_ENDS:
        return None
    torch.manual_seed(0)
    before = np.minimum(np.random.default_rng(0).integers(longest, size=len(ends)), held_out.where(ends)[1])
    windows = latents(held_out.at(ends, before))
    return ends_recalled(model, dream_steps(model, windows, torch.from_numpy(before).to(windows.mask.device)))
