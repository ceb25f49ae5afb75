"""Pre-train a base: a small latent diffusion model that has seen many games, for `--base` of Dyna."""

import logging
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from experiments.cli import run_main
from experiments.keywords import REGISTRY
from experiments.terminal import as_typed, make_console
from rl.checks import check_pretrain_settings
from rl.pretrain_settings import PretrainSettings
from worldmodel.errors import UserError

PROGRAM = "python experiments/pretrain.py"


@dataclass(frozen=True, kw_only=True)
class Options(PretrainSettings):
    """Play many games, fit one latent world model to all of them under Ray Train, and keep it as a base.

    The folder that it writes is what --base of experiments/dyna.py takes. The same command again goes on from the last
    checkpoint.
    """

    name: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None
    """the run's folder in --runs-dir, which holds play and checkpoints; None: pretrain-seedSEED"""
    runs_dir: Annotated[Path, tyro.conf.arg(metavar="FOLDER")] = Path("runs")
    """where runs are kept; on a cluster a folder that all machines see"""
    output: Annotated[Path | None, tyro.conf.arg(metavar="FOLDER")] = None
    """where the base goes; None: base in the run's folder"""

    @property
    def settings(self) -> PretrainSettings:
        """The settings alone."""
        return PretrainSettings(**{field.name: getattr(self, field.name) for field in fields(PretrainSettings)})

    @property
    def run_path(self) -> Path:
        """The run's folder."""
        return (self.runs_dir / (self.name or f"pretrain-seed{self.seed}")).absolute()

    @property
    def base_path(self) -> Path:
        """Where the base goes."""
        return (self.output or self.run_path / "base").absolute()


def main(arguments: Sequence[str]) -> int:
    """Pre-train as the command line says. Returns the exit status."""
    began = time.monotonic()
    options = tyro.cli(Options, args=arguments, prog=PROGRAM, registry=REGISTRY)
    check_pretrain_settings(options.settings)
    if options.base_path.exists():
        raise UserError(f"{options.base_path} is there already; give --output another folder.")
    console = make_console()
    console.print(
        f"{len(options.play.games)} games into {options.base_path}; Ctrl-C stops, the same command goes on.",
        soft_wrap=True,
        markup=False,
    )
    _run(options, console, as_typed(PROGRAM, arguments), began)
    return 0


def _run(options: Options, console: Console, command: str, began: float) -> None:
    # Imported here, because they take seconds: the first line and the errors above come at once.
    from experiments.base_page import write_base_page
    from experiments.cluster import ray_cluster
    from experiments.pretrain_watch import watched
    from experiments.progress import ConsoleProgress

    settings, play = options.settings, options.run_path / "play"
    console.print("starting Ray")
    with ray_cluster(settings.cluster) as addresses:
        from rl.pretrain_board import BoardActor
        from rl.pretrain_play import gather
        from rl.pretrainer import pretrain

        logging.getLogger("ray.train").setLevel(logging.ERROR)
        for line in addresses.lines:
            console.print(line, highlight=False)
        progress = ConsoleProgress(console)
        gather(settings.play, settings.model.frame_size, settings.seed, play, progress)
        board = BoardActor.remote()
        with watched(board, progress, options.run_path / "tensorboard"):
            base = pretrain(settings, play, options.run_path / "train", board)
        unfinished = options.base_path.with_name(f"{options.base_path.name}.tmp")
        shutil.rmtree(unfinished, ignore_errors=True)
        shutil.copytree(base, unfinished)
    write_base_page(unfinished, options.base_path.name, settings, command, time.monotonic() - began)
    unfinished.rename(options.base_path)
    console.print(
        f"{time.monotonic() - began:.0f} s in all\nFor Dyna: --base {options.base_path}",
        highlight=False,
        soft_wrap=True,
    )


if __name__ == "__main__":
    sys.exit(run_main(main, sys.argv[1:]))
