"""How often work on a GPU would wait for it, told on a CPU."""

from collections.abc import Callable

from torch.profiler import ProfilerActivity, profile

_WAITS = ("aten::_local_scalar_dense", "aten::nonzero")
"""what reads a tensor's numbers to go on, or to know how large the next tensor is"""


def waits(work: Callable[[], object]) -> int:
    """How many numbers the work reads out of tensors."""
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        work()
    return sum(event.count for event in seen.key_averages() if event.key in _WAITS)
