"""Reports of rounds that never were, and an algorithm that makes them."""

from pathlib import Path

import numpy as np
import torch

from rl.progress import NullProgress
from rl.round_report import Film, RoundReport
from rl.statistics import Evaluation
from worldmodel.fidelity import Fidelity, Similarity
from worldmodel.metrics.events import foretold


def make_evaluation(mean: float) -> Evaluation:
    returns = (mean - 1.0, mean, mean + 1.0)
    return Evaluation(returns=returns, lengths=(10, 20, 30))


def make_fidelity(changing: float = 20.0) -> Fidelity:
    return Fidelity(
        horizons=(1, 8),
        dream=(31.5, 30.0),
        dream_changing=(changing, changing),
        copy_last=(39.0, 25.0),
        copy_last_changing=(12.0, 10.0),
        ceiling=(41.0, 41.0),
        ceiling_changing=(33.0, 33.0),
        adapter_off=(29.0, 28.0),
        adapter_off_changing=(18.0, 15.0),
        starts=64,
        ends=10,
        ends_dreamed=7,
        false_ends=0.015,
        end=foretold("end", torch.tensor([0.75, 0.25, 0.25, 0.25]), torch.tensor([True, False, False, False])),
        rewards=(foretold("reward above 0", torch.tensor([0.5, 0.5, 0.0]), torch.tensor([True, False, False])),),
        reward_error=0.5,
        constant_error=0.25,
        ssim=Similarity((0.94, 0.83), (0.72, 0.61), (0.9, 0.8), (0.5, 0.4), (0.99, 0.98), (0.97, 0.96)),
    )


def make_film() -> Film:
    real = np.zeros((5, 8, 8, 3), np.uint8)
    real[:, 0, 0] = [[40 * t] * 3 for t in range(5)]
    return Film(real=real, dream=np.full_like(real, 255))


def make_report(number: int = 1, mean: float = 50.0, changing: float = 20.0) -> RoundReport:
    first = number == 1
    return RoundReport(
        round=number,
        real_steps=1000 * number,
        evaluation_steps=77 * number,
        imagined_steps=65_536 * number,
        seconds={"collect": 1.5, "fit": 20.0, "imagine": 30.0},
        parameters_trained=1234 if number > 1 else 56_789,
        parameters_total=56_789,
        scalars={"loss/denoiser": 0.25},
        after=make_evaluation(mean),
        before=make_evaluation(21.0) if first else None,
        random=make_evaluation(20.0) if first else None,
        fidelity=make_fidelity(changing),
        films=(make_film(),),
    )


class FakeAlgorithm:
    """Counts its rounds; dies in round `dies_in`."""

    def __init__(self, dies_in: int | None = None) -> None:
        self.progress = NullProgress()
        self.round = 0
        self.dies_in = dies_in

    def train(self) -> None:
        self.round += 1
        with self.progress.phase("collect", 2) as advance:
            advance(1, loss=0.5)
            if self.round == self.dies_in:
                raise KeyboardInterrupt
            advance(1, loss=0.25)
        self.last_report = make_report(self.round, mean=50.0 + self.round)

    def save_round(self, folder: Path) -> None:
        (folder / "world_model").mkdir()
        (folder / "state").write_text(str(self.round))

    def load_round(self, folder: Path) -> None:
        self.round = int((folder / "state").read_text())
