"""How often work on a GPU would wait for it, told on a CPU."""

from collections import Counter
from collections.abc import Callable

import pytest
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

_WAITS = ("aten::_local_scalar_dense", "aten::nonzero")
"""what reads a tensor's numbers to go on, or to know how large the next tensor is"""
_COPIES = ("tolist", "cpu", "numpy")
"""methods that copy a tensor to the host, of which nothing is seen where it is there already"""


def waits(work: Callable[[], object]) -> int:
    """How often the work reads numbers out of tensors."""
    copies: Counter[str] = Counter()

    def counted(name: str) -> Callable[..., object]:
        method = getattr(Tensor, name)

        def copy(*arguments: object, **options: object) -> object:
            copies[name] += 1
            return method(*arguments, **options)

        return copy

    with pytest.MonkeyPatch.context() as patch:
        for name in _COPIES:
            patch.setattr(Tensor, name, counted(name))
        with profile(activities=[ProfilerActivity.CPU]) as seen:
            work()
    return sum(event.count for event in seen.key_averages() if event.key in _WAITS) + copies.total()
