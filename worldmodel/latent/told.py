"""What a denoiser is told of a frame to come, and what it is told when it has to do without."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

Predict = Callable[..., Tensor]


class Told(NamedTuple):
    """What the denoiser is told beside the noisy latent.

    Attributes:
        context: float32, (batch, context, channels, h, w): changes between latents, then the newest latent.
        actions: (batch, context, *action_spec.shape).
        level: int64, (batch,), the context's noise level.
    """

    context: Tensor
    actions: Tensor
    level: Tensor

    def null(self, unknown: Tensor, top: int) -> "Told":
        """The same with nothing told: a context of zeros, no action known, the level of the strongest noise `top`."""
        return Told(torch.zeros_like(self.context), unknown.expand_as(self.actions), torch.full_like(self.level, top))

    def where(self, kept: Tensor, other: "Told") -> "Told":
        """This where `kept` (bool, (batch,)), elsewhere the other."""
        context = torch.where(kept.view(-1, 1, 1, 1, 1), self.context, other.context)
        actions = self.actions.where(kept.view(-1, *[1] * (self.actions.ndim - 1)), other.actions)
        return Told(context, actions, self.level.where(kept, other.level))


def guided(denoise: Predict, told: Told, null: Told, guidance: float) -> Callable[[Tensor, Tensor], Tensor]:
    """Predictions led away from those without a context: both in one forward pass, of twice the batch.

    Ho and Salimans (2022), "Classifier-Free Diffusion Guidance": null + guidance * (told - null).
    """
    both = [torch.cat(pair) for pair in zip(told, null, strict=True)]

    def predict(noisy: Tensor, timesteps: Tensor) -> Tensor:
        with_context, without = denoise(noisy.repeat(2, 1, 1, 1), timesteps.repeat(2), *both).chunk(2)
        return without + guidance * (with_context - without)

    return predict
