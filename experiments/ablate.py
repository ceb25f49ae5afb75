"""What each part is worth: runs of Dyna with one thing left out or changed at a time, over several seeds."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from rich.console import Console
from rich.table import Table

from experiments.ablation import Ablation, AblationResult
from experiments.changes import CHANGES, ROWS, RowName
from experiments.cli import SettingsOptions, parse_settings, run_main
from experiments.provenance import commits, leaves
from experiments.recorded import beside
from experiments.stopping import STOPPED
from experiments.table import interval_of, new_table
from experiments.terminal import as_typed, make_console
from rl.checks import check_settings
from rl.round_report import RoundReport
from rl.run_folder import RunFolder
from rl.settings import Settings

PROGRAM = "python experiments/ablate.py"


@dataclass(frozen=True, kw_only=True)
class Options(SettingsOptions):
    """Run Dyna whole, then with one thing left out or changed at a time, with several seeds; one row each.

    All that is finished is kept at once; the same command goes on with what is missing, or shows the table again.
    """

    seeds: int = 3
    """how many seeds, from --seed on"""
    rows: tuple[RowName, ...] = ROWS
    """what is changed; `all` is the run in which nothing is"""
    results: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """the JSON file that keeps every return; None: docs/results/ablation_NAME.json in this folder"""
    runs_dir: Annotated[Path, tyro.conf.arg(metavar="FOLDER")] = Path("runs/ablation")
    """where the runs are kept"""

    @property
    def path(self) -> Path:
        """The file of results."""
        return (self.results or Path("docs/results") / f"ablation_{self.common_name}.json").absolute()

    @property
    def differing_rows(self) -> tuple[RowName, ...]:
        """The rows in which anything is changed, and `all`."""
        return tuple(row for row in self.rows if row == "all" or CHANGES[row].concerns(self.settings))

    def changed(self, row: RowName, seed: int) -> Settings:
        """The settings of a run."""
        return CHANGES[row].make(replace(self.settings, seed=seed))


def main(arguments: Sequence[str]) -> int:
    """Run what the command line says. Returns the exit status."""
    options = parse_settings(Options, arguments, PROGRAM)
    seeds, rows = range(options.seed, options.seed + options.seeds), options.differing_rows
    for row in rows:
        check_settings(options.changed(row, options.seed))
    command = as_typed(PROGRAM, arguments)
    ablation = Ablation.opened(options.path, options.game.id, leaves(options.settings), leaves(Settings()), command)
    console = make_console()
    for row in options.rows:
        if row not in rows:
            console.print(f"{row} is left out: with these settings it changes nothing", highlight=False)
    try:
        for seed in seeds:
            for row in rows:
                if str(seed) not in ablation.of(row):
                    ablation = _run(options, ablation, row, seed, console)
    except KeyboardInterrupt:
        console.print(f"\nStopped; what is finished is kept.\nTo go on: {command}", markup=False, soft_wrap=True)
        return STOPPED
    console.print(table_of(ablation))
    console.print(str(options.path), highlight=False, markup=False, soft_wrap=True)
    return 0


def table_of(ablation: Ablation) -> Table:
    """The rows that are there, each beside the one in which nothing is changed."""
    table = new_table(f"{ablation.game}: what each part is worth", "changed")
    for column in ("seeds", "real return", "95% interval", "beside all", "dream, changing, dB", "ends, precision"):
        table.add_column(column, justify="right", no_wrap=True)
    for row in ROWS:
        if ablation.of(row):
            table.add_row(*_cells(ablation, row))
    table.caption = (
        "Means over seeds of the last agent's mean return and the last world model's scores on held-out play; interval:"
        " bootstrap over the seeds' means. Every row of a seed has the same first random play, and stands beside all of"
        " the same seeds."
    )
    return table


def _cells(ablation: Ablation, row: RowName) -> list[str]:
    results = list(ablation.of(row).values())
    means = [result.mean for result in results]
    return [
        CHANGES[row].words,
        str(len(results)),
        f"{np.mean(means):.1f}",
        interval_of(means),
        beside(ablation.of(row), ablation.of("all")),
        _mean([result.changing for result in results], ".1f"),
        _mean([result.end_precision for result in results], ".0%"),
    ]


def _mean(values: Sequence[float | None], form: str) -> str:
    known = [value for value in values if value is not None]
    return f"{np.mean(known):{form}}" if known else ""


def _run(options: Options, ablation: Ablation, row: RowName, seed: int, console: Console) -> Ablation:
    from experiments.dyna import train_run  # takes seconds to import

    settings = options.changed(row, seed)
    run = RunFolder((options.runs_dir / f"{options.common_name}-{row}-seed{seed}").absolute(), settings)
    console.print(f"[bold]{row}, seed {seed}[/]: {CHANGES[row].words}", highlight=False)
    if run.last_round < settings.rounds:
        train_run(run, console)
    ablation = ablation.reopened(options.path).added(row, seed, _result(run.reports()))
    ablation.write(options.path)
    return ablation


def _result(reports: Sequence[RoundReport]) -> AblationResult:
    last = reports[-1]
    end = last.fidelity.end if last.fidelity else None
    return AblationResult(
        returns=tuple(last.after.returns),
        changing=last.score,
        end_precision=end.scores.precision if end else None,
        imagined_length=last.scalars["imagined/last_length"],
        real_steps=last.real_steps + last.expert_steps,
        seconds=sum(sum(report.seconds.values()) for report in reports),
        commit=commits(report.commit for report in reports),
    )


if __name__ == "__main__":
    sys.exit(run_main(main, sys.argv[1:]))
