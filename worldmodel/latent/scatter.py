"""What may come beyond what is predicted, and how dreams put it back.

A sampler of few steps draws close to the mean of what may come. Such a dream is smoother than the game: an agent that
grew up in it meets, in the game, pictures that jump by a part of a pixel here and there, and wavers. How much a draw
leaves out is measured on held-out play. It lies where things move, and its variance grows with the change itself, not
with its square: the change is that of edges, by whole pixels.
"""

import torch
from torch import Tensor


def left_out(came: Tensor, drawn: Tensor, again: Tensor, newest: Tensor) -> Tensor:
    """The variance that draws leave out, for each unit of change that they draw, float32 (1, channels, 1, 1).

    What comes differs from a draw by the variances of both, two draws by twice that of one: so the difference of these
    squares is what a draw lacks, and nothing where it lacks nothing.

    Args:
        came: (n, channels, h, w): the latents that came.
        drawn: Of the same shape: as they were drawn.
        again: As they were drawn a second time.
        newest: The latents before them.
    """
    lacking = (came - drawn).square() - (drawn - again).square()
    changed = (drawn - newest).abs().sum((0, 2, 3), keepdim=True)
    return lacking.sum((0, 2, 3), keepdim=True).clamp_min(0) / changed.clamp_min(torch.finfo(changed.dtype).tiny)


def scattered(drawn: Tensor, newest: Tensor, variance: Tensor, generator: torch.Generator | None) -> Tensor:
    """The draws, with a variance put back that is `variance` (1, channels, 1, 1) for each unit of change."""
    noise = torch.randn(drawn.shape, generator=generator, device=drawn.device)
    return drawn + (variance * (drawn - newest).abs()).sqrt() * noise
