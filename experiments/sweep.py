"""Try Dyna with several settings, on Ray Tune."""

import logging
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Annotated, Any

import tyro
from annotated_types import Interval
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from experiments.cli import SettingsOptions, parse_settings, run_main
from experiments.keywords import read_value
from experiments.terminal import make_console
from rl.metrics import Mode, better
from tune.early_stopping import EarlyStopping
from worldmodel.errors import UserError

if TYPE_CHECKING:
    from ray.tune import Result, ResultGrid

PROGRAM = "python experiments/sweep.py"
_SEED = "seed"


@dataclass(frozen=True, kw_only=True)
class SweepOptions(SettingsOptions):
    """Run Dyna once for every combination of some settings, and show which does best: in the real game, or by --metric.

    As many runs go on at a time as there are CPUs for: each takes one, and one for each of its collectors.
    """

    space: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME=V1,V2,...")] = ()
    """settings and the values to try, as in `imagine.entropy=0.01,0.03 fit.steps=100,200`"""
    seeds: int = 1
    """seeds to try each combination with, --seed and those that follow; what is shown is their mean"""
    folder: Path = Path("sweeps")
    """where Ray Tune keeps the results"""
    time_limit: float | None = None
    """stop after this many minutes"""
    metric: str = "real_return"
    """what runs are ranked by, as in fidelity/score; a wrong name is answered with all that there are"""
    mode: Mode | None = None
    """whether it is to be high or low; None: as it is good"""
    stop_early: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """end runs before their last round that fall behind (ASHA: Li et al., 2020)"""
    grace: int = 1
    """rounds that --stop-early gives every run"""
    reduction: Annotated[float, Interval(gt=1)] = 3.0
    """of so many runs, --stop-early lets one go on"""

    @property
    def early_stopping(self) -> EarlyStopping | None:
        """Which runs end before their last round."""
        return EarlyStopping(self.grace, self.reduction) if self.stop_early else None


def main(arguments: Sequence[str]) -> int:
    """Sweep as the command line says. Returns the exit status."""
    options = parse_settings(SweepOptions, arguments, PROGRAM)
    choices = with_seeds(parse_space(options.space), options.seed, options.seeds)
    good, early_stopping = better(options.metric), options.early_stopping
    if early_stopping:
        early_stopping.check(options.rounds)
    console = make_console()
    console.print("starting Ray")
    # Imported here, because they take seconds: the first line and the errors above come at once.
    from experiments.cluster import ray_cluster

    settings = options.settings
    with ray_cluster(settings.cluster, settings.game.id) as addresses:
        from ray.tune import grid_search

        from tune.sweep import sweep

        logging.getLogger("ray.rllib").setLevel(logging.ERROR)
        for line in addresses.lines:
            console.print(line, highlight=False)
        results = sweep(
            settings,
            {name: grid_search(values) for name, values in choices.items()},
            folder=options.folder,
            time_limit_s=60 * options.time_limit if options.time_limit else None,
            metric=options.metric,
            mode=options.mode,
            early_stopping=early_stopping,
        )
    print_results(console, results, options.metric, options.mode or good)
    return 1 if results.errors else 0


def parse_space(words: Sequence[str]) -> dict[str, list[Any]]:
    """Names of settings with the values to try, out of `NAME=V1,V2,...`.

    Raises:
        UserError: If there is no word, or one is not of that form.
    """
    if not words:
        raise UserError("There is nothing to try: give --space NAME=V1,V2,..., as in fit.steps=100,200.")
    choices = {}
    for word in words:
        name, equals, values = word.partition("=")
        if not (name and equals and values):
            raise UserError(f"--space takes NAME=V1,V2,..., as in fit.steps=100,200, not {word!r}.")
        if name in choices:
            raise UserError(f"--space names {name} twice: give all its values at once, {name}=V1,V2,....")
        choices[name] = [read_value(text) for text in values.split(",")]
    return choices


def with_seeds(choices: dict[str, list[Any]], first: int, number: int) -> dict[str, list[Any]]:
    """`choices`, each to be tried with so many seeds, from `first` on.

    Raises:
        UserError: If `choices` names seeds itself.
    """
    if number == 1:
        return choices
    if _SEED in choices:
        raise UserError("--space names the seeds, and so does --seeds: leave one of them out.")
    return choices | {_SEED: list(range(first, first + number))}


def print_results(console: Console, results: "ResultGrid", metric: str, mode: Mode) -> None:
    """Print what every combination reached, best first, and what went wrong."""
    trials = [results[index] for index in range(len(results))]
    reached = [trial for trial in trials if trial.metrics and "dyna" in trial.metrics]
    console.print(_table(reached, metric, mode))
    for error in results.errors:
        console.print(f"A trial failed: {error}", markup=False)
    console.print(f"Results and checkpoints: {results.experiment_path}", soft_wrap=True, markup=False)


def _table(trials: Sequence["Result"], metric: str, mode: Mode) -> Table:
    """The combinations, best first: means over the seeds of each."""
    title = f"Ranked by {metric}, {'highest' if mode == 'max' else 'lowest'} first"
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    figures = dict.fromkeys([metric, "real_return"])
    for name in (*figures, "seeds", "rounds", "settings", "folder"):
        table.add_column(name, overflow="fold")
    for chosen, group in sorted(_combinations(trials).items(), key=lambda row: _rank(_mean(row[1], metric), mode)):
        reached = [f"{_mean(group, name):{'.1f' if name == 'real_return' else '.6g'}}" for name in figures]
        rounds = sorted({str((trial.metrics or {})["training_iteration"]) for trial in group})
        folders = "\n".join(Path(trial.path).name for trial in group)
        table.add_row(*reached, str(len(group)), ", ".join(rounds), escape(chosen), folders)
    return table


def _combinations(trials: Sequence["Result"]) -> dict[str, list["Result"]]:
    """The trials by what was chosen for them, their seeds aside."""
    groups: dict[str, list[Result]] = {}
    for trial in trials:
        tuned = (trial.config or {})["tuned"]
        chosen = ", ".join(f"{name} = {value}" for name, value in tuned.items() if name != _SEED)
        groups.setdefault(chosen, []).append(trial)
    return groups


def _rank(reached: float, mode: Mode) -> float:
    """Less is better; what was not measured comes last."""
    if math.isnan(reached):
        return math.inf
    return -reached if mode == "max" else reached


def _mean(trials: Sequence["Result"], metric: str) -> float:
    return fmean(_reached(trial, metric) for trial in trials)


def _reached(trial: "Result", metric: str) -> float:
    figure: float = (trial.metrics or {})["dyna"][metric]
    return figure


if __name__ == "__main__":
    sys.exit(run_main(main, sys.argv[1:]))
