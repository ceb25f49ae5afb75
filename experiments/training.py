"""Rounds of Dyna, each kept on disk before the next one begins."""

from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from rich.console import Console

from experiments.model_page import write_model_page
from experiments.progress import ConsoleProgress
from experiments.provenance import commit
from experiments.report import save_films
from rl.progress import Progress
from rl.reporting import Gauges, TensorBoardLog, WatchedProgress
from rl.round_report import RoundReport
from rl.run_folder import RunFolder
from worldmodel.files import writing


class RoundAlgorithm(Protocol):
    """What goes round: `rl.dyna.Dyna`.

    Attributes:
        progress: Where the phases of a round are shown.
        last_report: What the last `train` brought.
    """

    progress: Progress
    last_report: RoundReport

    def train(self) -> Any:
        """One round."""

    def save_round(self, folder: Path) -> None:
        """Write all that the next round needs."""

    def load_round(self, folder: Path) -> None:
        """Go on from what `save_round` wrote."""


def train_rounds(
    algorithm: RoundAlgorithm, run: RunFolder, console: Console, gauges: Gauges, command: str = ""
) -> None:
    """Train from the run's last finished round to its last one; `command` is what was typed, if anybody knows."""
    if run.last_round:
        algorithm.load_round(run.round_folder(run.last_round))
    algorithm.progress = WatchedProgress(ConsoleProgress(console), gauges)
    log = TensorBoardLog(run.tensorboard, run.last_round + 1)
    try:
        for number in range(run.last_round + 1, run.settings.rounds + 1):
            console.print(f"[bold]round {number} of {run.settings.rounds}[/]", highlight=False)
            algorithm.train()
            keep_round(algorithm, run, log, command)
            gauges.write(algorithm.last_report)
            console.print(_result(algorithm.last_report), highlight=False)
    finally:
        log.close()


def keep_round(algorithm: RoundAlgorithm, run: RunFolder, log: TensorBoardLog, command: str = "") -> None:
    """Put the last round on disk: its pictures and scalars, then the round itself by one rename.

    Args:
        algorithm: What has gone round.
        run: Its run.
        log: Where TensorBoard reads.
        command: What was typed, for the page of the world model; empty if nobody knows.
    """
    report = replace(algorithm.last_report, commit=commit())
    with writing(run.path):
        save_films(run.report, report.round, report.films)
        log.write(report)
        with run.commit(report) as folder:
            algorithm.save_round(folder)
            write_model_page(folder / "world_model", run, report, command)


def _result(report: RoundReport) -> str:
    low, high = report.after.interval
    return f"  real return {report.after.mean:.1f} ({low:.1f} to {high:.1f}), kept on disk"
