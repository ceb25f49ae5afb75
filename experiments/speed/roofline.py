"""How fast the device could be at most: the roofline model (Williams, Waterman and Patterson, 2009)."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from experiments.speed.timing import in_turns
from worldmodel.autotune import computes_bf16

_SIDE = {"cpu": 2048, "cuda": 8192}
"""of the square matrices that are multiplied"""
_COPIED = {"cpu": 2**27, "cuda": 2**31}
"""bytes that are copied, more than any cache holds"""


@dataclass(frozen=True)
class Roofline:
    """What the device does at most.

    Attributes:
        float32: Operations a second in which it multiplies matrices of float32.
        bfloat16: The same of bfloat16; 0 where the device has no instructions for it, and a product takes a minute.
        bandwidth: Bytes a second that it reads or writes while it copies.
    """

    float32: float
    bfloat16: float
    bandwidth: float

    @property
    def operations(self) -> float:
        """Operations a second in the arithmetic that is faster."""
        return max(self.float32, self.bfloat16)

    def seconds(self, work: "Work") -> float:
        """The least that the work takes, in the faster arithmetic."""
        return max(work.operations / self.operations, work.bytes / self.bandwidth)


@dataclass(frozen=True)
class Work:
    """What has to be done, whoever does it.

    Attributes:
        operations: Additions and multiplications in products of matrices and in convolutions.
        bytes: What has to be read or written at least: every weight once.
    """

    operations: float
    bytes: float


def measure_roofline(device: str, seconds: float) -> Roofline:
    """What this device does at most, each measured for some seconds."""
    side, size = _SIDE[device], _COPIED[device]
    source = torch.zeros(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)

    def multiply(dtype: torch.dtype) -> Callable[[], int]:
        one, other = torch.randn(2, side, side, device=device).to(dtype)

        def work() -> int:
            one @ other
            return 2 * side**3

        return work

    def copy() -> int:
        target.copy_(source)
        return 2 * size

    works = {"float32": multiply(torch.float32), "copy": copy}
    if computes_bf16(torch.device(device)):
        works["bfloat16"] = multiply(torch.bfloat16)
    rates = in_turns(works, seconds, device)
    lower = rates["bfloat16"].high if "bfloat16" in rates else 0.0
    return Roofline(rates["float32"].high, lower, rates["copy"].high)


def count(work: Callable[[], object], weights: Iterable[Tensor]) -> Work:
    """What `work`, which is done once for it with plain networks, has to do, and read of `weights`."""
    with FlopCounterMode(display=False) as counter:
        work()
    return Work(counter.get_total_flops(), sum(weight.numel() * weight.element_size() for weight in weights))
