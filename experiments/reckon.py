"""What it takes to fit a world model on a base of Stable Diffusion's real size: memory reckoned, and measured."""

import math
import sys
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from multiprocessing import get_context
from pathlib import Path
from resource import RUSAGE_SELF, getrusage
from typing import Any, Literal

import torch
import tyro
from rich.table import Table
from torch import Tensor, nn

from experiments.cli import run_main
from experiments.layouts import LAYOUTS, LayoutName
from experiments.peak_memory import PeakMemory
from experiments.provenance import hardware
from experiments.terminal import as_typed, make_console
from worldmodel.data.segment import Segment
from worldmodel.errors import UserError
from worldmodel.files import write_json
from worldmodel.fitting import FitConfig, OptimizerName
from worldmodel.latent.adapter import recompute_activations
from worldmodel.latent.config import AdapterConfig, BaseConfig, LatentConfig
from worldmodel.latent.model import LatentWorldModel
from worldmodel.optimization import Optimization
from worldmodel.plain import to_plain
from worldmodel.spaces import ActionSpec

PROGRAM = "python experiments/reckon.py"
_GB = 1e9
_BLOCK = 256
_SMALLEST_IN_8_BIT = 4096


@dataclass(frozen=True)
class Backend:
    """A way to fit the dynamics."""

    name: str
    fit: FitConfig
    dtype: Literal["float32", "bfloat16"] = "float32"


WAYS = (
    Backend("LoRA", FitConfig()),
    Backend("LoRA, checkpointing", FitConfig(checkpointing=True)),
    Backend("LoRA, checkpointing, bfloat16 base", FitConfig(checkpointing=True), "bfloat16"),
    Backend("full, checkpointing", FitConfig(full=True, checkpointing=True)),
    Backend("full, checkpointing, adamw8bit", FitConfig(full=True, checkpointing=True, optimizer="adamw8bit")),
    Backend("full, checkpointing, adafactor", FitConfig(full=True, checkpointing=True, optimizer="adafactor")),
)


@dataclass(frozen=True)
class ReckonSettings:
    """Bytes by part for each way to fit; nothing is downloaded, and without --measure nothing is computed."""

    layout: LayoutName = "sd2.1"
    """the base"""
    frame_size: int = 64
    """height and width of a frame, pixels"""
    context: int = 4
    """frames that the model is shown"""
    batch_size: int = 8
    """windows in the batch, or in a part of it (fit.accumulate)"""
    unroll: int = 1
    """frames predicted from each window"""
    adapter: AdapterConfig = field(default_factory=AdapterConfig)
    measure: tuple[int, ...] = ()
    """rows of the table to carry out as well, on random weights, on the CPU: a number each, from 1"""
    record: Path | None = None
    """write the numbers to this JSON file"""


@dataclass(frozen=True)
class Needs:
    """Bytes while the dynamics are fitted, and how many numbers are trained.

    Attributes:
        trained: Numbers.
        frozen: Numbers.
        weights: Of U-Net, autoencoder and head.
        average: The averaged copy of what is trained.
        optimizer: What the optimiser keeps.
        gradients: Of what is trained.
        activations: The rest of an update at its peak: at most, for in float32 and with whole attention matrices.
        total: All of it.
    """

    trained: int
    frozen: int
    weights: int
    average: int
    optimizer: int
    gradients: int
    activations: int

    @property
    def total(self) -> int:
        """All bytes together."""
        return self.weights + self.average + self.optimizer + self.gradients + self.activations


@dataclass(frozen=True)
class Measured:
    """One real update.

    Attributes:
        seconds: It took, the one before it left out.
        peak: Bytes of the process at their most, torch's own and the making of the weights included.
    """

    seconds: float
    peak: int


def main(arguments: Sequence[str]) -> int:
    """Reckon, measure, print the table, write the JSON. Returns the exit status."""
    settings = tyro.cli(ReckonSettings, args=arguments, prog=PROGRAM, description=__doc__)
    if not all(0 < row <= len(WAYS) for row in settings.measure):
        raise UserError(f"--measure takes rows of the table, 1 to {len(WAYS)}, not {settings.measure}.")
    needs = [reckon(way, settings) for way in WAYS]
    measured = {row: measure(WAYS[row - 1], settings) for row in settings.measure}
    make_console().print(as_table(settings, needs, measured))
    if settings.record:
        settings.record.parent.mkdir(parents=True, exist_ok=True)
        write_json(settings.record, as_record(settings, needs, measured, as_typed(PROGRAM, arguments)))
    return 0


def reckon(way: Backend, settings: ReckonSettings) -> Needs:
    """What one update takes, found by going through it with tensors that have no data."""
    with torch.device("meta"):
        model = _model(way, settings)
    trained = _trained(model)
    gradients, count = _bytes(trained), sum(parameter.numel() for parameter in trained)
    return Needs(
        trained=count,
        frozen=sum(parameter.numel() for parameter in model.parameters()) - count,
        weights=_bytes([*model.parameters(), *model.buffers()]),
        average=gradients,
        optimizer=sum(optimizer_bytes(way.fit.optimizer, parameter.shape) for parameter in trained),
        gradients=gradients,
        activations=activation_bytes(way, settings),
    )


def activation_bytes(way: Backend, settings: ReckonSettings) -> int:
    """What an update needs at its peak beside weights and gradients; in float32, which is all that "meta" knows."""
    with torch.device("meta"):
        model = _model(replace(way, dtype="float32"), settings)
        windows = _windows(settings, model)
    with PeakMemory([*model.parameters(), *model.buffers(), *windows.tensors().values()]) as memory:
        loss = _loss(model, windows)
        forward = memory.peak
        loss.backward()
    return max(forward, memory.peak - _bytes(_trained(model)))


def optimizer_bytes(name: OptimizerName, shape: Sequence[int]) -> int:
    """What the optimiser keeps of a parameter of this shape."""
    count = math.prod(shape)
    if name == "adafactor":
        return 4 * (count // shape[-1] + count // shape[-2] if len(shape) > 1 else count)
    if name == "adamw8bit" and count >= _SMALLEST_IN_8_BIT:
        # A scale for every block of both moments (Dettmers et al., 2022).
        return 2 * (count + 4 * math.ceil(count / _BLOCK))
    return 8 * count


def measure(way: Backend, settings: ReckonSettings) -> Measured:
    """Two real updates, of which the second is timed, on random weights, in a process of their own."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        return process.submit(_measure, way, settings).result()


def _measure(way: Backend, settings: ReckonSettings) -> Measured:
    model = _model(way, settings)
    windows, trained = _windows(settings, model), _trained(model)
    optimization = Optimization(trained, 1e-5, 2, way.fit, torch.device("cpu"))
    for _ in range(2):
        began = time.perf_counter()
        optimization.zero_grad()
        optimization.backward(_loss(model, windows))
        optimization.clip_grad_norm()
        optimization.step()
    return Measured(time.perf_counter() - began, 1024 * getrusage(RUSAGE_SELF).ru_maxrss)


def _model(way: Backend, settings: ReckonSettings) -> LatentWorldModel:
    config = LatentConfig(
        base=BaseConfig(dtype=way.dtype),
        frame_size=settings.frame_size,
        context=settings.context,
        residual=False,
        adapter=settings.adapter,
    )
    model = LatentWorldModel(config, ActionSpec.discrete(4), LAYOUTS[settings.layout].build())
    model.autoencoder.requires_grad_(False)
    if not way.fit.full:
        model.adapt()
    recompute_activations(model.denoiser, way.fit.checkpointing)
    return model.train()


def _trained(model: LatentWorldModel) -> list[nn.Parameter]:
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def _windows(settings: ReckonSettings, model: LatentWorldModel) -> Segment:
    batch, steps = settings.batch_size, settings.context + settings.unroll - 1
    return Segment(
        frames=torch.empty(0),
        actions=torch.zeros(batch, steps, dtype=torch.int64),
        rewards=torch.zeros(batch, steps),
        terminated=torch.zeros(batch, steps, dtype=torch.bool),
        truncated=torch.zeros(batch, steps, dtype=torch.bool),
        mask=torch.ones(batch, steps + 1, dtype=torch.bool),
        context=settings.context,
        latents=torch.randn(batch, steps + 1, *model.latent_shape),
    )


def _loss(model: LatentWorldModel, windows: Segment) -> Tensor:
    return torch.stack(list(model.losses(windows).values())).sum()


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.nbytes for tensor in tensors)


def as_table(settings: ReckonSettings, needs: list[Needs], measured: dict[int, Measured]) -> Table:
    """What a person reads."""
    table = Table(
        "", "way", "trained (M)", "weights", "average", "optimiser", "gradients", "activations", "all (GB)", "measured",
        title=f"{settings.layout}, {settings.frame_size} x {settings.frame_size} pixels, batch {settings.batch_size}",
    )  # fmt: skip
    for row, (way, need) in enumerate(zip(WAYS, needs, strict=True), 1):
        parts = (need.weights, need.average, need.optimizer, need.gradients, need.activations, need.total)
        found = measured.get(row)
        told = f"{found.peak / _GB:.1f} GB, {found.seconds:.1f} s" if found else ""
        numbers = [f"{part / _GB:.2f}" for part in parts]
        table.add_row(str(row), way.name, f"{need.trained / 1e6:.1f}", *numbers, told)
    return table


def as_record(
    settings: ReckonSettings, needs: list[Needs], measured: dict[int, Measured], command: str
) -> dict[str, Any]:
    """What is kept: the numbers, the command and the machine."""
    rows = [
        {"way": way.name} | asdict(need) | {"total": need.total}
        | ({"measured": asdict(measured[row])} if row in measured else {})
        for row, (way, need) in enumerate(zip(WAYS, needs, strict=True), 1)
    ]  # fmt: skip
    return {
        "command": command,
        "machine": hardware(),
        "settings": to_plain(settings),
        "bytes": rows,
    }


if __name__ == "__main__":
    sys.exit(run_main(main, sys.argv[1:]))
