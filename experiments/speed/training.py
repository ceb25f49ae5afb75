"""Frames a second that a world model learns to predict."""

from collections.abc import Callable, Iterable
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from experiments.speed.plain_fit import PlainFit
from experiments.speed.real import ACTIONS
from experiments.speed.roofline import Roofline, count
from experiments.speed.timing import Rate, in_turns, memory_mb
from worldmodel.data.reader import BufferReader
from worldmodel.families import Family
from worldmodel.fitting import FitConfig, Precision, Stage
from worldmodel.latent.config import LatentConfig
from worldmodel.latent.fitter import LatentFitter
from worldmodel.latent.model import LatentWorldModel
from worldmodel.pixel.config import PixelConfig
from worldmodel.pixel.fitter import PixelFitter
from worldmodel.pixel.model import PixelWorldModel
from worldmodel.spaces import ActionSpec

_UPDATES = 5
"""in a turn"""
_LONG = 1_000_000
"""updates of a stage for which every faster way is worth trying"""


_PIXEL_BATCH = 8
"""windows a batch of the pixel family, whose pictures are large"""
_SPEC = ActionSpec.discrete(ACTIONS)


class _Pair(NamedTuple):
    """Two ways to fit the same weights, and a plain update alone, without what need not be done for every batch."""

    config: FitConfig
    plain: Callable[[int], object]
    ours: Callable[[int], object]
    update: Callable[[], object]
    weights: Iterable[Tensor]


@dataclass(frozen=True)
class Trained:
    """How fast the dynamics are learned, in predicted frames a second.

    Attributes:
        family: The family of world models.
        batch: Windows a batch.
        unroll: Frames predicted from each.
        rates: By way: "plain", "ours".
        memory_mb: What the process, which has both models, held while ours learned.
        roofline: Frames a second that the device could do at most.
    """

    family: Family
    batch: int
    unroll: int
    rates: dict[str, Rate]
    memory_mb: float
    roofline: float

    @property
    def ratio(self) -> float:
        """How many times as fast as the plain way ours is."""
        return self.rates["ours"].per_second / self.rates["plain"].per_second


def measure_training(
    family: Family, reader: BufferReader, failures: Path, seconds: float, device: str, roofline: Roofline
) -> Trained:
    """How fast a family's default model learns from what `reader` reads."""
    torch.manual_seed(0)
    config, plain, ours, update, weights = _PAIRS[family](reader, failures, device)
    frames = config.batch_size * config.unroll
    ways = {"plain": _turn(plain, frames), "ours": _turn(ours, frames)}
    rates = in_turns(ways, seconds, device)
    limit = frames / roofline.seconds(count(update, weights))
    return Trained(family, config.batch_size, config.unroll, rates, memory_mb(ways["ours"], device), limit)


def _latent(reader: BufferReader, failures: Path, device: str) -> _Pair:
    config, model = FitConfig(), LatentWorldModel(LatentConfig(), _SPEC)
    ours = LatentFitter(deepcopy(model), config, reader, torch.device(device), failures)
    ours.begin(Stage("dynamics", _LONG), seed=0)
    plain = PlainFit(model.to(device), config, reader, device)
    frames = plain.draw()
    latents = model.autoencoder.encode(frames.frames.flatten(0, 1)).unflatten(0, frames.mask.shape)
    batch = replace(frames, latents=latents)
    return _Pair(config, plain.fit, ours.fit, lambda: plain.update(batch), model.denoiser.parameters())


def _pixel(reader: BufferReader, failures: Path, device: str) -> _Pair:
    """Its losses go one step after another; only what they are computed in differs."""
    config, model = FitConfig(batch_size=_PIXEL_BATCH, unroll=1), PixelWorldModel(PixelConfig(), _SPEC)

    def fit(precision: Precision) -> Callable[[int], object]:
        given = replace(config, precision=precision)
        fitter = PixelFitter(deepcopy(model), given, reader, torch.device(device), failures)
        fitter.begin(Stage("denoiser", _LONG), seed=0)
        return fitter.fit

    plain = fit("fp32")
    return _Pair(config, plain, fit("auto"), lambda: plain(1), model.denoiser.parameters())


def _turn(fit: Callable[[int], object], frames: int) -> Callable[[], int]:
    def turn() -> int:
        fit(_UPDATES)
        return _UPDATES * frames

    return turn


_PAIRS: dict[Family, Callable[[BufferReader, Path, str], _Pair]] = {"latent": _latent, "pixel": _pixel}
