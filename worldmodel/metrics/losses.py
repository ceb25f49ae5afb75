"""The training losses on held-out play: where they rise while those of training fall, a model learns by heart."""

from collections import Counter

import numpy as np
import torch

from worldmodel.base import WorldModel
from worldmodel.data.reader import BufferReader
from worldmodel.data.windows import WindowSampler, segment

_WINDOWS, _BATCH = 256, 64


@torch.no_grad()
def held_out_losses(model: WorldModel, reader: BufferReader, seed: int) -> dict[str, float]:
    """`WorldModel.losses` of windows of held-out play, means by name; nothing where none is held out.

    Windows and noise are the same every time that the play is the same, and the model is left as it is.
    """
    sampler, device = WindowSampler(reader, model.context, 1, "held_out"), next(model.parameters()).device
    if not sampler.num_steps:
        return {}
    rng, sums = np.random.default_rng(seed), Counter[str]()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for _ in range(_WINDOWS // _BATCH):
            play = segment(reader, sampler.sample(_BATCH, rng)).to(device)
            sums.update({name: loss.item() for name, loss in model.losses(play).items()})
    return {name: total / (_WINDOWS // _BATCH) for name, total in sums.items()}
