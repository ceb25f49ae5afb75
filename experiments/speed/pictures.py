"""Pictures a second that an autoencoder learns from: pixel by pixel, and with squares of pixels taken as one."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from experiments.presets import pong
from experiments.speed.real import ACTIONS
from experiments.speed.timing import Rate, in_turns
from worldmodel.data.reader import BufferReader
from worldmodel.fitting import Stage
from worldmodel.latent.config import AutoencoderConfig, LatentConfig
from worldmodel.latent.fitter import LatentFitter
from worldmodel.latent.model import LatentWorldModel
from worldmodel.spaces import ActionSpec

_SQUARES = AutoencoderConfig((48, 48, 48), latent_channels=16, patch_size=2)
"""as wide as that of the presets `freeway` and `pong`, with latents of the same size"""
_UPDATES = 2
"""in a turn"""
_LONG = 1_000_000
"""updates of a stage for which every faster way is worth trying"""


@dataclass(frozen=True)
class Pictured:
    """How fast the autoencoder of the preset `pong` learns, and the same with squares, in pictures a second.

    Attributes:
        patch_size: Pixels on a side of its squares.
        rates: By way: "pixels", "squares"; their latents are of one size.
    """

    patch_size: int
    rates: dict[str, Rate]

    @property
    def ratio(self) -> float:
        """How many times as fast squares are."""
        return self.rates["squares"].per_second / self.rates["pixels"].per_second


def measure_pictures(reader: BufferReader, failures: Path, seconds: float, device: str) -> Pictured:
    """How fast autoencoders learn from what `reader` reads."""
    configs = {"pixels": in_single_pixels(_SQUARES), "squares": _SQUARES}
    ways = {name: _turn(config, reader, failures, device) for name, config in configs.items()}
    return Pictured(_SQUARES.patch_size, in_turns(ways, seconds, device))


def in_single_pixels(config: AutoencoderConfig) -> AutoencoderConfig:
    """The autoencoder that comes to latents of the same size without squares: by as many more resolutions."""
    more = config.patch_size.bit_length() - 1
    return replace(config, channels=(config.channels[0],) * more + config.channels, patch_size=1)


def _turn(autoencoder: AutoencoderConfig, reader: BufferReader, failures: Path, device: str) -> Callable[[], int]:
    torch.manual_seed(0)
    config = pong().fit
    model = LatentWorldModel(LatentConfig(autoencoder=autoencoder), ActionSpec.discrete(ACTIONS))
    fitter = LatentFitter(model, config, reader, torch.device(device), failures)
    fitter.begin(Stage("autoencoder", _LONG), seed=0)

    def turn() -> int:
        fitter.fit(_UPDATES)
        return _UPDATES * config.batch_size

    return turn
