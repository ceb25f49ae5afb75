"""The denoiser of the next frame, preconditioned as in EDM (Karras et al., 2022, table 1)."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from worldmodel.actions import ActionEncoder
from worldmodel.pixel.blocks import FourierFeatures, Norm, UNet, conv3x3, zero_weight
from worldmodel.pixel.config import NoiseConfig, PixelConfig, UNetConfig
from worldmodel.spaces import ActionSpec


class Scales(NamedTuple):
    """What stands before the network and after it, each (batch, 1, 1, 1), by strength of the noise.

    Attributes:
        enter: Of the noisy frame as the network sees it.
        leave: Of what the network says, in the clean frame.
        skip: Of the noisy frame, in the clean frame.
        told: What the network is told of the noise.
    """

    enter: Tensor
    leave: Tensor
    skip: Tensor
    told: Tensor


class Network(nn.Module):
    """The U-Net, with the context beside the noisy frame; parts are named as in published files."""

    def __init__(self, config: UNetConfig, context: int, spec: ActionSpec) -> None:
        super().__init__()
        width = config.channels[0]
        self.noise_emb = FourierFeatures(config.condition)
        self.act_emb = ActionEncoder(spec, config.condition // context)
        self.cond_proj = nn.Sequential(
            nn.Linear(config.condition, config.condition), nn.SiLU(), nn.Linear(config.condition, config.condition)
        )
        self.conv_in = conv3x3(3 * (context + 1), width)
        self.unet = UNet(config.channels, config.layers, config.condition)
        self.norm_out = Norm(width)
        self.conv_out = zero_weight(conv3x3(width, 3))

    def forward(self, noisy: Tensor, told: Tensor, context: Tensor, actions: Tensor) -> Tensor:
        """What the network says, (batch, 3, height, width); see `Denoiser.forward`."""
        condition = self.cond_proj(self.noise_emb(told) + self.act_emb(actions).flatten(1))
        x = self.unet(self.conv_in(torch.cat([context.flatten(1, 2), noisy], dim=1)), condition)
        return self.conv_out(functional.silu(self.norm_out(x)))


class Denoiser(nn.Module):
    """Tells the clean frame from a noisy one, the frames before it and the actions since."""

    def __init__(self, config: PixelConfig, spec: ActionSpec) -> None:
        super().__init__()
        self.noise = config.noise
        self.quantise = config.quantise
        self.inner_model = Network(config.unet, config.context, spec)

    def forward(self, noisy: Tensor, sigma: Tensor, context: Tensor, actions: Tensor) -> Tensor:
        """What the network says, float32 (batch, 3, height, width); `clean` makes a frame of it.

        Args:
            noisy: (batch, 3, height, width), from -1 to 1 before the noise.
            sigma: (batch,), the noise's strength.
            context: (batch, context, 3, height, width), from -1 to 1, oldest first.
            actions: (batch, context, *spec.shape): `actions[:, i]` was chosen on seeing frame i of the context.
        """
        scales = self.scales(sigma)
        told = scales.told.flatten()
        return self.inner_model(noisy * scales.enter, told, context / self.noise.data, actions).float()

    def scales(self, sigma: Tensor) -> Scales:
        """The scales at noise of strength `sigma` (batch,), to which the channels' common noise is added."""
        noise = self.noise
        sigma = (sigma**2 + noise.offset**2).sqrt().view(-1, 1, 1, 1)
        skip = noise.data**2 / (sigma**2 + noise.data**2)
        return Scales(1 / (sigma**2 + noise.data**2).sqrt(), sigma * skip.sqrt(), skip, sigma.log() / 4)

    def clean(self, noisy: Tensor, said: Tensor, sigma: Tensor) -> Tensor:
        """The frame that the network's word stands for, on the 256 levels that frames have."""
        scales = self.scales(sigma)
        return self.to_levels(scales.skip * noisy + scales.leave * said)

    def to_levels(self, frames: Tensor) -> Tensor:
        """The nearest frames that there are, or with floor the nearest darker ones; from -1 to 1."""
        levels = (frames.clamp(-1, 1) + 1) / 2 * 255
        return (levels.floor() if self.quantise == "floor" else levels.round()) / 255 * 2 - 1


def draw_sigma(noise: NoiseConfig, batch: int, device: torch.device) -> Tensor:
    """Strengths of noise to train at, (batch,), log-normal (Karras et al., 2022)."""
    return (noise.mean + noise.std * torch.randn(batch, device=device)).exp().clamp(noise.min, noise.max)
