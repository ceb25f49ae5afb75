"""Networks in the fastest way that there is for them on this machine, found by trying."""

import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from worldmodel.errors import in_short

Network = Callable[..., Any]

LONG = 300.0
"""seconds of plain work below which no other way is tried: two cores compile for minutes, the first time"""
_TRIES = 3
_GAIN = 0.9
"""share of the plain way's time that another may take at most: less gain is not worth its rounding"""


class Compiled:
    """A network compiled by Inductor, under autocast to bfloat16, with its convolutions' weights channels last.

    Where matrices are multiplied in bfloat16 the convolutions gain most; the small operations between them gain by
    becoming one. The weights stay the network's own, in float32; only how they lie in memory is another between
    `lay_out` and `release`.
    """

    def __init__(self, network: nn.Module) -> None:
        self.network = network
        self._device = next(network.parameters()).device
        self._compiled = torch.compile(network, dynamic=False)
        self.lay_out()

    def __call__(self, *arguments: Any) -> Any:
        """What the network says."""
        with torch.autocast(self._device.type, torch.bfloat16):
            return self._compiled(*arguments)

    def __reduce__(self) -> tuple[type["Compiled"], tuple[nn.Module]]:
        """A copy is compiled anew, when it is called."""
        return Compiled, (self.network,)

    def lay_out(self) -> None:
        """Lay the weights out for speed."""
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def release(self) -> None:
        """Lay the weights out as they were."""
        self.network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]


def fastest(
    networks: Sequence[nn.Module], work: Callable[[Sequence[Network]], object], times: int
) -> Sequence[Network]:
    """The networks themselves, or each `Compiled`, whichever does `work` faster, if it is to be done so many times.

    Args:
        networks: Which.
        work: Uses the networks it is given as they will be used.
        times: How often. Where the plain way takes less than `LONG` seconds for all of it, it is taken untried.
    """
    if _seconds(work, networks, 1) * times < LONG:
        return networks
    from torch._dynamo.exc import TorchDynamoException  # imports half of torch

    plain = _seconds(work, networks, _TRIES)
    compiled = [Compiled(network) for network in networks]
    try:
        with warnings.catch_warnings():
            # diffusers asks for its torch's version through a cache.
            warnings.filterwarnings("ignore", "Dynamo detected a call to a `functools.lru_cache`")
            if _seconds(work, compiled, _TRIES) < _GAIN * plain:
                return compiled
    except TorchDynamoException as error:
        warnings.warn(f"not compiled, so this is slower than it could be: {in_short(error)}", stacklevel=2)
    for network in compiled:
        network.release()
    return networks


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
