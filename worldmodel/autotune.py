"""Backends for networks: the fastest on this machine, found by trying."""

import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from math import inf
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from worldmodel.errors import in_short

Network = Callable[..., Any]
Batch = TypeVar("Batch")

WORTH_TUNING = 10.0
"""seconds of plain work from which on backends are tried"""
WORTH_COMPILING = {"cpu": 300.0, "cuda": 60.0}
"""seconds of plain work from which on one is compiled: on two cores that takes minutes, the first time, on a GPU one"""
_SMALLEST_PART = 16
"""pictures in a part of a batch, at least: smaller ones do not keep a device busy"""
_SHAPES = 64
"""batches of other sizes that a network may be compiled for"""
_TRIES = 3
_GAIN = 0.9
"""share of the plain network's time that a backend may take at most: less gain is not worth its rounding"""


@cache
def computes_bf16(device: torch.device) -> bool:
    """Whether the device has instructions of its own for bfloat16; without them it is far slower than float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    # Older releases of torch cannot tell.
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return any(capabilities.get(name, False) for name in ("avx512_bf16", "bf16"))


class Backend:
    """Computes a network. The weights stay the network's own, and in float32."""

    def __init__(self, network: nn.Module) -> None:
        self.network = network
        self._device = next(network.parameters()).device
        self.apply_layout()

    def __call__(self, *arguments: Any) -> Any:
        """The network's output."""
        return self.network(*arguments)

    def apply_layout(self) -> None:
        """Lay the weights out for speed."""

    def restore_layout(self) -> None:
        """Lay the weights out as they were."""


class ChannelsLast(Backend):
    """Computes it with convolutions' weights channels last, between `apply_layout` and `restore_layout`."""

    def apply_layout(self) -> None:
        """Lay the weights out for speed."""
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def restore_layout(self) -> None:
        """Lay the weights out as they were."""
        self.network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]


class Bfloat16(ChannelsLast):
    """The same under autocast to bfloat16, in which matrices are multiplied faster."""

    def __call__(self, *arguments: Any) -> Any:
        """The network's output."""
        with torch.autocast(self._device.type, torch.bfloat16):
            return self.network(*arguments)


class Compiled(ChannelsLast):
    """Computes it compiled by Inductor; under autocast to bfloat16 where the device computes that.

    Beside the convolutions the small operations between them gain, by becoming one.
    """

    def __init__(self, network: nn.Module) -> None:
        from torch._dynamo import config  # imports half of torch

        super().__init__(network)
        # Each number of dreams, and each part of them, is compiled by itself; past its limit torch compiles no more,
        # and says nothing.
        config.recompile_limit = max(config.recompile_limit, _SHAPES)
        self._compiled = torch.compile(network, dynamic=False)

    def __call__(self, *arguments: Any) -> Any:
        """The network's output."""
        with torch.autocast(self._device.type, torch.bfloat16, enabled=computes_bf16(self._device)):
            return self._compiled(*arguments)

    def __reduce__(self) -> tuple[type["Compiled"], tuple[nn.Module]]:
        """A copy is compiled anew, when it is called."""
        return Compiled, (self.network,)


class Chunked:
    """Computes a batch part by part: of a smaller part more stays in the caches of a CPU."""

    def __init__(self, backend: Network, parts: int) -> None:
        """Let `backend`, whose arguments and output are tensors, the batch first, compute so many parts."""
        self.backend, self.parts = backend, parts

    def __call__(self, *arguments: Tensor) -> Tensor:
        """The network's output."""
        parts = zip(*(argument.tensor_split(self.parts) for argument in arguments), strict=True)
        return torch.cat([self.backend(*part) for part in parts])


def autotune(
    networks: Sequence[nn.Module], work: Callable[[Sequence[Network]], object], times: int
) -> Sequence[Network]:
    """The networks themselves, or each `Bfloat16` (else `ChannelsLast`) or `Compiled`: whatever does `work` fastest.

    Where bfloat16 has no instructions of its own it is not even tried: one try would take minutes.

    Args:
        networks: Which.
        work: Uses the networks it is given as they will be used.
        times: How often. Where the networks themselves take less than `WORTH_TUNING` seconds for all of it, they are
            taken untried, and where they take less than `WORTH_COMPILING`, nothing is compiled.
    """
    all_of_it = _seconds(work, networks, 1) * times
    if all_of_it < WORTH_TUNING:
        return networks
    device = next(networks[0].parameters()).device
    if device.type == "cuda":
        # cuDNN tries its ways, too, for each shape it meets; here those stay as they are.
        torch.backends.cudnn.benchmark = True
    best: Sequence[Network] = networks
    least = _GAIN * _seconds(work, networks, _TRIES)
    uncompiled: type[Backend] = Bfloat16 if computes_bf16(device) else ChannelsLast
    for backend in (uncompiled, Compiled) if all_of_it >= WORTH_COMPILING[device.type] else (uncompiled,):
        tried = [backend(network) for network in networks]
        seconds = _seconds_if_any(work, tried)
        if seconds < least:
            best, least = tried, seconds
        else:
            for network in tried:
                network.restore_layout()
    # What was tried last and let go laid out the same weights.
    for chosen in best:
        if isinstance(chosen, Backend):
            chosen.apply_layout()
    return best


def autotune_chunks(
    backends: Sequence[Network], batch: int, work: Callable[[Sequence[Network]], object], times: int
) -> Sequence[Network]:
    """The backends, the first one `Chunked` where it does `work` faster so on a CPU.

    Args:
        backends: Which; the first takes and gives tensors, the batch first.
        batch: How many pictures it is asked for at a time.
        work: As in `autotune`.
        times: How often. Each size of a part may have to be compiled: below `WORTH_COMPILING` seconds nothing is tried.
    """
    best, parts = backends, 2
    if batch < parts * _SMALLEST_PART or (whole := _seconds(work, backends, _TRIES)) * times < WORTH_COMPILING["cpu"]:
        return backends
    least = _GAIN * whole
    while batch >= parts * _SMALLEST_PART:
        tried: list[Network] = [Chunked(backends[0], parts), *backends[1:]]
        if (seconds := _seconds_if_any(work, tried)) >= least:
            break
        best, least, parts = tried, _GAIN * seconds, 2 * parts
    return best


def autotune_training(
    network: nn.Module,
    known: Network | None,
    draw: Callable[[], Batch],
    losses: Callable[[Network, Batch], Iterable[Mapping[str, Tensor]]],
    updates: int,
) -> Network:
    """The network itself, or the backend with which it learns fastest.

    What torch draws stays as it was; the gradients that tries leave behind are the caller's to clear.

    Args:
        network: Which.
        known: What was chosen for it before: if it still computes this network, it is not tried again.
        draw: Draws a batch to try with.
        losses: The losses of a batch, part by part, computed by a backend.
        updates: How many there will be; see `autotune`.
    """
    if isinstance(known, Backend) and known.network is network:
        known.apply_layout()
        return known
    with torch.random.fork_rng():
        batch = draw()

        def learn(backends: Sequence[Network]) -> None:
            (backend,) = backends
            for part in losses(backend, batch):
                torch.stack(list(part.values())).sum().backward()

        (backend,) = autotune([network], learn, updates)
    return backend


def _seconds_if_any(work: Callable[[Sequence[Network]], object], networks: Sequence[Network]) -> float:
    """The shortest of some tries; infinite where they cannot be compiled here, or take more memory than there is."""
    try:
        with warnings.catch_warnings():
            # diffusers asks for its torch's version through a cache.
            warnings.filterwarnings("ignore", "Dynamo detected a call to a `functools.lru_cache`")
            return _seconds(work, networks, _TRIES)
    except torch.OutOfMemoryError:
        torch.cuda.empty_cache()
        return inf
    except RuntimeError as error:  # what torch raises that cannot compile, or cannot launch what it compiled
        warnings.warn(f"a faster way failed, so this is slower than it could be: {in_short(error)}", stacklevel=3)
        return inf


def _seconds(work: Callable[[Sequence[Network]], object], networks: Sequence[Network], tries: int) -> float:
    """The shortest of some tries, after one that does not count."""
    taken = []
    for _ in range(tries + 1):
        begun = time.perf_counter()
        work(networks)
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        taken.append(time.perf_counter() - begun)
    return min(taken[1:])
