"""Frames a second that a world model learns to predict."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import torch

from experiments.speed.plain_fit import PlainFit
from experiments.speed.real import ACTIONS
from experiments.speed.roofline import Roofline, count
from experiments.speed.timing import Rate, in_turns, memory_mb
from worldmodel.data.reader import BufferReader
from worldmodel.families import Family
from worldmodel.fitting import FitConfig, Stage
from worldmodel.latent.config import LatentConfig
from worldmodel.latent.fitter import LatentFitter
from worldmodel.latent.model import LatentWorldModel
from worldmodel.spaces import ActionSpec

_UPDATES = 5
"""in a turn"""
_LONG = 1_000_000
"""updates of a stage for which every faster way is worth trying"""


@dataclass(frozen=True)
class Trained:
    """How fast the dynamics are learned, in predicted frames a second.

    Attributes:
        family: The family of world models.
        batch: Windows a batch.
        unroll: Frames predicted from each.
        rates: By way: "plain", "ours".
        memory_mb: What the process held.
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


def measure_training(reader: BufferReader, failures: Path, seconds: float, device: str, roofline: Roofline) -> Trained:
    """How fast the default latent model learns from what `reader` reads."""
    config = FitConfig()
    torch.manual_seed(0)
    whole = LatentWorldModel(LatentConfig(), ActionSpec.discrete(ACTIONS)).to(device)
    plain = PlainFit(deepcopy(whole), config, reader, device)
    ours = LatentFitter(deepcopy(whole), config, reader, torch.device(device), failures)
    ours.begin(Stage("dynamics", _LONG), seed=0)
    frames = config.batch_size * config.unroll

    def turn(fit: Callable[[int], object]) -> Callable[[], int]:
        def work() -> int:
            fit(_UPDATES)
            return _UPDATES * frames

        return work

    rates = in_turns({"plain": turn(plain.fit), "ours": turn(ours.fit)}, seconds, device)
    work = count(lambda: plain.fit(1), whole.denoiser.parameters())
    return Trained(
        "latent", config.batch_size, config.unroll, rates, memory_mb(device), frames / roofline.seconds(work)
    )
