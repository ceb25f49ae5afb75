"""Train an expert in the real game, for runs of Dyna to collect its play."""

import logging
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from experiments.cli import run_main
from experiments.keywords import REGISTRY
from experiments.stopping import STOPPED
from experiments.terminal import make_console
from rl.checks import check_expert_settings
from rl.settings import ExpertSettings
from worldmodel.errors import UserError

PROGRAM = "python experiments/expert.py"


@dataclass(frozen=True, kw_only=True)
class Options(ExpertSettings):
    """Train RLlib's PPO in the real game within a budget of real steps, judge it, and keep its policy.

    The folder that it writes is what --collect.expert-policy of experiments/dyna.py takes.
    """

    output: Annotated[Path | None, tyro.conf.arg(metavar="FOLDER")] = None
    """where the policy goes; None: runs/expert-GAME-seedSEED"""

    @property
    def folder(self) -> Path:
        """Where the policy goes."""
        game = self.game.id.replace("/", "-").replace(":", "-")
        return (self.output or Path("runs") / f"expert-{game}-seed{self.seed}").absolute()


def main(arguments: Sequence[str]) -> int:
    """Train an expert as the command line says. Returns the exit status."""
    began = time.monotonic()
    options = tyro.cli(Options, args=arguments, prog=PROGRAM, registry=REGISTRY)
    check_expert_settings(options)
    _check_free(options.folder)
    console = make_console()
    console.print(
        f"{options.game.id}: {options.steps:,} real steps at most, into {options.folder}", soft_wrap=True, markup=False
    )
    try:
        _run(options, console)
    except KeyboardInterrupt:
        console.print("\nStopped; nothing was kept.")
        return STOPPED
    console.print(f"{time.monotonic() - began:.0f} s in all", highlight=False)
    return 0


def _check_free(folder: Path) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} is there already; give --output another folder.")


def _run(options: Options, console: Console) -> None:
    # Imported here, because they take seconds: the first line and the errors above come at once.
    from envs import make_real
    from experiments.cluster import ONE_PROCESS, ray_cluster
    from experiments.progress import ConsoleProgress
    from rl.policies import save_policy

    make_real(options.game.id, 1, frame_size=options.frame_size, **options.game.options).close()
    console.print("starting Ray")
    with ray_cluster(ONE_PROCESS, options.game.id):
        from rl.expert import judge_expert, train_expert

        logging.getLogger("ray.rllib").setLevel(logging.ERROR)
        progress = ConsoleProgress(console)
        expert = train_expert(options, progress)
        judged = judge_expert(options, expert, progress)
        save_policy(options.folder, expert)
    low, high = judged.interval
    console.print(
        f"real return {judged.mean:.1f} ({low:.1f} to {high:.1f}) in {len(judged.returns)} games\n"
        f"{expert.real_steps:,} real steps trained the expert; {judged.steps:,} more were played to judge it.\n"
        f"For Dyna: --collect.expert 0.25 --collect.expert-policy {options.folder}",
        highlight=False,
        soft_wrap=True,
    )


if __name__ == "__main__":
    sys.exit(run_main(main, sys.argv[1:]))
