"""Windows along which a model dreams while it learns from them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from worldmodel.data.segment import Segment, even_parts, join


@dataclass(frozen=True)
class Counted:
    """What counts of a batch, or of some rows of one whose `frames` and `outcomes` are then the whole batch's.

    Attributes:
        judged: bool, (batch, horizon): the steps whose outcome counts.
        frames: int64, (horizon,): how many frames count, at each step.
        outcomes: int64, (horizon,): how many outcomes count, real and dreamed.
    """

    judged: Tensor
    frames: Tensor
    outcomes: Tensor


@dataclass(frozen=True, eq=False)
class Unroll:
    """Windows, and how far a model has dreamed along them.

    Attributes:
        windows: The windows, with latents.
        history: Their actions as far as they are known; see `LatentWorldModel.known`.
        dreamed: The frames that are shown and, in place of those that follow, what the model made of them so far;
            (batch, context + step, channels, h, w).
        counted: What counts.
        first: int64, (batch,): which step of the play is the first to be predicted; None where nobody will ask.
    """

    windows: Segment
    history: Tensor
    dreamed: Tensor
    counted: Counted
    first: Tensor | None = None

    @property
    def latents(self) -> Tensor:
        """The frames as they were played, (batch, context + horizon, channels, h, w)."""
        assert self.windows.latents is not None
        return self.windows.latents

    @property
    def step(self) -> int:
        """Which of the steps to be predicted comes next."""
        return self.dreamed.shape[1] - self.windows.context

    @property
    def there(self) -> Tensor:
        """Where the next step was played, bool, (batch,)."""
        return self.windows.mask[:, self.windows.context + self.step]

    @property
    def over(self) -> bool:
        """Whether all of them are predicted."""
        return self.step == self.windows.horizon

    def on(self, guess: Tensor) -> Self:
        """A step further; `guess` is what the model makes of the next frame."""
        return replace(self, dreamed=torch.cat([self.dreamed, guess[:, None]], dim=1))

    def rows(self, rows: slice) -> Self:
        """Some of the windows."""
        counted = replace(self.counted, judged=self.counted.judged[rows])
        return replace(
            self, windows=self.windows[rows], history=self.history[rows], dreamed=self.dreamed[rows], counted=counted
        )


@dataclass(frozen=True, eq=False)
class Unrolls:
    """A batch of unrolls of as many windows each, every one of them a step ahead of the one before.

    So every update learns from predictions of each step, from the real context and from the model's own guesses, and
    those guesses cost nothing: they are what was predicted in the last updates that these windows took part in.
    """

    each: Sequence[Unroll]

    def parts(self, count: int) -> Iterator["Unrolls"]:
        """The same in `count` parts, as even as can be, each with some windows of every unroll."""
        for rows in even_parts(len(self.each[0].dreamed), count):
            yield Unrolls([unroll.rows(rows) for unroll in self.each])

    def tensors(self) -> dict[str, Tensor]:
        """Its windows by name, as a `Segment` has them, and how far each unroll is dreamed: `dreamed_0` and so on."""
        dreamed = {f"dreamed_{unroll.step}": unroll.dreamed for unroll in self.each}
        return join([unroll.windows for unroll in self.each]).tensors() | dreamed
