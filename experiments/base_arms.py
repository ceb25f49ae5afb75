"""A base against no base: the same play, the same compute, the same judges."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch

from worldmodel.data.reader import BufferReader
from worldmodel.fidelity import Fidelity, score
from worldmodel.fitting import FitConfig, Stage
from worldmodel.latent.config import LatentConfig
from worldmodel.latent.fitter import LatentFitter
from worldmodel.latent.model import LatentWorldModel
from worldmodel.latent.pace import Pace
from worldmodel.metrics.outcomes import OutcomeScores, held_out_outcomes
from worldmodel.metrics.replay import draw_replay, replay

ArmName = Literal["lora", "full", "scratch"]
"""A LoRA adapter on the base; all of the base's U-Net; fresh networks, autoencoder included."""

HORIZONS = (1, 2, 5, 10, 15, 30)
_STARTS, _STEPS = 48, 1024
_JUDGES_SEED = 1
"""of starts and noise, the same for all"""
_SHARES: dict[ArmName, dict[str, float]] = {
    "lora": {"latents": 0.0, "decoder": 0.2, "adapter": 0.6, "head": 0.2},
    "full": {"latents": 0.0, "decoder": 0.2, "dynamics": 0.6, "head": 0.2},
    "scratch": {"autoencoder": 0.4, "dynamics": 0.4, "head": 0.2},
}
"""what each stage has of the compute; a base's decoder is fitted for the sake of the pictures that are compared"""


@dataclass(frozen=True)
class ArmResult:
    """What an arm reached.

    Attributes:
        game: Its Gymnasium id.
        arm: How it was fitted.
        seed: Of the fit.
        seconds: Compute that its stages had, seconds; of one CPU core, if it was fitted on CPUs.
        updates: What that came to, by stage.
        trained: Parameters that were trained.
        fidelity: Free-running dreams of held-out play.
        outcomes: Rewards and ends of held-out play.
    """

    game: str
    arm: ArmName
    seed: int
    seconds: float
    updates: dict[str, int]
    trained: int
    fidelity: Fidelity
    outcomes: tuple[OutcomeScores, ...]


def run_arm(
    game: str,
    arm: ArmName,
    seed: int,
    seconds: float,
    config: LatentConfig,
    fit: FitConfig,
    reader: BufferReader,
    failures: Path,
) -> ArmResult:
    """Fit an arm to the play of a game for so many seconds, and judge it on held-out play.

    Frames are encoded, and dreams for the head to learn from dreamed, outside of the seconds, for all arms alike.
    """
    torch.manual_seed(seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = LatentWorldModel(config, reader.action_spec)
    fitter = LatentFitter(model, replace(fit, full=arm == "full"), reader, device, failures)
    updates = {
        stage: _fit(fitter, stage, share * seconds, seed, _clock(device)) for stage, share in _SHARES[arm].items()
    }
    windows = draw_replay(reader, model.context, max(HORIZONS), _STARTS, _JUDGES_SEED)
    return ArmResult(
        game=game,
        arm=arm,
        seed=seed,
        seconds=seconds,
        updates=updates,
        trained=fitter.trained_parameters(),
        fidelity=score(replay(model, reader, windows, _JUDGES_SEED), HORIZONS),
        outcomes=held_out_outcomes(model, reader, _STEPS, _JUDGES_SEED),
    )


def _fit(fitter: LatentFitter, stage: str, seconds: float, seed: int, clock: Callable[[], float]) -> int:
    pace = Pace(10**9, seconds / 60, clock=clock)
    fitter.begin(Stage(stage, 0), seed, lambda: pace.progress)
    pace.start()
    while seconds and pace.progress < 1:
        fitter.fit(1)
        pace.count()
    fitter.finish()
    return pace.updates


def _clock(device: torch.device) -> Callable[[], float]:
    """On CPUs the time that they worked for this process, so that work beside it makes no difference."""
    return time.monotonic if device.type == "cuda" else time.process_time
