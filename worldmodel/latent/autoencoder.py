"""Frames to latents and back."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import torch
from diffusers import AutoencoderKL, AutoencoderTiny
from torch import Tensor, nn
from torch.nn.functional import pixel_shuffle, pixel_unshuffle

from worldmodel.autotune import computes_bf16
from worldmodel.latent.config import AutoencoderConfig
from worldmodel.latent.fingerprint import fingerprint

Vae: TypeAlias = AutoencoderTiny | AutoencoderKL

_BATCH = {"cpu": 2**22, "cuda": 2**27}
"""Numbers in the widest activation of a batch: what a CPU's caches hold, and half a gigabyte of a GPU's memory."""
_REACH = 3.0
"""diffusers' `AutoencoderTiny` decodes 3 tanh(latent / 3)"""
_COLOURS = 3


def build_vae(config: AutoencoderConfig) -> AutoencoderTiny:
    """A small autoencoder of our own, to be trained from scratch."""
    depth, colours = len(config.channels), _COLOURS * config.patch_size**2
    return AutoencoderTiny(
        in_channels=colours,
        out_channels=colours,
        encoder_block_out_channels=config.channels,
        decoder_block_out_channels=config.channels,
        num_encoder_blocks=(1,) * depth,
        num_decoder_blocks=(1,) * depth,
        latent_channels=config.latent_channels,
    )


class Autoencoder(nn.Module):
    """diffusers' `AutoencoderTiny` or `AutoencoderKL` between uint8 frames and latents of unit variance.

    Networks that take more than three channels are given squares of pixels as one (Shi et al., 2016, "Real-time single
    image and video super-resolution", whose pixel shuffle gives them back).

    Attributes:
        mean, std: float32, (1, channels, 1, 1): statistics of the raw latents, set by `standardise`.
        change: float32, (1, channels, 1, 1): spread of the change between two frames' latents.
        channels: Of a latent.
        scale: Pixels on a side of a latent's cell.
        patch_size: Pixels on a side of what the networks take as one.
        reach: How far raw latents may lie from zero at no cost, when it is trained.
    """

    mean: Tensor
    std: Tensor
    change: Tensor

    def __init__(self, vae: Vae, bf16: bool = False) -> None:
        """Wrap `vae`.

        Args:
            vae: The networks.
            bf16: Encode in bfloat16 where the machine is built for it.
        """
        super().__init__()
        self._bf16 = bf16
        # As the frames come, and several times faster in bfloat16 on a CPU that computes it.
        self.vae = vae.to(memory_format=torch.channels_last)
        self.channels: int = vae.config.latent_channels
        self.scale = scale_of(vae.config)
        self.patch_size = patch_size_of(vae.config)
        self._width = _widths(vae.config)[0]
        self.reach = _REACH
        self._factor = vae.config.scaling_factor
        self._offset = vae.config.get("shift_factor") or 0.0
        for name in ("mean", "std", "change"):
            self.register_buffer(name, torch.full((1, self.channels, 1, 1), float(name != "mean")))

    def encode(self, frames: Tensor) -> Tensor:
        """Latents, float32 (n, channels, h, w), of uint8 frames (n, height, width, 3)."""
        return self.standard(self.raw(frames))

    def decode(self, latents: Tensor) -> Tensor:
        """Frames, uint8 (n, height, width, 3), of latents; rounded, never floored."""
        pixels = latents.shape[-2:].numel() * self.scale**2
        parts = self.unstandard(latents).split(self._batch(pixels, latents.device))
        return torch.cat([to_bytes(self._decoded(part)) for part in parts])

    @torch.no_grad()
    def raw(self, frames: Tensor) -> Tensor:
        """Latents before standardising, in the scale that a base's U-Net knows; a posterior's mean, never a draw."""
        parts = frames.split(self._batch(frames.shape[-3:-1].numel(), frames.device))
        with torch.autocast(frames.device.type, torch.bfloat16, enabled=self._bf16 and computes_bf16(frames.device)):
            return torch.cat([self._encoded(to_unit(part)).float() for part in parts])

    def standard(self, raw: Tensor) -> Tensor:
        """Raw latents with mean 0 and variance 1."""
        return (raw - self.mean) / self.std

    def unstandard(self, latents: Tensor) -> Tensor:
        """The inverse of `standard`."""
        return latents * self.std + self.mean

    def reconstruction_loss(self, frames: Tensor, weight: Tensor) -> Tensor:
        """Weighted squared and absolute error through latents shaken by a tenth of their spread.

        The shaking keeps the latents smooth, so that a small error in a dreamed latent stays small in its picture. But
        a decoder that squashes its latents is best shielded from it by latents that are signs alone: left to
        themselves they run away within two hundred updates, to 1e12 and pictures of nothing (Breakout). So what
        lies beyond `reach` costs the square of its excess.

        Args:
            frames: uint8, (n, height, width, 3).
            weight: float32, broadcastable to (n, 3, height, width), of mean about 1.
        """
        images = to_unit(frames)
        latents = self._encoded(images)
        shaken = latents + 0.1 * latents.detach().std() * torch.randn_like(latents)
        error = self._decoded(shaken) - images
        excess = (latents.float().abs() - self.reach).relu()
        return (weight * (error.square() + 0.1 * error.abs())).mean() + excess.square().mean()

    def let_reach(self, frames: Tensor) -> None:
        """Let latents reach, from here on, as far as those of `frames` do: a base's may, which was trained so."""
        self.reach = max(self.raw(frames).abs().max().item(), _REACH)

    @torch.no_grad()
    def standardise(self, raw: Tensor, following: Tensor) -> None:
        """Take the statistics from raw latents (n, channels, h, w) and those of the frames that follow them."""
        self.mean.copy_(raw.mean((0, 2, 3), keepdim=True))
        self.std.copy_(raw.std((0, 2, 3), keepdim=True).clamp_min(1e-4))
        self.measure_change(raw, following)

    @torch.no_grad()
    def measure_change(self, raw: Tensor, following: Tensor) -> None:
        """Take the spread of the change alone, for a game whose latents were standardised on others."""
        self.change.copy_(((following - raw) / self.std).square().mean((0, 2, 3), keepdim=True).sqrt().clamp_min(1e-3))

    def fingerprint(self) -> str:
        """A hash of all that decides what a frame's latents are."""
        encoder = {name: tensor for name, tensor in self.vae.state_dict().items() if name.startswith(_ENCODER)}
        return fingerprint({**encoder, "mean": self.mean, "std": self.std})

    def _encoded(self, images: Tensor) -> Tensor:
        told = self.vae.encode(self._cast(pixel_unshuffle(images, self.patch_size)))
        latents = told.latents if isinstance(self.vae, AutoencoderTiny) else told.latent_dist.mode()
        return (latents - self._offset) * self._factor

    def _decoded(self, raw: Tensor) -> Tensor:
        shown = self.vae.decode(self._cast(raw / self._factor + self._offset)).sample.float()
        return pixel_shuffle(shown, self.patch_size)

    def _cast(self, tensor: Tensor) -> Tensor:
        # Where the weights are in float32, autocast may be on: leave the choice to it.
        return tensor if self.vae.dtype == torch.float32 else tensor.to(self.vae.dtype)

    def _batch(self, pixels: int, device: torch.device) -> int:
        """How many frames of so many pixels to take at a time."""
        return max(_BATCH[device.type] * self.patch_size**2 // (pixels * self._width), 1)


_ENCODER = ("encoder.", "quant_conv.")


def scale_of(settings: Mapping[str, Any]) -> int:
    """Pixels on a side of a latent's cell, by an autoencoder's config."""
    return patch_size_of(settings) * 2 ** (len(_widths(settings)) - 1)


def patch_size_of(settings: Mapping[str, Any]) -> int:
    """Pixels on a side of the squares that an autoencoder takes as one, by its config; 0 if they can't be squares."""
    patch_size = math.isqrt(settings["in_channels"] // _COLOURS)
    return patch_size if settings["in_channels"] == _COLOURS * patch_size**2 else 0


def _widths(settings: Mapping[str, Any]) -> Sequence[int]:
    """Of `AutoencoderTiny` or of `AutoencoderKL`."""
    return settings.get("encoder_block_out_channels") or settings["block_out_channels"]


def to_unit(frames: Tensor) -> Tensor:
    """uint8 (n, height, width, 3) to float32 (n, 3, height, width) in [-1, 1], channels-last in memory."""
    return frames.permute(0, 3, 1, 2).float() / 127.5 - 1


def to_bytes(images: Tensor) -> Tensor:
    """Float (n, 3, height, width) in [-1, 1] to uint8 (n, height, width, 3), by rounding."""
    levels = ((images.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return levels.permute(0, 2, 3, 1).contiguous()
