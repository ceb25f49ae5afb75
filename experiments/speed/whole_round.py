"""A whole round of Dyna, phase by phase."""

from dataclasses import replace
from pathlib import Path

from rich.console import Console

from experiments.dyna import train_run
from experiments.presets import cartpole, smoke
from rl.run_folder import RunFolder


def measure_round(folder: Path) -> dict[str, float]:
    """Seconds by phase of one round of CartPole, cut as `--smoke` cuts it, from nothing."""
    run = RunFolder(folder, replace(smoke(cartpole()), rounds=1))
    train_run(run, Console(quiet=True))
    (report,) = run.reports()
    return dict(report.seconds)
