"""What a denoiser is conditioned on, and classifier-free guidance by it."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from worldmodel.base import choose

Predict = Callable[..., Tensor]


class Conditioning(NamedTuple):
    """What the denoiser is given beside the noisy latent and its timestep.

    Attributes:
        context: float32, (batch, context, channels, h, w): changes between latents, then the newest latent.
        actions: (batch, context, *action_spec.shape).
        level: int64, (batch,), the context's noise level.
    """

    context: Tensor
    actions: Tensor
    level: Tensor

    def null(self, unknown: Tensor, top: int) -> "Conditioning":
        """None at all: a context of zeros, no action known, the level of the strongest noise `top`."""
        return Conditioning(
            torch.zeros_like(self.context), unknown.expand_as(self.actions), torch.full_like(self.level, top)
        )

    def where(self, kept: Tensor, other: "Conditioning") -> "Conditioning":
        """This where `kept` (bool, (batch,)), elsewhere the other."""
        return Conditioning(*(choose(kept, mine, theirs) for mine, theirs in zip(self, other, strict=True)))


def classifier_free_guidance(
    denoise: Predict, conditioning: Conditioning, null: Conditioning, scale: float
) -> Callable[[Tensor, Tensor], Tensor]:
    """Predictions led away from those without a context: both in one forward pass, of twice the batch.

    Ho and Salimans (2022), "Classifier-Free Diffusion Guidance": null + scale * (conditional - null).
    """
    both = [torch.cat(pair) for pair in zip(conditioning, null, strict=True)]

    def predict(noisy: Tensor, timesteps: Tensor) -> Tensor:
        conditional, unconditional = denoise(noisy.repeat(2, 1, 1, 1), timesteps.repeat(2), *both).chunk(2)
        return unconditional + scale * (conditional - unconditional)

    return predict
