"""The file of a benchmark.

docs/results/benchmark_<device>.json
machine, device
origins       by part: the command, the commit, and what the device did at most
games, buffer, training, pictures, imagination, paths, agents, round, judging, precision
              what was measured; see the classes of these parts
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from experiments.recorded import read_record
from experiments.speed.agent import Learned
from experiments.speed.imagination import Imagined
from experiments.speed.judging import Judged
from experiments.speed.paths import Ablated
from experiments.speed.pictures import Pictured
from experiments.speed.precision import Strayed
from experiments.speed.real import Buffered
from experiments.speed.roofline import Roofline
from experiments.speed.timing import Rate
from experiments.speed.training import Trained


@dataclass(frozen=True)
class Origin:
    """Where a part's figures come from: parts may be measured by other commands, at other hours.

    Attributes:
        command: What measured them.
        commit: Of the code.
        roofline: What the device did at most in that hour; their limits are by it.
        memory_mb: The most memory that the benchmark held meanwhile, with the processes of the part; None in old files.
    """

    command: str
    commit: str
    roofline: Roofline
    memory_mb: float | None = None


@dataclass(frozen=True)
class Benchmark:
    """All that was measured on one machine.

    Attributes:
        machine: What it was measured on.
        device: "cpu" or "cuda".
        origins: Where each part comes from.
        games: Real steps a second, by game.
        buffer: How fast the buffer is.
        training: How fast world models learn.
        pictures: How fast an autoencoder learns.
        imagination: How fast dreams are.
        paths: How fast dreams are without each fast path.
        agents: How fast agents learn in dreams that cost nothing.
        round: Seconds of a small round, by phase.
        judging: How long small rounds take where agents are judged beside the learning, and where they are not.
        precision: How far dreams in a faster arithmetic stray.
    """

    machine: dict[str, Any]
    device: str
    origins: dict[str, Origin] = field(default_factory=dict)
    games: dict[str, Rate] = field(default_factory=dict)
    buffer: Buffered | None = None
    training: tuple[Trained, ...] = ()
    pictures: Pictured | None = None
    imagination: tuple[Imagined, ...] = ()
    paths: tuple[Ablated, ...] = ()
    agents: tuple[Learned, ...] = ()
    round: dict[str, float] = field(default_factory=dict)
    judging: tuple[Judged, ...] = ()
    precision: Strayed | None = None


def read_benchmark(path: Path) -> Benchmark:
    """Read a file of a benchmark.

    Raises:
        UserError: If it is damaged or missing.
    """
    return read_record(Benchmark, path, "benchmark")
