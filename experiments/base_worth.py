"""What a base is worth: LoRA on it against full training from scratch, with the same play and the same compute."""

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby, product
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Annotated

import tyro
from rich.console import Console
from rich.table import Table

from experiments.cli import run_main
from experiments.terminal import as_typed, make_console
from worldmodel.bounds import Count, check_bounds
from worldmodel.errors import UserError
from worldmodel.fitting import FitConfig
from worldmodel.latent.config import BaseConfig, LatentConfig

if TYPE_CHECKING:
    from experiments.base_arms import ArmResult
    from worldmodel.data.reader import BufferReader

PROGRAM = "python experiments/base_worth.py"


@dataclass(frozen=True, kw_only=True)
class Options:
    """Fit games that a base has not seen, with it and without it, and record how well each is learned.

    The same command goes on with what the file of results lacks.
    """

    base: Annotated[str, tyro.conf.arg(metavar="NAME-OR-FOLDER")] = "small"
    """the base"""
    games: tuple[str, ...] = ("CartPole-v1", "ALE/Pong-v5")
    """games that it has not seen"""
    steps: int = 4000
    """real steps of random play, one tenth of the games held out"""
    max_steps: int = 500
    """end a game (truncated) after this many steps"""
    seconds: tuple[float, ...] = (60.0, 240.0)
    """seconds of compute that the stages have; on CPUs, of one core"""
    seeds: tuple[Count, ...] = (0, 1, 2)
    """seeds of the fit; the play is the same for all"""
    threads: int = 1
    """torch threads"""
    model: LatentConfig = field(default_factory=LatentConfig)
    fit: FitConfig = field(default_factory=lambda: FitConfig(decoder_learning_rate=1e-3))
    runs_dir: Annotated[Path, tyro.conf.arg(metavar="FOLDER")] = Path("runs")
    """where the play is kept"""
    record: Annotated[Path, tyro.conf.arg(metavar="FILE")] = Path("runs/base_worth.json")
    """the JSON file of results"""

    @property
    def based(self) -> LatentConfig:
        """The world model on the base."""
        return replace(self.model, base=BaseConfig(self.base))

    @property
    def played(self) -> str:
        """The name of the folder of play like this: that of other settings is never taken for it."""
        height, width, _ = self.model.frame_shape
        return f"{self.steps}-steps-{self.max_steps}-a-game-{height}x{width}"


def main(arguments: Sequence[str]) -> int:
    """Compare as the command line says. Returns the exit status."""
    options = tyro.cli(Options, args=arguments, prog=PROGRAM)
    _check(options)
    console = make_console()
    results = _run(options, console, as_typed(PROGRAM, arguments))
    console.print(_table(results))
    return 0


def _check(options: Options) -> None:
    from worldmodel.latent.bases import check_base
    from worldmodel.latent.own_base import base_folder, read_card

    check_bounds(options)
    check_base(options.based)
    if seen := set(options.games) & set(read_card(base_folder(options.base)).games):
        raise UserError(f"The base {options.base} has seen {min(seen)}: take --games that it has not seen.")


def _run(options: Options, console: Console, command: str) -> "list[ArmResult]":
    import torch

    from experiments.base_arms import ArmName, run_arm
    from experiments.worth_file import WorthFile

    torch.set_num_threads(options.threads)
    kept = WorthFile(options.record, options, command)
    arms: tuple[ArmName, ...] = ("scratch", "lora", "full")
    for game, seconds, seed, arm in product(options.games, options.seconds, options.seeds, arms):
        if kept.has(game, arm, seed, seconds):
            continue
        reader = _play(options, game)
        console.print(f"{game}, {arm}, seed {seed}, {seconds:g} s", highlight=False)
        config = options.model if arm == "scratch" else options.based
        kept.add(run_arm(game, arm, seed, seconds, config, options.fit, reader, options.runs_dir / "failures"))
    return kept.results


def _play(options: Options, game: str) -> "BufferReader":
    from rl.pretrain_play import buffer_of, is_there, play_game
    from rl.pretrain_settings import PlaySettings
    from worldmodel.data.reader import BufferReader

    folder = buffer_of(options.runs_dir / "base_worth" / options.played, game)
    if not is_there(folder, options.steps):
        settings = PlaySettings(steps=options.steps, expert=0.0, max_steps=options.max_steps)
        play_game(settings, game, options.model.frame_size, 0, folder)
    return BufferReader(folder)


def _table(results: "Iterable[ArmResult]") -> Table:
    """Means over the seeds."""
    table = Table("game", "compute", "arm", "PSNR 1 / 5 / 15", "changing 1 / 5 / 15", "copy, changing",
                  "end: recall", "end: Brier", "reward error")  # fmt: skip
    ordered = sorted(results, key=lambda r: (r.game, r.seconds, r.arm))
    for (game, seconds, arm), group in groupby(ordered, key=lambda r: (r.game, r.seconds, r.arm)):
        table.add_row(game, f"{seconds:g} s", arm, *_cells(list(group)))
    return table


def _cells(results: "list[ArmResult]") -> list[str]:
    reads = [result.outcomes[0] for result in results]
    ends = [read.events[0].scores for read in reads]
    return [
        _curve([result.fidelity.horizons for result in results], [result.fidelity.dream for result in results]),
        _curve([result.fidelity.horizons for result in results], [r.fidelity.dream_changing for r in results]),
        _curve([result.fidelity.horizons for result in results], [r.fidelity.copy_last_changing for r in results]),
        _mean([end.drawn_recall for end in ends]),
        _mean([end.brier for end in ends]),
        _mean([read.reward_error for read in reads]),
    ]


def _curve(horizons: list[tuple[int, ...]], curves: list[tuple[float, ...]]) -> str:
    at = [dict(zip(*pair, strict=True)) for pair in zip(horizons, curves, strict=True)]
    return " / ".join(f"{mean(curve[h] for curve in at if h in curve):.1f}" for h in (1, 5, 15) if h in at[0])


def _mean(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    return f"{mean(known):.3f}" if known else "-"


if __name__ == "__main__":
    sys.exit(run_main(main, sys.argv[1:]))
