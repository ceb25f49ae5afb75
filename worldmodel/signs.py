"""Rewards of which the sign alone is told."""

import torch
from torch import Tensor


def draw_signs(probabilities: Tensor, generator: torch.Generator | None) -> Tensor:
    """-1, 0 or 1 for each row, float32 (batch,).

    The draws of `torch.multinomial` with its checks left out: a GPU would be waited for twice, to see that all of its
    probabilities are in order.

    Args:
        probabilities: Of the three, (batch, 3).
        generator: Draws them.
    """
    waits = torch.empty_like(probabilities).exponential_(generator=generator)
    return (probabilities / waits).argmax(-1).float() - 1
