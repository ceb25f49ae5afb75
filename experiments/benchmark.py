"""How fast everything is: real play, buffer, training, dreams, agents, a whole round, beside plain ways and limits."""

import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Literal, TypeAlias, get_args

import torch
import tyro

from experiments.cli import run_main
from experiments.cluster import ONE_PROCESS, ray_cluster
from experiments.progress import ConsoleProgress
from experiments.provenance import commit, hardware
from experiments.speed.agent import MODULES, SHAPES, Learned, measure_agents
from experiments.speed.imagination import ImaginationSettings, measure_imagination
from experiments.speed.judging import LEARNING, Judged, measure_judging
from experiments.speed.memory import MemoryWatch
from experiments.speed.paths import MEASURED, Ablated, measure_paths
from experiments.speed.pictures import measure_pictures
from experiments.speed.precision import measure_precision, open_playable
from experiments.speed.real import GAMES, measure_buffer, measure_games, write_noise
from experiments.speed.record import Benchmark, Origin, read_benchmark
from experiments.speed.roofline import Roofline, measure_roofline
from experiments.speed.tables import tables
from experiments.speed.training import Trained, measure_training
from experiments.speed.whole_round import measure_round
from experiments.terminal import as_typed, make_console
from worldmodel.bounds import check_bounds
from worldmodel.data.reader import BufferReader
from worldmodel.errors import UserError
from worldmodel.families import FAMILIES, Family
from worldmodel.files import write_json

PROGRAM = "python experiments/benchmark.py"
Part = Literal[
    "games", "buffer", "training", "pictures", "latent", "pixel", "paths", "agents", "round", "judging", "precision"
]
PARTS: tuple[Part, ...] = get_args(Part)


@dataclass(frozen=True)
class Options:
    """Measure how fast everything is on this machine, and print it beside plain ways and the device's own limit.

    Nothing else should run meanwhile. All that is finished is written at once.
    """

    parts: tuple[Part, ...] = PARTS
    """what is measured (agents and judging: on a CPU alone); the others stay, if the file is of this machine"""
    world_model: Annotated[Path | None, tyro.conf.arg(metavar="FOLDER")] = None
    """a trained world model, for how far its dreams stray in a faster arithmetic; None: that is left out"""
    seconds: float = 8.0
    """how long each way is measured, about"""
    threads: int | None = None
    """torch threads; None: one a CPU core"""
    device: Literal["cpu", "cuda"] = "cuda" if torch.cuda.is_available() else "cpu"
    """where it is measured"""
    imagination: ImaginationSettings = field(default_factory=ImaginationSettings)
    output: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """the JSON file of the numbers; None: docs/results/benchmark_DEVICE.json in this folder"""

    @property
    def path(self) -> Path:
        """The file of the numbers."""
        return (self.output or Path("docs/results") / f"benchmark_{self.device}.json").absolute()

    def size(self, part: Part) -> int:
        """How many measurements a part has at most."""
        dreams = self.imagination
        sizes = {
            "games": len(GAMES),
            "training": len(FAMILIES),
            "latent": len(dreams.latent_calls) * len(dreams.numbers),
            "pixel": len(dreams.pixel_calls) * len(dreams.numbers),
            "paths": len(MEASURED),
            "agents": len(MODULES) * len(SHAPES),
            "judging": len(LEARNING),
        }
        return sizes.get(part, 1)


Measure: TypeAlias = Callable[[Options, Benchmark, Roofline], Iterator[Benchmark]]


def main(arguments: Sequence[str]) -> int:
    """Measure as the command line says. Returns the exit status."""
    options = tyro.cli(Options, args=arguments, prog=PROGRAM, description=Options.__doc__)
    _check(options)
    if options.threads:
        torch.set_num_threads(options.threads)
    console = make_console()
    options.path.parent.mkdir(parents=True, exist_ok=True)
    benchmark = _begun(options)
    origin = _origin(options, as_typed(PROGRAM, arguments))
    for part in options.parts:
        with ConsoleProgress(console).phase(part, options.size(part)) as advance, MemoryWatch() as memory:
            for grown in MEASURES[part](options, benchmark, origin.roofline):
                benchmark = replace(grown, origins={**grown.origins, part: replace(origin, memory_mb=memory.peak_mb)})
                write_json(options.path, asdict(benchmark))
                advance(1)
    for table in tables(benchmark):
        console.print()
        console.print(table)
    if "precision" in options.parts and not options.world_model:
        console.print("precision was left out: it needs --world-model FOLDER", highlight=False)
    console.print(options.path, highlight=False, soft_wrap=True)
    return 0


def _check(options: Options) -> None:
    """Refuse what cannot be measured, before anything is.

    Raises:
        UserError: Naming the option and what it may be.
    """
    check_bounds(options)
    if options.device == "cuda" and not torch.cuda.is_available():
        raise UserError("this machine has no GPU that torch can use: leave out --device cuda.")
    if options.world_model:
        open_playable(options.world_model)
    elif "precision" in options.parts and options.parts != PARTS:
        raise UserError("the part precision needs a trained world model: give one by --world-model FOLDER.")


def _begun(options: Options) -> Benchmark:
    """What the file has of this machine already."""
    fresh = Benchmark(hardware() | {"threads": torch.get_num_threads()}, options.device)
    if not options.path.exists():
        return fresh
    there = read_benchmark(options.path)
    return there if (there.machine, there.device) == (fresh.machine, fresh.device) else fresh


def _origin(options: Options, command: str) -> Origin:
    return Origin(command, commit(), measure_roofline(options.device, options.seconds / 4))


def _games(options: Options, so_far: Benchmark, roofline: Roofline) -> Iterator[Benchmark]:
    games = {}
    for game, rate in measure_games(options.seconds):
        games[game] = rate
        yield replace(so_far, games=games)


def _buffer(options: Options, so_far: Benchmark, roofline: Roofline) -> Iterator[Benchmark]:
    with tempfile.TemporaryDirectory() as folder:
        yield replace(so_far, buffer=measure_buffer(Path(folder), options.seconds))


def _training(options: Options, so_far: Benchmark, roofline: Roofline) -> Iterator[Benchmark]:
    trained: tuple[Trained, ...] = ()
    with tempfile.TemporaryDirectory() as folder:
        write_noise(Path(folder))
        for family in FAMILIES:
            reader = BufferReader(folder)
            measured = measure_training(family, reader, Path(folder), options.seconds, options.device, roofline)
            trained = (*trained, measured)
            yield replace(so_far, training=trained)


def _pictures(options: Options, so_far: Benchmark, roofline: Roofline) -> Iterator[Benchmark]:
    with tempfile.TemporaryDirectory() as folder:
        write_noise(Path(folder))
        measured = measure_pictures(BufferReader(folder), Path(folder), options.seconds, options.device)
        yield replace(so_far, pictures=measured)


def _dreams(family: Family) -> Measure:
    def measure(options: Options, so_far: Benchmark, roofline: Roofline) -> Iterator[Benchmark]:
        dreams = tuple(dreamed for dreamed in so_far.imagination if dreamed.family != family)
        found = measure_imagination(options.imagination, family, options.seconds, options.device, roofline)
        for dreamed in found:
            dreams = (*dreams, dreamed)
            yield replace(so_far, imagination=dreams)

    return measure


def _paths(options: Options, so_far: Benchmark, roofline: Roofline) -> Iterator[Benchmark]:
    paths: tuple[Ablated, ...] = ()
    for ablated in measure_paths(options.seconds, options.device, options.imagination.steps_ahead):
        paths = (*paths, ablated)
        yield replace(so_far, paths=paths)


def _agents(options: Options, so_far: Benchmark, roofline: Roofline) -> Iterator[Benchmark]:
    if options.device == "cuda":
        # They all learn on the CPU, and their figures would be taken for a GPU's.
        return
    agents: tuple[Learned, ...] = ()
    with ray_cluster(ONE_PROCESS):
        for learned in measure_agents(options.seconds):
            agents = (*agents, learned)
            yield replace(so_far, agents=agents)


def _round(options: Options, so_far: Benchmark, roofline: Roofline) -> Iterator[Benchmark]:
    with tempfile.TemporaryDirectory() as folder:
        yield replace(so_far, round=measure_round(Path(folder) / "run", options.threads, options.device))


def _judging(options: Options, so_far: Benchmark, roofline: Roofline) -> Iterator[Benchmark]:
    if options.device == "cuda":
        return
    judging: tuple[Judged, ...] = ()
    with tempfile.TemporaryDirectory() as folder:
        for judged in measure_judging(Path(folder)):
            judging = (*judging, judged)
            yield replace(so_far, judging=judging)


def _precision(options: Options, so_far: Benchmark, roofline: Roofline) -> Iterator[Benchmark]:
    if options.world_model:
        yield replace(so_far, precision=measure_precision(options.world_model, options.device))


MEASURES: dict[Part, Measure] = {
    "games": _games,
    "buffer": _buffer,
    "training": _training,
    "pictures": _pictures,
    "latent": _dreams("latent"),
    "pixel": _dreams("pixel"),
    "paths": _paths,
    "agents": _agents,
    "round": _round,
    "judging": _judging,
    "precision": _precision,
}
"""What measures each part: the benchmark with that part, again and again as it grows."""


if __name__ == "__main__":
    sys.exit(run_main(main, sys.argv[1:]))
