"""Losses that stop being numbers."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn, Protocol

import torch
from safetensors.torch import save
from torch import Tensor

from worldmodel.errors import UserError
from worldmodel.files import write_whole


class Kept(Protocol):
    """A batch that can be kept."""

    def tensors(self) -> dict[str, Tensor]:
        """All that it consists of, by name."""


class LossWatch:
    """Stops a stage at the first loss or gradient that is not finite, and keeps the batch that brought it.

    To look is to wait for the device. So on a CPU it looks before every update, which leaves the model as it was; on
    a GPU it looks when it is asked to, and the model is spoiled by then.
    """

    def __init__(self, stage: str, seed: int, folder: Path, patient: bool, rate: str = "learning-rate") -> None:
        """Watch a stage.

        Args:
            stage: Its name.
            seed: What it was begun with.
            folder: Where a batch that spoils it is kept.
            patient: Only look when asked.
            rate: The option that sets its learning rate, for people.
        """
        self._stage, self._seed, self._folder, self._patient, self._rate = stage, seed, folder, patient, rate
        self._seen: list[tuple[Kept, Mapping[str, Tensor]]] = []
        self._updates = 0

    def see(self, batch: Kept, losses: Mapping[str, Tensor]) -> None:
        """Take note of one update's batch and losses.

        Raises:
            UserError: If a loss is not finite.
        """
        self._seen.append((batch, losses))
        if not self._patient:
            self.check()

    def check(self) -> None:
        """Look at what was seen since the last time.

        Raises:
            UserError: If a loss is not finite.
        """
        seen, self._seen = self._seen, []
        # All at once: to look at one loss after another would be to wait as often.
        values = iter(torch.stack([loss for _, losses in seen for loss in losses.values()]).tolist() if seen else ())
        for batch, losses in seen:
            self._updates += 1
            for name in losses:
                if not math.isfinite(value := next(values)):
                    self._stop(name, value, batch)

    def _stop(self, name: str, value: float, batch: Kept) -> NoReturn:
        path = self._folder / f"{self._stage}-seed{self._seed}-update{self._updates}.safetensors"
        path.parent.mkdir(parents=True, exist_ok=True)
        tensors = {name: tensor.cpu().contiguous() for name, tensor in batch.tensors().items()}
        write_whole(path, save(tensors, {"stage": self._stage, "part": name, "value": str(value)}))
        raise UserError(
            f"fitting the {self._stage}, {name} became {value} in update {self._updates} (its batch is kept in {path}):"
            f" begin another run with a lower --fit.{self._rate}."
        )
