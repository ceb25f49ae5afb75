"""The denoiser of the next frame, preconditioned as in EDM (Karras et al., 2022, table 1)."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from worldmodel.actions import ActionEncoder
from worldmodel.pixel.blocks import FourierFeatures, Norm, UNet, conv3x3, zero_weight
from worldmodel.pixel.config import NoiseConfig, PixelConfig, UNetConfig
from worldmodel.spaces import ActionSpec


class Preconditioning(NamedTuple):
    """c_in, c_out, c_skip and c_noise of EDM (Karras et al., 2022, table 1), each (batch, 1, 1, 1).

    Attributes:
        c_in: Scales the noisy frame for the network.
        c_out: Scales the network's output, in the clean frame.
        c_skip: Scales the noisy frame, in the clean frame.
        c_noise: What the network is conditioned on of the noise.
    """

    c_in: Tensor
    c_out: Tensor
    c_skip: Tensor
    c_noise: Tensor


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

    def forward(self, noisy: Tensor, c_noise: Tensor, context: Tensor, actions: Tensor) -> Tensor:
        """Its output, (batch, 3, height, width); see `Denoiser.forward`."""
        condition = self.cond_proj(self.noise_emb(c_noise) + self.act_emb(actions).flatten(1))
        x = self.unet(self.conv_in(torch.cat([context.flatten(1, 2), noisy], dim=1)), condition)
        return self.conv_out(functional.silu(self.norm_out(x)))


class Denoiser(nn.Module):
    """Predicts the clean frame from a noisy one, the frames before it and the actions since.

    The denoiser of DIAMOND (Alonso et al., 2024), preconditioned as in EDM (Karras et al., 2022).
    """

    def __init__(self, config: PixelConfig, spec: ActionSpec) -> None:
        super().__init__()
        self.noise = config.noise
        self.quantise = config.quantise
        self.inner_model = Network(config.unet, config.context, spec)

    def forward(self, noisy: Tensor, sigma: Tensor, context: Tensor, actions: Tensor) -> Tensor:
        """The network's output, float32 (batch, 3, height, width); `clean` makes a frame of it.

        Args:
            noisy: (batch, 3, height, width), from -1 to 1 before the noise.
            sigma: (batch,), the noise's strength.
            context: (batch, context, 3, height, width), from -1 to 1, oldest first.
            actions: (batch, context, *spec.shape): `actions[:, i]` was chosen on seeing frame i of the context.
        """
        c = self.preconditioning(sigma)
        return self.inner_model(noisy * c.c_in, c.c_noise.flatten(), context / self.noise.data, actions).float()

    def preconditioning(self, sigma: Tensor) -> Preconditioning:
        """EDM's coefficients at noise of strength `sigma` (batch,), to which the channels' common noise is added."""
        noise = self.noise
        sigma = (sigma**2 + noise.offset**2).sqrt().view(-1, 1, 1, 1)
        c_skip = noise.data**2 / (sigma**2 + noise.data**2)
        c_in = 1 / (sigma**2 + noise.data**2).sqrt()
        return Preconditioning(c_in, c_out=sigma * c_skip.sqrt(), c_skip=c_skip, c_noise=sigma.log() / 4)

    def clean(self, noisy: Tensor, output: Tensor, sigma: Tensor) -> Tensor:
        """The frame that the network's output stands for, on the 256 levels that frames have."""
        c = self.preconditioning(sigma)
        return self.to_levels(c.c_skip * noisy + c.c_out * output)

    def to_levels(self, frames: Tensor) -> Tensor:
        """The nearest frames that there are, or with floor the nearest darker ones; from -1 to 1."""
        levels = (frames.clamp(-1, 1) + 1) / 2 * 255
        return (levels.floor() if self.quantise == "floor" else levels.round()) / 255 * 2 - 1


def draw_sigma(noise: NoiseConfig, batch: int, device: torch.device) -> Tensor:
    """Strengths of noise to train at, (batch,), log-normal (Karras et al., 2022)."""
    return (noise.mean + noise.std * torch.randn(batch, device=device)).exp().clamp(noise.min, noise.max)
