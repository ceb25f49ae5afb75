"""Recorded results: the raw returns of several seeds, in a JSON file that later runs compare themselves with.

docs/results/<preset>_<dream>.json
game, dream, command, machine
settings      every setting by its dotted name
seeds         by seed: returns of the random policy, of the agent before any imagination and after each round, and
              the commit of the code that ran
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from experiments.cluster import packages_root
from experiments.provenance import commits, differing, leaves, machine
from experiments.recorded import read_record
from rl.round_report import RoundReport
from rl.settings import Settings
from rl.statistics import Evaluation
from worldmodel.errors import UserError
from worldmodel.files import write_json

_COMPARED = ("game.", "imagine.", "evaluate.greedy")
"""settings in which a reference must equal the run that it stands beside, the dream apart"""


@dataclass(frozen=True)
class SeedResult:
    """What one run reached: raw returns, one a real game."""

    random: tuple[float, ...]
    before: tuple[float, ...]
    after: tuple[tuple[float, ...], ...]
    real_steps: int
    imagined_steps: int
    seconds: float
    expert_steps: int = 0
    commit: str = ""


@dataclass(frozen=True)
class Results:
    """The runs of one preset and dream that differ in their seed alone."""

    game: str
    dream: str
    command: str
    machine: str
    settings: dict[str, Any]
    seeds: dict[str, SeedResult]

    def final_returns(self) -> tuple[float, ...]:
        """The returns after the last round, of all seeds."""
        return tuple(value for result in self.seeds.values() for value in result.after[-1])


def read_results(path: Path) -> Results:
    """Read a file of results.

    Raises:
        UserError: If it is damaged or missing.
    """
    return read_record(Results, path, "results")


def check_recordable(path: Path, settings: Settings) -> None:
    """Refuse a file that holds the results of other settings.

    Raises:
        UserError: Naming the settings that differ.
    """
    if not path.exists():
        return
    if names := differing(read_results(path).settings, leaves(settings), leaves(Settings())):
        raise UserError(f"{path} holds results of another {', '.join(names)}; give --record another file.")


def record(path: Path, settings: Settings, reports: list[RoundReport], command: str) -> None:
    """Add a finished run to a file of results, under its seed."""
    seeds = read_results(path).seeds if path.exists() else {}
    results = Results(
        game=settings.game.id,
        dream=settings.imagine.dream,
        command=command,
        machine=machine(),
        settings=leaves(settings),
        seeds={**seeds, str(settings.seed): _result(reports)},
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, asdict(results))


def references(preset: str, settings: Settings) -> list[Results]:
    """The recorded ceiling (the real game as the dream) and floor (shuffled actions) to compare this run with."""
    folder = packages_root() / "docs" / "results"
    paths = [folder / f"{preset}_{dream}.json" for dream in ("real", "shuffled")]
    recorded = [read_results(path) for path in paths if path.exists()]
    return [results for results in recorded if _comparable(results, settings)]


def _comparable(results: Results, settings: Settings) -> bool:
    ours = {**leaves(settings), "imagine.dream": results.dream}
    # What could not be set yet when they were recorded was as it is by default.
    theirs = leaves(Settings()) | results.settings
    return all(theirs[name] == value for name, value in ours.items() if name.startswith(_COMPARED))


def _result(reports: list[RoundReport]) -> SeedResult:
    first, last = reports[0], reports[-1]
    return SeedResult(
        random=_returns(first.random),
        before=_returns(first.before),
        after=tuple(_returns(report.after) for report in reports),
        real_steps=last.real_steps,
        imagined_steps=last.imagined_steps,
        seconds=sum(sum(report.seconds.values()) for report in reports),
        expert_steps=last.expert_steps,
        commit=commits(report.commit for report in reports),
    )


def _returns(judged: Evaluation | None) -> tuple[float, ...]:
    return tuple(float(value) for value in judged.returns) if judged else ()
