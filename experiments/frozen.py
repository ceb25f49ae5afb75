"""What the choices of imagination are worth: new agents in world models that no longer change, one thing otherwise."""

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import tyro
from rich.console import Console
from rich.table import Table

from experiments.changes import CHANGES, IMAGINED_ROWS, ImaginedRow
from experiments.cli import run_main
from experiments.config import read_config
from experiments.frozen_results import Frozen, FrozenResult
from experiments.provenance import commit, leaves, shared
from experiments.recorded import beside
from experiments.stopping import STOPPED
from experiments.table import interval_of, new_table
from experiments.terminal import as_typed, make_console
from rl.run_folder import RunFolder, check_is_run
from rl.settings import Settings
from worldmodel.errors import UserError

if TYPE_CHECKING:
    from rl.evaluator import Evaluator

PROGRAM = "python experiments/frozen.py"


@dataclass(frozen=True)
class Options:
    """Train new agents in the last world models of finished runs, which no longer change; one setting otherwise a row.

    Rows of a run begin from the same model, moments and weights. All that is finished is kept at once; the same command
    goes on with what is missing, or shows the table again.
    """

    runs: Annotated[tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="RUN")]
    """the folders of runs that differ in their seed alone"""
    rows: tuple[ImaginedRow, ...] = IMAGINED_ROWS
    """what is changed; `all` is the agent for which nothing is"""
    results: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """the JSON file that keeps every return; None: docs/results/frozen_GAME.json in this folder"""


def main(arguments: Sequence[str]) -> int:
    """Train and judge as the command line says. Returns the exit status."""
    options = tyro.cli(Options, args=arguments, prog=PROGRAM)
    runs = _opened(options.runs)
    settings, command = runs[0].settings, as_typed(PROGRAM, arguments)
    path = (options.results or Path("docs/results") / f"frozen_{_name(settings)}.json").absolute()
    frozen = Frozen.opened(path, settings.game.id, leaves(settings), leaves(Settings()), command)
    console = make_console()
    try:
        for run in runs:
            if missing := [row for row in options.rows if str(run.settings.seed) not in frozen.of(row)]:
                frozen = _play(frozen, path, run, missing, console)
    except KeyboardInterrupt:
        console.print(f"\nStopped; what is finished is kept.\nTo go on: {command}", markup=False, soft_wrap=True)
        return STOPPED
    console.print(table_of(frozen))
    console.print(str(path), highlight=False, markup=False, soft_wrap=True)
    return 0


def table_of(frozen: Frozen) -> Table:
    """The rows that are there, each beside the one in which nothing is changed."""
    table = new_table(f"{frozen.game}: agents in frozen world models", "changed")
    for column in ("real return, a seed each", "mean", "95% interval", "beside all", "imagined return"):
        table.add_column(column, justify="right", no_wrap=True)
    for row in IMAGINED_ROWS:
        if frozen.of(row):
            table.add_row(*_cells(frozen, row))
    table.caption = (
        "Mean return of an agent's real games, for every world model; interval: bootstrap over those; beside all: mean"
        " difference to the agent of the same world model for which nothing is changed. Imagined: of the last dreams,"
        " which begin anywhere and are cut at their horizon."
    )
    return table


def _cells(frozen: Frozen, row: ImaginedRow) -> list[str]:
    results = frozen.of(row)
    means = [result.mean for result in results.values()]
    return [
        CHANGES[row].words,
        ", ".join(f"{mean:.1f}" for mean in means),
        f"{np.mean(means):.1f}",
        interval_of(means),
        beside(results, frozen.of("all")),
        f"{np.mean([result.imagined_return for result in results.values()]):.1f}",
    ]


def _opened(paths: Sequence[Path]) -> list[RunFolder]:
    """The runs.

    Raises:
        UserError: If there is none; if one is not finished or never dreamed; if they differ in more than their seed, or
            not in that.
    """
    if not paths:
        raise UserError(
            "there is no world model to learn in: name the folders of finished runs, as runs/cartpole-seed0."
        )
    runs = [_open(path) for path in paths]
    first = shared(leaves(runs[0].settings))
    for run in runs:
        ours = shared(leaves(run.settings))
        if differing := [name for name in ours if ours[name] != first[name]]:
            raise UserError(
                f"{run.path} has another {', '.join(differing)} than {runs[0].path}: compare like with like."
            )
    if len({run.settings.seed for run in runs}) < len(runs):
        raise UserError("two of the runs have the same seed: name runs of different seeds.")
    return runs


def _open(path: Path) -> RunFolder:
    check_is_run(path)
    settings = read_config(path / "config.json", Settings())
    if settings.imagine.dream != "model":
        raise UserError(f"{path} never dreamed in its world model (imagine.dream is {settings.imagine.dream}).")
    run = RunFolder(path, settings)
    if run.last_round < settings.rounds:
        raise UserError(
            f"{path} has finished {run.last_round} of its {settings.rounds} rounds: let it come to its end."
        )
    return run


def _name(settings: Settings) -> str:
    return settings.game.id.rpartition("/")[2].replace(":", "-").lower()


def _play(frozen: Frozen, path: Path, run: RunFolder, missing: Sequence[ImaginedRow], console: Console) -> Frozen:
    # Imported here, because they take seconds.
    from experiments.bench import evaluator_of, ray_here

    evaluator = evaluator_of(run.settings)
    with ray_here(run.settings.game.id):
        for row in missing:
            seed = run.settings.seed
            console.print(f"[bold]{row}, seed {seed}[/]: {CHANGES[row].words}", highlight=False)
            result = _result(run, row, evaluator, console)
            console.print(f"  real return {result.mean:.1f}", highlight=False)
            frozen = frozen.reopened(path).added(row, seed, result)
            frozen.write(path)
    return frozen


def _result(run: RunFolder, row: ImaginedRow, evaluator: "Evaluator", console: Console) -> FrozenResult:
    from experiments.fresh import fresh_rllib
    from experiments.progress import ConsoleProgress

    judged, progress, began = run.settings.evaluate, ConsoleProgress(console), time.monotonic()
    fresh = fresh_rllib(run, CHANGES[row].make(run.settings).imagine, progress)
    seconds = time.monotonic() - began
    with progress.phase("judge", judged.episodes) as advance:
        who = fresh.agent
        real = evaluator.evaluate(judged.episodes, run.settings.seed, who.policy, who.eyes, judged.greedy)
        advance(judged.episodes, real_return=real.mean)
    return FrozenResult(real.returns, fresh.last.mean_return, fresh.last.mean_length, fresh.steps, seconds, commit())


if __name__ == "__main__":
    sys.exit(run_main(main, sys.argv[1:]))
