"""Whether imagination pays: its agent beside agents without a world model, over several seeds, in one command."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from experiments.atari100k import reference
from experiments.cli import SettingsOptions, parse_settings, run_main
from experiments.comparison import CompareSettings, Comparison, RowName
from experiments.provenance import leaves
from experiments.stopping import STOPPED
from experiments.terminal import as_typed, make_console
from rl.checks import check_real_play
from rl.settings import Settings
from worldmodel.errors import UserError

PROGRAM = "python experiments/compare.py"
_DEFAULT_ROWS: tuple[RowName, ...] = ("imagination", "random", "model_free", "model_free_more", "fine_tuned")


@dataclass(frozen=True, kw_only=True)
class Options(CompareSettings, SettingsOptions):
    """Train an agent in imagination, and others without a world model, with several seeds; judge all alike.

    All that is finished is kept at once; the same command goes on with what is missing, or shows the tables again.
    """

    seeds: int = 5
    """how many seeds, from --seed on"""
    rows: tuple[RowName, ...] = _DEFAULT_ROWS
    """who is compared; ceiling: the real game as the dream; fresh_rllib, fresh_torch: new agents in the finished world
    model, which no longer changes"""
    results: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """the JSON file that keeps every return; None: docs/results/compare_NAME.json in this folder"""
    beside: Annotated[tuple[Path, ...], tyro.conf.arg(metavar="FILES")] = ()
    """comparisons in other Atari games, to be aggregated with this one by human-normalised scores"""
    runs_dir: Annotated[Path, tyro.conf.arg(metavar="FOLDER")] = Path("runs")
    """where the runs are kept; one that is there, with the same settings, is not run again"""

    @property
    def compare(self) -> CompareSettings:
        """What is compared, alone."""
        return CompareSettings(**{field.name: getattr(self, field.name) for field in fields(CompareSettings)})

    @property
    def path(self) -> Path:
        """The file of results."""
        return (self.results or Path("docs/results") / f"compare_{self.common_name}.json").absolute()

    @property
    def all_seeds(self) -> range:
        """The seeds."""
        return range(self.seed, self.seed + self.seeds)


def main(arguments: Sequence[str]) -> int:
    """Compare as the command line says. Returns the exit status."""
    options = _parse(arguments)
    recorded, defaults = (
        leaves(options.settings) | leaves(options.compare),
        leaves(Settings()) | leaves(CompareSettings()),
    )
    command = as_typed(PROGRAM, arguments)
    comparison = Comparison.opened(options.path, options.game.id, recorded, defaults, command)
    others = [Comparison.read(path) for path in options.beside]
    _check_games([comparison, *others])
    console = make_console()
    try:
        comparison = _play(options, comparison, console)
    except KeyboardInterrupt:
        console.print(
            f"\nStopped; what is finished is kept.\nTo go on: {comparison.command}",
            soft_wrap=True,
            markup=False,
            highlight=False,
        )
        return STOPPED
    from experiments.compare_report import draw, print_comparison

    print_comparison(console, comparison, options.settings, options.compare, others)
    pictures = draw(comparison, options.compare, options.path)
    console.print("\n".join(map(str, (options.path, *pictures))), highlight=False, markup=False, soft_wrap=True)
    return 0


def _check_games(comparisons: Sequence[Comparison]) -> None:
    games = [comparison.game for comparison in comparisons]
    if len(games) == 1:
        return
    if unknown := [game for game in games if reference(game) is None]:
        raise UserError(
            f"{unknown[0]} is none of Atari 100k's games, which alone are on one scale: leave out --beside."
        )
    if len(set(games)) < len(games):
        raise UserError(f"--beside takes results of other games, each once, not of {', '.join(games)}.")


def _parse(arguments: Sequence[str]) -> Options:
    options = parse_settings(Options, arguments, PROGRAM)
    if options.imagine.dream != "model":
        raise UserError("the ceiling is a row here: leave --imagine.dream as it is, and add ceiling to --rows.")
    if options.imagine.policy:
        raise UserError(
            "the real steps behind a policy that was trained before are counted nowhere: leave out --imagine.policy."
        )
    check_real_play(options.play, "play")
    check_real_play(options.fine_tune, "fine_tune")
    return options


def _play(options: Options, comparison: Comparison, console: Console) -> Comparison:
    """Everything that the comparison has not yet; written whole after every agent."""
    wanted = {seed: [row for row in options.rows if str(seed) not in comparison.of(row)] for seed in options.all_seeds}
    if any(wanted.values()):
        _check_game(options)
    for seed, missing in wanted.items():
        if missing:
            comparison = _play_seed(options, comparison, replace(options.settings, seed=seed), missing, console)
    return comparison


def _check_game(options: Options) -> None:
    """See that the game can be opened, and played by everyone who is compared."""
    from envs import action_spec, make_real

    env = make_real(options.game.id, 1, frame_size=options.world_model.frame_size, **options.game.options)
    if "fresh_torch" in options.rows and (spec := action_spec(env)).kind != "discrete":
        raise UserError(f"fresh_torch takes Discrete actions, {options.game.id} has {spec}: leave it out of --rows.")
    env.close()


def _play_seed(
    options: Options, comparison: Comparison, settings: Settings, missing: Sequence[RowName], console: Console
) -> Comparison:
    # Imported here, because they take seconds.
    from experiments.bench import Bench
    from experiments.rows import ROWS, play_row

    ceiling = replace(settings, imagine=replace(settings.imagine, dream="real"))
    run_path, ceiling_path = ((options.runs_dir / options.run_name(run)).absolute() for run in (settings, ceiling))
    bench = Bench(settings, options.compare, run_path, ceiling_path, console)
    for row in sorted(missing, key=ROWS.index):
        console.print(f"[bold]{row}, seed {settings.seed}[/]", highlight=False)
        result = play_row(row, bench, comparison.by_seed(settings.seed))
        comparison = comparison.reopened(options.path).added(row, settings.seed, result)
        comparison.write(options.path)
        console.print(f"  real return {result.final.mean:.1f}", highlight=False)
    return comparison


if __name__ == "__main__":
    sys.exit(run_main(main, sys.argv[1:]))
