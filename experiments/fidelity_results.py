"""What `experiments/fidelity.py` found out about a run's dream."""

from dataclasses import dataclass

from rl.correlation import Correlation
from rl.promise import Promise
from rl.ranking import Standing
from rl.round_report import RoundReport
from worldmodel.metrics.alarms import Alarms
from worldmodel.metrics.control import Controllability
from worldmodel.metrics.frechet import FrechetScores
from worldmodel.metrics.outcomes import OutcomeScores
from worldmodel.metrics.pictures import PictureScores


@dataclass(frozen=True)
class TrainingGap:
    """One round's dreams and its agent in the real game; dreams begin anywhere and are cut at their horizon.

    Attributes:
        round: Which one.
        imagined_return: Mean return of the round's dreams; None without any.
        imagined_length: Their mean length, or None.
        real_return: Mean return of the agent after the round.
        real_length: Its mean length.
        random_return: Mean return of random play in the same games; None where it was not judged.
        random_length: Its mean length, or None.
    """

    round: int
    imagined_return: float | None
    imagined_length: float | None
    real_return: float
    real_length: float
    random_return: float | None = None
    random_length: float | None = None

    @classmethod
    def of(cls, report: RoundReport) -> "TrainingGap":
        """That of a round."""
        scalars, real, random = report.scalars, report.after, report.random
        return cls(
            round=report.round,
            imagined_return=scalars.get("imagined/return"),
            imagined_length=scalars.get("imagined/length"),
            real_return=real.mean,
            real_length=real.steps / len(real.lengths),
            random_return=random.mean if random else None,
            random_length=random.steps / len(random.lengths) if random else None,
        )


@dataclass(frozen=True)
class RoundAlarms:
    """How a round's world model doubts the play of the rounds after it; `alarms` is None where none is left."""

    round: int
    alarms: Alarms | None


@dataclass(frozen=True)
class FidelityResults:
    """Everything, as `fidelity.json` holds it.

    Attributes:
        game: Its id.
        run: The run's name.
        round: Whose world model.
        command: What was typed.
        machine: Where it ran.
        commit: Of which code.
        starts: Dreams that the pictures were judged by.
        free: Their pictures, dreamed on from dreamed ones.
        forced: Their pictures, each dreamed from real ones.
        frechet: FID and FVD, where an extractor was given.
        control: What the actions do; None where no held-out game is long enough.
        outcomes: Ends and rewards, by what they were told from.
        standings: The returns of the same players in the dream and in the real game.
        correlation: Of their means.
        promise: What the dream promises the round's agent, and what the real game pays it; None where no returns were
            asked for.
        alarms: What would be doubted of real play, by the world model of every round.
        training: Imagined and real returns as the run went on.
    """

    game: str
    run: str
    round: int
    command: str
    machine: str
    commit: str
    starts: int
    free: PictureScores
    forced: PictureScores
    frechet: tuple[FrechetScores, ...]
    control: Controllability | None
    outcomes: tuple[OutcomeScores, ...]
    standings: tuple[Standing, ...]
    correlation: Correlation
    promise: Promise | None
    alarms: tuple[RoundAlarms, ...]
    training: tuple[TrainingGap, ...]
