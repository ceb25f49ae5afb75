"""How near dreamed pictures come to the real ones: PSNR, SSIM and LPIPS, over all pixels and over those that change."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from worldmodel.metrics.replay import Replay

Distance = Callable[[Tensor, Tensor], Tensor]
"""Of two batches of pictures, float32 (n, 3, height, width) in [-1, 1]; one number a pair, (n,)."""

VISIBLE = 10.0
"""a pixel has changed if one of its colours differs by more than this, of 255"""
PERFECT = 99.0
"""dB, where there is no error"""


@dataclass(frozen=True)
class Metric:
    """Compares predicted with real pictures, both uint8 (n, height, width, 3).

    Attributes:
        name: With its unit, and what else it depends on.
        of: (predicted, real, where) to a number; `where`, bool (n, height, width), says which pixels count, None: all.
    """

    name: str
    of: Callable[[Tensor, Tensor, Tensor | None], float]


SSIM_KERNEL = 11
"""pixels a side of the Gaussian window that structural similarity looks through; a picture must be as large"""


def psnr(predicted: Tensor, real: Tensor, where: Tensor | None = None) -> float:
    """Peak signal-to-noise ratio, dB, over all pixels together, not a mean of the pictures' ratios."""
    error = (predicted.float() - real.float()).square()
    error = error if where is None else error[where]
    mean = error.mean().item() if error.numel() else 0.0
    return PERFECT if mean < 1e-5 else float(10 * np.log10(255**2 / mean))


def ssim(predicted: Tensor, real: Tensor, where: Tensor | None = None) -> float:
    """Structural similarity (Wang et al., 2004), 1 at best; where some pixels count alone, their mean in its map.

    To within 0.001, in float32: float64 takes twelve times as long on a CPU, most of what judging a dream took.
    """
    from torchmetrics.functional.image import structural_similarity_index_measure

    one, other = (frames.permute(0, 3, 1, 2).float() for frames in (predicted, real))
    similarity, local = structural_similarity_index_measure(
        one, other, reduction="none", data_range=255.0, return_full_image=True
    )
    if where is None:
        return float(similarity.mean())
    return float(local.mean(1)[where].mean()) if where.any() else 1.0


def perceptual(distance: Distance, predicted: Tensor, real: Tensor, where: Tensor | None = None) -> float:
    """Mean distance of the pictures; where some pixels count alone, all others are made the real ones."""
    if where is not None:
        predicted = torch.where(where[..., None], predicted, real)
    with torch.no_grad():
        return float(distance(as_unit(predicted), as_unit(real)).mean())


PSNR, SSIM = Metric("PSNR, dB", psnr), Metric("SSIM", ssim)


def lpips(name: str, distance: Distance) -> Metric:
    """Learned perceptual similarity (Zhang et al., 2018), 0 at best, by a network that the user brings."""
    return Metric(f"LPIPS ({name})", lambda predicted, real, where: perceptual(distance, predicted, real, where))


def changing(real: Tensor, known: Tensor) -> Tensor:
    """The pixels, bool (n, height, width), in which real frames differ visibly from those known, both (n, h, w, 3)."""
    return (real.float() - known.float()).abs().amax(-1) > VISIBLE


def as_unit(frames: Tensor) -> Tensor:
    """uint8 (..., height, width, 3) to float32 (..., 3, height, width) in [-1, 1]."""
    return frames.movedim(-1, -3).float() / 127.5 - 1


@dataclass(frozen=True)
class Curve:
    """One prediction's score against the horizon.

    Attributes:
        prediction: Whose: "dream", "last frame copied" or "autoencoder (ceiling)".
        metric: The metric's name.
        pixels: Which count.
        values: One for each horizon; None where no pixel counts.
    """

    prediction: str
    metric: str
    pixels: Literal["all", "changing"]
    values: tuple[float | None, ...]


@dataclass(frozen=True)
class PictureScores:
    """A replay's pictures, scored.

    Attributes:
        forced: As in `Replay`.
        horizons: Steps after the start; the first is 1.
        frames: Real frames at each of them.
        curves: Scores: every metric for every prediction.
    """

    forced: bool
    horizons: tuple[int, ...]
    frames: tuple[int, ...]
    curves: tuple[Curve, ...]


def score_pictures(seen: Replay, horizons: Sequence[int], metrics: Sequence[Metric] = (PSNR, SSIM)) -> PictureScores:
    """Score a replay at those of the horizons that a real game reached.

    Beside the dream stand what it must beat, the newest real frame that it knew, and what it can reach, the real frame
    through the autoencoder.
    """
    reached = seen.reached(horizons)
    moments = [_Moment.of(seen, horizon) for horizon in reached]
    return PictureScores(
        forced=seen.forced,
        horizons=reached,
        frames=tuple(len(moment.real) for moment in moments),
        curves=tuple(curve for metric in metrics for curve in _curves(metric, moments)),
    )


@dataclass(frozen=True, eq=False)
class _Moment:
    """The real frames at one horizon, which of their pixels changed, and the predictions by name."""

    real: Tensor
    changed: Tensor
    predictions: dict[str, Tensor]

    @classmethod
    def of(cls, seen: Replay, horizon: int) -> "_Moment":
        there = seen.mask[:, horizon]
        real, known = seen.real[there, horizon], seen.known(horizon)[there]
        predictions = {
            "dream": seen.dream[there, horizon],
            "last frame copied": known,
            "autoencoder (ceiling)": seen.ceiling[there, horizon],
        }
        return cls(real, changing(real, known), predictions)

    def score(self, prediction: str, metric: Metric, changing_only: bool = False) -> float | None:
        if changing_only and not self.changed.any():
            return None
        return metric.of(self.predictions[prediction], self.real, self.changed if changing_only else None)


def _curves(metric: Metric, moments: Sequence[_Moment]) -> list[Curve]:
    names = tuple(moments[0].predictions) if moments else ()
    whole = [Curve(name, metric.name, "all", tuple(moment.score(name, metric) for moment in moments)) for name in names]
    parts = [Curve(name, metric.name, "changing", tuple(moment.score(name, metric, True) for moment in moments))
             for name in names]  # fmt: skip
    return whole + parts
