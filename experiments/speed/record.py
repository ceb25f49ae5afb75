"""The file of a benchmark.

docs/results/benchmark_<device>.json
command, commit, machine, device
roofline      what the device does at most
games, buffer, training, imagination, agents, round, precision
              what was measured; see the classes of these parts
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from experiments.speed.agent import Learned
from experiments.speed.imagination import Imagined
from experiments.speed.precision import Strayed
from experiments.speed.real import Buffered
from experiments.speed.roofline import Roofline
from experiments.speed.timing import Rate
from experiments.speed.training import Trained
from worldmodel.plain import from_plain


@dataclass(frozen=True)
class Benchmark:
    """All that was measured on one machine.

    Attributes:
        command: What measured it.
        commit: Of the code.
        machine: What it was measured on.
        device: "cpu" or "cuda".
        roofline: What the device does at most.
        games: Real steps a second, by game.
        buffer: How fast the buffer is.
        training: How fast world models learn.
        imagination: How fast dreams are.
        agents: How fast agents learn in dreams that cost nothing.
        round: Seconds of a small round, by phase.
        precision: How far dreams in a faster arithmetic stray.
    """

    command: str
    commit: str
    machine: dict[str, Any]
    device: str
    roofline: Roofline
    games: dict[str, Rate] = field(default_factory=dict)
    buffer: Buffered | None = None
    training: tuple[Trained, ...] = ()
    imagination: tuple[Imagined, ...] = ()
    agents: tuple[Learned, ...] = ()
    round: dict[str, float] = field(default_factory=dict)
    precision: Strayed | None = None


def read_benchmark(path: Path) -> Benchmark:
    """Read a file of a benchmark."""
    return from_plain(Benchmark, json.loads(path.read_text()), str(path))
