"""Windows seen from elsewhere: the same motion at another place in the picture."""

import torch
from torch import Tensor


def shift(latents: Tensor, share: float, beside: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Shift a share of the windows by whole latent cells, all frames of a window alike, the border repeated.

    An encoder of strided convolutions moves its latents with the picture by whole cells, so this stands for shifting
    the frames (random shifts: Yarats et al., 2021, "DrQ") at no cost.

    Args:
        latents: (batch, time, channels, h, w).
        share: Share of the windows that are shifted, each by up to half the picture in both directions.
        beside: The same windows shifted by a part of a cell, taken for those that are shifted at all.

    Returns:
        The latents, and which windows were moved, bool, (batch,).
    """
    batch, _, _, height, width = latents.shape
    device = latents.device
    moved = torch.rand(batch, device=device) < share
    if beside is not None:
        latents = torch.where(moved.view(-1, 1, 1, 1, 1), beside, latents)
    rows = _indices(height, moved)
    columns = _indices(width, moved)
    windows = torch.arange(batch, device=device)[:, None, None]
    shifted = latents.permute(0, 3, 4, 1, 2)[windows, rows[:, :, None], columns[:, None, :]]
    return shifted.permute(0, 3, 4, 1, 2), moved


def _indices(size: int, moved: Tensor) -> Tensor:
    reach = size // 2
    by = torch.randint(-reach, reach + 1, (len(moved), 1), device=moved.device) * moved[:, None]
    return (torch.arange(size, device=moved.device) + by).clamp(0, size - 1)
