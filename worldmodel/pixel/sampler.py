"""Drawing a frame: Euler's steps down the noise."""

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor

from worldmodel.pixel.config import EulerConfig


def sigmas(config: EulerConfig) -> Tensor:
    """The strengths of the noise, float32 (steps + 1,), strongest first; 0 at the end (Karras et al., 2022, eq. 5)."""
    first, last = config.max ** (1 / config.rho), config.min ** (1 / config.rho)
    between = (first + torch.linspace(0, 1, config.steps) * (last - first)) ** config.rho
    return torch.cat([between, torch.zeros(1)])


def sample(denoise: Callable[[Tensor, Tensor], Tensor], noise: Tensor, strengths: Tensor) -> Tensor:
    """The frames at the end of the probability flow (Karras et al., 2022, algorithm 1, without Heun's correction).

    It begins at `noise` itself, of unit variance, though the network is told of the strongest noise: that is how
    DIAMOND samples, and long dreams stay stable by it.

    Args:
        denoise: Clean frames of (noisy frames (batch, ...), strengths (batch,)).
        noise: Standard normal, (batch, 3, height, width).
        strengths: From `sigmas`, on the noise's device.
    """
    noisy = noise
    for strength, weaker in pairwise(strengths):
        clean = denoise(noisy, strength.expand(len(noise)))
        noisy = noisy + (noisy - clean) / strength * (weaker - strength)
    # Where the last step leads, but for rounding, which would take it off the levels that frames have.
    return clean
