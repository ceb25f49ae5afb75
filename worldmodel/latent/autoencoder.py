"""Frames to latents and back."""

import hashlib

import torch
from diffusers import AutoencoderTiny
from torch import Tensor, nn

from worldmodel.latent.config import AutoencoderConfig


class Autoencoder(nn.Module):
    """diffusers' `AutoencoderTiny` between uint8 frames and latents of unit variance.

    Attributes:
        mean, std: float32, (1, channels, 1, 1): statistics of the raw latents, set by `standardise`.
        change: float32, (1, channels, 1, 1): spread of the change between two frames' latents.
    """

    mean: Tensor
    std: Tensor
    change: Tensor

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        depth, channels = len(config.channels), config.latent_channels
        self.vae = AutoencoderTiny(
            encoder_block_out_channels=config.channels,
            decoder_block_out_channels=config.channels,
            num_encoder_blocks=(1,) * depth,
            num_decoder_blocks=(1,) * depth,
            latent_channels=channels,
        )
        # As the frames come, and several times faster in bfloat16 on a CPU.
        self.vae.to(memory_format=torch.channels_last)
        self.scale = 2 ** (depth - 1)
        for name in ("mean", "std", "change"):
            self.register_buffer(name, torch.full((1, channels, 1, 1), float(name != "mean")))

    def encode(self, frames: Tensor) -> Tensor:
        """Latents, float32 (n, channels, h, w), of uint8 frames (n, height, width, 3)."""
        return (self.raw(frames) - self.mean) / self.std

    @torch.no_grad()
    def raw(self, frames: Tensor) -> Tensor:
        """Latents before standardising."""
        return self.vae.encode(to_unit(frames)).latents.float()

    def decode(self, latents: Tensor) -> Tensor:
        """Frames, uint8 (n, height, width, 3), of latents; rounded, never floored."""
        return to_bytes(self.vae.decode(latents * self.std + self.mean).sample)

    def reconstruction_loss(self, frames: Tensor, weight: Tensor) -> Tensor:
        """Weighted squared and absolute error through latents shaken by a tenth of their spread.

        The shaking keeps the latents smooth, so that a small error in a dreamed latent stays small in its picture.

        Args:
            frames: uint8, (n, height, width, 3).
            weight: float32, broadcastable to (n, 3, height, width), of mean about 1.
        """
        images = to_unit(frames)
        latents = self.vae.encode(images).latents
        shaken = latents + 0.1 * latents.detach().std() * torch.randn_like(latents)
        error = self.vae.decode(shaken).sample.float() - images
        return (weight * (error.square() + 0.1 * error.abs())).mean()

    @torch.no_grad()
    def standardise(self, raw: Tensor, following: Tensor) -> None:
        """Take the statistics from raw latents (n, channels, h, w) and those of the frames that follow them."""
        self.mean.copy_(raw.mean((0, 2, 3), keepdim=True))
        self.std.copy_(raw.std((0, 2, 3), keepdim=True).clamp_min(1e-4))
        self.change.copy_(((following - raw) / self.std).square().mean((0, 2, 3), keepdim=True).sqrt().clamp_min(1e-3))

    def fingerprint(self) -> str:
        """A hash of all that decides what a frame's latents are."""
        digest = hashlib.sha256()
        decided_by = {**self.vae.encoder.state_dict(), "mean": self.mean, "std": self.std}
        for name, tensor in sorted(decided_by.items()):
            digest.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()[:16]


def to_unit(frames: Tensor) -> Tensor:
    """uint8 (n, height, width, 3) to float32 (n, 3, height, width) in [-1, 1], channels-last in memory."""
    return frames.permute(0, 3, 1, 2).float() / 127.5 - 1


def to_bytes(images: Tensor) -> Tensor:
    """Float (n, 3, height, width) in [-1, 1] to uint8 (n, height, width, 3), by rounding."""
    levels = ((images.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return levels.permute(0, 2, 3, 1).contiguous()
