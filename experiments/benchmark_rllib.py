"""RLlib's share of an imagined step: imagination PPO beside a bare torch loop, on dreams that cost nothing."""

import os
import platform
import shlex
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import ray
import torch
import tyro
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from rich.console import Console
from rich.table import Table

from experiments.bare_ppo import BarePPO, ModuleAgent
from experiments.fake_dreams import FakeDreams, TinyModule, tiny_module
from experiments.ppo import PPOConfig
from rl.imagination import ImaginationPPO, ImaginationPPOConfig
from worldmodel.files import write_json

SHAPES = ((16, 16, 3), (64, 64, 3), (64, 64, 12))
"""observations measured: small frames, whole frames, and four of those stacked"""


@dataclass(frozen=True)
class BenchmarkSettings:
    """How RLlib's share is measured: one epoch on each rollout, both sides in turns in one process."""

    dreams: int = 256
    """dreams at a time"""
    rollout: int = 16
    """steps of every dream between updates"""
    minibatch: int = 1024
    """samples a minibatch"""
    repeats: int = 60
    """rollouts measured a side, after a few to warm up"""
    threads: int = 1
    """torch threads"""
    output: Path | None = Path("docs/results/rllib_share.json")
    """where the numbers go; None: nowhere"""


@dataclass(frozen=True)
class Share:
    """Microseconds per imagined step, all of it: play, advantages and update; medians over the rollouts.

    Attributes:
        shape: Of an observation.
        rllib: Imagination PPO.
        bare: The same in plain torch.
        ratio: `rllib / bare`.
        added: `rllib - bare`.
    """

    shape: tuple[int, int, int]
    rllib: float
    bare: float
    ratio: float
    added: float


def main(settings: BenchmarkSettings) -> None:
    """Measure, print the table, write the JSON."""
    torch.set_num_threads(settings.threads)
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    ray.init(num_cpus=1, include_dashboard=False, object_store_memory=100_000_000, log_to_driver=False)
    shares = [measure(shape, settings) for shape in SHAPES]
    ray.shutdown()
    Console().print(as_table(shares))
    if settings.output:
        settings.output.parent.mkdir(parents=True, exist_ok=True)
        write_json(settings.output, as_record(shares, settings))


def measure(shape: tuple[int, int, int], settings: BenchmarkSettings) -> Share:
    """Both sides on observations of `shape` (height, width, channels), rollout by rollout in turn."""
    algorithm = build_rllib(shape, settings)
    dreams = FakeDreams(settings.dreams, shape=shape)
    config = PPOConfig(rollout=settings.rollout, minibatch=settings.minibatch, epochs=1)
    bare = BarePPO(dreams, ModuleAgent(tiny_module(dreams)), config)
    sides: tuple[Callable[[], int], ...] = (lambda: algorithm.imagine().steps, bare.imagine)
    for side in 5 * sides:
        side()
    times = [[microseconds_per_step(side) for side in sides] for _ in range(settings.repeats)]
    algorithm.stop()
    rllib_time, bare_time = (statistics.median(column) for column in zip(*times, strict=True))
    return Share(shape, rllib_time, bare_time, rllib_time / bare_time, rllib_time - bare_time)


def microseconds_per_step(imagine: Callable[[], int]) -> float:
    """How long a rollout with its update takes, for each of its steps."""
    begun = time.perf_counter()
    steps = imagine()
    return 1e6 * (time.perf_counter() - begun) / steps


def build_rllib(shape: tuple[int, int, int], settings: BenchmarkSettings) -> ImaginationPPO:
    """Imagination PPO in the fake dreams."""
    config = (
        ImaginationPPOConfig()
        .environment("experiments.fake_dreams:FakeDreams-v0", env_config={"shape": shape})
        .imagination(dreams=settings.dreams, rollout=settings.rollout)
        .training(num_epochs=1, minibatch_size=settings.minibatch)
        .rl_module(rl_module_spec=RLModuleSpec(module_class=TinyModule))
    )
    return cast(ImaginationPPO, config.build_algo())


def as_table(shares: list[Share]) -> Table:
    """What a person reads."""
    table = Table("observation", "RLlib, µs/step", "bare torch, µs/step", "ratio", "added, µs/step")
    for share in shares:
        size = "x".join(map(str, share.shape))
        table.add_row(size, *(f"{x:.2f}" for x in (share.rllib, share.bare, share.ratio, share.added)))
    return table


def as_record(shares: list[Share], settings: BenchmarkSettings) -> dict[str, Any]:
    """What is kept: the numbers, the command and the machine."""
    return {
        "command": shlex.join(["python", *sys.argv]),
        "machine": machine(),
        "settings": asdict(settings) | {"output": str(settings.output)},
        "microseconds_per_step": [asdict(share) for share in shares],
    }


def machine() -> dict[str, Any]:
    """What the numbers were measured on."""
    cpu_info = Path("/proc/cpuinfo")
    names = [line for line in cpu_info.read_text().splitlines() if "model name" in line] if cpu_info.exists() else []
    return {
        "cpu": names[0].split(": ")[1] if names else platform.processor(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "ray": ray.__version__,
    }


if __name__ == "__main__":
    main(tyro.cli(BenchmarkSettings, description=__doc__))
