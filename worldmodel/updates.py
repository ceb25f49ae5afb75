"""The updates of a stage of fitting, whatever is fitted."""

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

from worldmodel.fitting import Precision
from worldmodel.optimization import Optimization
from worldmodel.watch import Kept, LossWatch

B = TypeVar("B", bound=Kept)
_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


class Updates(ABC, Generic[B]):
    """Takes them: draws a batch, descends its losses part by part, and watches that they stay numbers.

    A fitter says what is drawn, what the losses are and in which arithmetic; it sets `_optimization` and `_watch` when
    it begins a stage.
    """

    model: nn.Module
    _device: torch.device
    _optimization: Optimization
    _watch: LossWatch

    @abstractmethod
    def draw(self) -> B:
        """A batch for the stage."""

    @abstractmethod
    def _losses_in_parts(self, batch: B) -> Iterator[dict[str, Tensor]]:
        """The stage's losses by name, for every part that the batch is taken in; the parts add up to the whole."""

    @abstractmethod
    def _arithmetic(self) -> Precision:
        """What the stage computes in; auto: in float32."""

    def fit(self, steps: int) -> dict[str, float]:
        """Take `steps` updates of the stage.

        Returns:
            The mean of every loss.

        Raises:
            UserError: If a loss or a gradient is not finite. On a GPU the model is spoiled then, and the last saved one
                has to take its place; on a CPU it is as it was before that update.
        """
        self.model.train()
        sums: dict[str, Tensor] = defaultdict(lambda: torch.zeros((), device=self._device))
        for _ in range(steps):
            for name, value in self._update().items():
                sums[name] += value
        self._watch.check()
        return {name: total.item() / steps for name, total in sums.items()}

    def losses(self, batch: B) -> Iterator[dict[str, Tensor]]:
        """The losses of the batch's parts, each computed in the stage's arithmetic and handed out without it."""
        parts = self._losses_in_parts(batch)
        while True:
            with self._autocast():
                part = next(parts, None)
            if part is None:
                return
            yield part

    def _update(self) -> dict[str, Tensor]:
        batch = self.draw()
        losses: dict[str, Tensor] = {}
        self._optimization.zero_grad()
        for part in self.losses(batch):
            self._optimization.backward(torch.stack(list(part.values())).sum())
            losses = {name: losses.get(name, 0) + value.detach() for name, value in part.items()}
        self._watch.see(batch, losses | {"gradient": self._optimization.clip_grad_norm()})
        self._optimization.step()
        return losses

    def _autocast(self) -> AbstractContextManager[object]:
        dtype = _DTYPES.get(self._arithmetic())
        return torch.autocast(self._device.type, dtype) if dtype else nullcontext()
