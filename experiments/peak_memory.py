"""How much memory tensors take while something is computed, those without data ("meta") among them."""

import weakref
from collections.abc import Callable, Iterable
from typing import Any

from torch import Tensor, UntypedStorage
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class PeakMemory(TorchDispatchMode):
    """Counts the bytes of all tensors that are made within it.

    Attributes:
        live: Bytes of those that are still there.
        peak: The most that there were at a time.
    """

    def __init__(self, there: Iterable[Tensor] = ()) -> None:
        """Count; tensors that are `there` already, and views of them, count for nothing."""
        super().__init__()
        self.live = self.peak = 0
        self._known: weakref.WeakSet[UntypedStorage] = weakref.WeakSet()
        for tensor in there:
            self._known.add(tensor.untyped_storage())

    def __torch_dispatch__(self, operation: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Let torch do the operation, and count what it brings."""
        result = operation(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self._count(leaf.untyped_storage())
        return result

    def _count(self, storage: UntypedStorage) -> None:
        if storage in self._known:
            return
        self._known.add(storage)
        self.live += storage.nbytes()
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._free, storage.nbytes())

    def _free(self, count: int) -> None:
        self.live -= count
