"""The main job: play, learn the game, train an agent in the dream, judge it in the real game, and round again."""

import logging
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from rich.console import Console

from experiments.cli import PROGRAM, Options, parse_options, run_main
from experiments.stopping import STOPPED
from experiments.terminal import as_typed, make_console

if TYPE_CHECKING:
    from rl.run_folder import RunFolder


def main(arguments: Sequence[str]) -> int:
    """Run Dyna as the command line says. Returns the exit status."""
    began = time.monotonic()
    options = parse_options(arguments)
    console = make_console()
    console.print(
        f"{options.game.id} into {options.run_path}; Ctrl-C stops, the same command goes on.",
        soft_wrap=True,
        markup=False,
    )
    try:
        _run(options, console, arguments, began)
    except KeyboardInterrupt:
        finished = len(list((options.run_path / "rounds").glob("[0-9]" * 3)))
        console.print(
            f"\nStopped with {finished} of {options.rounds} rounds finished; what was played is kept."
            f"\nTo go on: {as_typed(PROGRAM, arguments)}",
            soft_wrap=True,
            markup=False,
            highlight=False,
        )
        return STOPPED
    return 0


def _run(options: Options, console: Console, arguments: Sequence[str], began: float) -> None:
    # Imported here, because they take seconds: the first line and the errors above come at once.
    from experiments.report import write_page
    from experiments.results import check_recordable, record, references
    from experiments.table import print_tables
    from rl.run_folder import RunFolder

    settings = options.settings
    if options.record:
        check_recordable(options.record, settings)
    run = RunFolder(options.run_path, settings)
    if run.last_round < settings.rounds:
        train_run(run, console, as_typed(PROGRAM, arguments))
    compared = references(options.preset, settings)
    print_tables(console, settings, run.reports(), compared, time.monotonic() - began)
    page = write_page(run, compared, time.monotonic() - began)
    console.print(f"Page: {page}\nTensorBoard: tensorboard --logdir {run.tensorboard}", soft_wrap=True, markup=False)
    if options.record:
        record(options.record, settings, run.reports(), as_typed(PROGRAM, arguments))


def train_run(run: "RunFolder", console: Console, command: str = "") -> None:
    """Train a run from its last finished round to its last one; `command` is what was typed, if anybody knows."""
    from envs import make_real
    from envs.catalogue import has_limit
    from experiments.cluster import ray_cluster
    from experiments.memory import scarce_memory

    game = run.settings.game
    make_real(game.id, 1, frame_size=run.settings.world_model.frame_size, **game.options).close()
    if not (game.max_steps or has_limit(game.id)):
        limit = run.settings.evaluate.max_steps
        console.print(f"{game.id} has no step limit: judged games are cut off after {limit} (--evaluate.max-steps)")
    console.print("starting Ray")
    for sentence in scarce_memory(run.settings):
        console.print(f"[yellow]note:[/] {sentence}", soft_wrap=True)
    with run.alone(), ray_cluster(run.settings.cluster, game.id) as addresses:
        from experiments.training import train_rounds
        from rl.dyna import Dyna, DynaConfig
        from rl.reporting import Gauges
        from rl.resources import Resources, cluster_gpus

        logging.getLogger("ray.rllib").setLevel(logging.ERROR)
        for line in addresses.lines:
            console.print(line, highlight=False)
        if run.settings.cluster.address:
            needed = Resources.of(run.settings, cluster_gpus())
            needed.check()
            needed.wait(run.settings.cluster.patience, console.print)
        algorithm = cast(Dyna, DynaConfig(run.settings, folder=run.path).build_algo())
        try:
            train_rounds(algorithm, run, console, Gauges(), command)
        except KeyboardInterrupt:
            console.print("\nstopping")
            raise
        finally:
            algorithm.stop()


if __name__ == "__main__":
    sys.exit(run_main(main, sys.argv[1:]))
