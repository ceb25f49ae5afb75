"""What one round of Dyna brought."""

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rl.statistics import Evaluation
from worldmodel.fidelity import Fidelity
from worldmodel.files import write_json
from worldmodel.plain import read_plain, to_plain


@dataclass(frozen=True, eq=False)
class Film:
    """A dream and the real continuation from the same start under the same actions.

    Attributes:
        real: uint8, (time, height, width, 3).
        dream: uint8, (time, height, width, 3).
    """

    real: NDArray[np.uint8]
    dream: NDArray[np.uint8]

    def strip(self) -> NDArray[np.uint8]:
        """One picture, uint8 (2 * height, time * width, 3): reality above the dream, time to the right."""
        return np.concatenate([np.concatenate(list(frames), axis=1) for frames in (self.real, self.dream)])

    def video(self) -> NDArray[np.uint8]:
        """Moving pictures, uint8 (time, height, 2 * width, 3): reality on the left, the dream on the right."""
        return np.concatenate([self.real, self.dream], axis=2)


@dataclass(frozen=True)
class RoundReport:
    """What one round of Dyna brought.

    Attributes:
        round: Which one, from 1.
        real_steps: Real steps collected since the run began.
        evaluation_steps: Real steps played to judge the agent since the run began; they never enter the buffer.
        imagined_steps: Imagined steps since the run began.
        seconds: Wall time of each phase of this round, by its name.
        parameters_trained: The world model's parameters that this round trained.
        parameters_total: All of the world model's parameters.
        scalars: Losses and the like, by name.
        after: The agent in the real game after this round.
        before: The agent before any imagination; in the first round only.
        random: The random policy; in the first round only.
        fidelity: How well the dream predicts held-out play; None without a world model.
        incumbent: How well the best world model of the rounds before predicts that same play; None if there is none.
        films: Dreams beside reality, to look at; not saved with the report.
        expert_steps: Real steps that trained the expert before the run; 0 without an expert.
        restarts: How often an actor died in this round and was started again, by its name.
        commit: The code that ran; empty if nobody knows.
    """

    round: int
    real_steps: int
    evaluation_steps: int
    imagined_steps: int
    seconds: dict[str, float]
    parameters_trained: int
    parameters_total: int
    scalars: dict[str, float]
    after: Evaluation
    before: Evaluation | None = None
    random: Evaluation | None = None
    fidelity: Fidelity | None = None
    incumbent: Fidelity | None = None
    films: tuple[Film, ...] = field(default=(), compare=False)
    expert_steps: int = 0
    restarts: dict[str, int] = field(default_factory=dict)
    commit: str = field(default="", compare=False)

    @property
    def score(self) -> float | None:
        """How good the world model is, higher is better: mean PSNR (dB) over changing pixels; None without one.

        Those of two rounds are of other play, perhaps of fewer horizons: they say little beside each other.
        """
        return _score(self.fidelity)

    @property
    def is_best(self) -> bool:
        """Whether no world model of the rounds before is better on the play that this one was judged by."""
        before = _score(self.incumbent)
        return self.score is not None and (before is None or self.score >= before)


def _score(fidelity: Fidelity | None) -> float | None:
    changing = fidelity.dream_changing if fidelity else ()
    return float(np.mean(changing)) if changing else None


def save_report(path: Path, report: RoundReport) -> None:
    """Write a report, without its films, as JSON."""
    write_json(path, to_plain(replace(report, films=())))


def load_report(path: Path) -> RoundReport:
    """Read what `save_report` wrote.

    Raises:
        UserError: If it is damaged or missing.
    """
    return read_plain(RoundReport, path, "is damaged", "restore it from a copy")
