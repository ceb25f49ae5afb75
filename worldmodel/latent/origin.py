"""Whether the networks of a base are still what they were."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn

from worldmodel.latent.adapter import base_weights
from worldmodel.latent.autoencoder import Vae
from worldmodel.latent.denoiser import without_context
from worldmodel.latent.fingerprint import fingerprint
from worldmodel.weights import without_prefix


@dataclass(frozen=True)
class Marks:
    """The names of a base's two networks, made of their weights; those of a "fp16" variant are the same."""

    unet: str
    vae: str

    @classmethod
    def of(cls, unet: Mapping[str, Tensor], vae: Vae) -> Self:
        """The names of a U-Net, by its weights, and of an autoencoder."""
        return cls(fingerprint(unet, torch.float16), fingerprint(vae.state_dict(), torch.float16))


@dataclass
class Origin:
    """Where a world model's networks come from.

    Attributes:
        marks: Their names as they were read.
        kept: Their names as they are kept, rounded perhaps, while nobody trains them.
        widened: Whether the base's U-Net knew no context, so that what takes it here is no part of the base.
    """

    marks: Marks
    kept: Marks
    widened: bool = True

    def own(self, denoiser: nn.Module, vae: Vae) -> tuple[str, ...]:
        """Those of "unet" and "vae" that are no more what they were."""
        found = self._found(denoiser, vae)
        return tuple(part for part in ("unet", "vae") if getattr(found, part) != getattr(self.kept, part))

    def rounded(self, own: tuple[str, ...], denoiser: nn.Module, vae: Vae) -> None:
        """Know again those not in `own` after a change of their dtype."""
        found = self._found(denoiser, vae)
        self.kept = Marks(**{p: getattr(self.kept if p in own else found, p) for p in ("unet", "vae")})

    def _found(self, denoiser: nn.Module, vae: Vae) -> Marks:
        unet = without_prefix(base_weights(denoiser), "unet.")
        return Marks.of(without_context(unet) if self.widened else unet, vae)
