"""What each fast path of a dream is worth: how fast dreams are without it, all others left as they are."""

from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass

from torch import nn

from experiments.speed.imagination import SEES, build_model, fused, make_runner, rollout_of, turn_of
from experiments.speed.timing import Rate, in_turns
from rl.imagination_runner import ImaginationEnvRunner
from worldmodel.autotune import Backend, Chunked, Network
from worldmodel.base import WorldModel
from worldmodel.families import Family
from worldmodel.spaces import Observation

ALL = "nothing"
"""left out: the whole fast way"""
MEASURED: tuple[tuple[Family, int, int], ...] = (("latent", 2, 64), ("latent", 2, 1024), ("pixel", 3, 32))
"""families, their network calls a frame, and dreams at a time"""


@dataclass(frozen=True)
class Ablated:
    """How fast a family dreams when one fast path is left out.

    Attributes:
        family: The family of world models.
        calls: Network calls a frame.
        dreams: Dreams at a time.
        rates: Imagined steps a second, by what is left out; only what the fast way does on this device.
    """

    family: Family
    calls: int
    dreams: int
    rates: dict[str, Rate]

    def worth(self, path: str) -> float:
        """How many times as fast all paths are as all but this one."""
        return self.rates[ALL].per_second / self.rates[path].per_second


def measure_paths(seconds: float, device: str, steps_ahead: int) -> Iterator[Ablated]:
    """Every family, with each path left out in turn; as if so many imagined steps were to come."""
    for family, calls, dreams in MEASURED:
        yield measure_without(family, calls, dreams, seconds, device, steps_ahead)


def measure_without(family: Family, calls: int, dreams: int, seconds: float, device: str, steps_ahead: int) -> Ablated:
    """One family, as `measure_paths`."""
    model = build_model(family, calls).to(device).eval()
    ours = make_runner(fused(model), dreams, SEES[family], steps_ahead // dreams, device)
    ours.imagine(1)
    length = rollout_of(family, device)
    runners = {ALL: ours} | dict(_without(model, ours, family, dreams, device))
    rates = in_turns(
        {name: turn_of(runner.imagine, length, dreams) for name, runner in runners.items()}, seconds, device
    )
    return Ablated(family, calls, dreams, rates)


def _without(
    model: WorldModel, ours: ImaginationEnvRunner, family: Family, dreams: int, device: str
) -> Iterator[tuple[str, ImaginationEnvRunner]]:
    tuned = ours.dreams.world_model
    chosen = [tuned.backend_of(network) for network in tuned.networks]

    def runner(dreamt: WorldModel, seen: Observation, backends: Sequence[Network]) -> ImaginationEnvRunner:
        made = make_runner(dreamt, dreams, seen, 0, device)
        networks = made.dreams.world_model.networks
        alike = [_alike(backend, network) for backend, network in zip(backends, networks, strict=True)]
        made.dreams.world_model.use_backends(alike)
        return made

    if any(isinstance(backend, Backend | Chunked) for backend in chosen):
        yield "backends", runner(fused(model), SEES[family], tuned.networks)
    if any(isinstance(backend, Chunked) for backend in chosen):
        yield "chunks", runner(fused(model), SEES[family], [_whole(backend) for backend in chosen])
    if family == "latent":
        yield "adapter worked in", runner(deepcopy(model), SEES[family], chosen)
        yield "agent on latents", runner(fused(model), "frames", chosen)


def _alike(backend: Network, network: nn.Module) -> Network:
    """The same kind of backend for another network; a network stands for none."""
    if isinstance(backend, Chunked):
        return Chunked(_alike(backend.backend, network), backend.parts)
    return type(backend)(network) if isinstance(backend, Backend) else network


def _whole(backend: Network) -> Network:
    return backend.backend if isinstance(backend, Chunked) else backend
