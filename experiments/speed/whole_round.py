"""A whole round of Dyna, phase by phase."""

from dataclasses import replace
from pathlib import Path

from rich.console import Console

from experiments.dyna import train_run
from experiments.presets import cartpole, smoke
from rl.run_folder import RunFolder
from rl.settings import ClusterSettings


def measure_round(folder: Path, threads: int | None, device: str) -> dict[str, float]:
    """Seconds by phase of one round of CartPole, cut as `--smoke` cuts it, from nothing."""
    gpus = 0.0 if device == "cpu" else None
    cluster = ClusterSettings(threads=threads, learner_gpus=gpus, agent_gpus=gpus)
    run = RunFolder(folder, replace(smoke(cartpole()), rounds=1, cluster=cluster))
    train_run(run, Console(quiet=True))
    (report,) = run.reports()
    return dict(report.seconds)
