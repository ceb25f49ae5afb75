"""Fréchet distances between what was dreamed and what was real, in a network's features (Heusel et al., 2017)."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from worldmodel.errors import UserError
from worldmodel.metrics.extractors import Extractor
from worldmodel.metrics.pictures import as_unit
from worldmodel.metrics.replay import Replay

_BATCH = 32


@dataclass(frozen=True)
class FrechetScores:
    """Distances to the real frames, or clips, of a free-running replay; 0 at best.

    Attributes:
        metric: The metric's name: extractor, samples, frames in each, and resolution.
        dream: Of what was dreamed.
        copy_last: Of the start's newest frame, forever.
        ceiling: Of the real frames through the autoencoder.
    """

    metric: str
    dream: float
    copy_last: float
    ceiling: float


def fid(seen: Replay, extractor: Extractor) -> FrechetScores:
    """Over single frames (FID), all that were dreamed."""
    there = seen.mask[:, 1:]
    height, width = seen.real.shape[2:4]
    name = f"FID ({extractor.name}, {int(there.sum())} frames, {height}x{width})"
    still = seen.real[:, :1].expand_as(seen.real)
    return _scores(name, extractor, *(p[:, 1:][there] for p in (seen.real, seen.dream, still, seen.ceiling)))


def fvd(seen: Replay, extractor: Extractor, length: int = 16) -> FrechetScores:
    """Over clips of `length` frames (FVD, Unterthiner et al., 2018), cut end to end from what was dreamed.

    Raises:
        UserError: If there are fewer than two clips.
    """
    still = seen.real[:, :1].expand_as(seen.real)
    real, *predicted = (_clips(p, seen.mask, length) for p in (seen.real, seen.dream, still, seen.ceiling))
    if len(real) < 2:
        raise UserError(f"held-out play has fewer than two clips of {length} frames: ask for shorter clips.")
    height, width = seen.real.shape[2:4]
    name = f"FVD ({extractor.name}, {len(real)} clips of {length} frames, {height}x{width})"
    return _scores(name, extractor, real, *predicted)


def frechet_distance(extractor: Extractor, real: Tensor, other: Tensor) -> float:
    """Between the features of two sets, uint8: frames (n, h, w, 3) or clips (n, time, h, w, 3)."""
    from torchmetrics.image.fid import FrechetInceptionDistance

    features = _Features(extractor.network, real)
    metric = FrechetInceptionDistance(features, normalize=True).to(real.device)
    for frames, is_real in ((real, True), (other, False)):
        for part in frames.split(_BATCH):
            metric.update(part, real=is_real)
    return float(metric.compute().clamp_min(0))


class _Features(nn.Module):
    """An extractor's network on uint8 frames or clips."""

    def __init__(self, network: nn.Module, frames: Tensor) -> None:
        super().__init__()
        self.network = network
        self.num_features = self(frames[:2]).shape[1]

    @torch.no_grad()
    def forward(self, frames: Tensor) -> Tensor:
        unit = as_unit(frames)
        return self.network(unit if unit.ndim == 4 else unit.transpose(1, 2)).float()


def _scores(
    name: str, extractor: Extractor, real: Tensor, dream: Tensor, copied: Tensor, ceiling: Tensor
) -> FrechetScores:
    return FrechetScores(name, *(frechet_distance(extractor, real, other) for other in (dream, copied, ceiling)))


def _clips(pictures: Tensor, mask: Tensor, length: int) -> Tensor:
    """(clips, length, h, w, 3), end to end from the first dreamed frame on, where all of it was really played."""
    starts = range(1, mask.shape[1] - length + 1, length)
    cut = [pictures[mask[:, t : t + length].all(1), t : t + length] for t in starts]
    return torch.cat(cut) if cut else pictures[:0]
