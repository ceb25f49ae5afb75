"""Dreams beside what really happened, from the same start, under the same actions."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor

from worldmodel.base import Step, WorldModel
from worldmodel.data.reader import BufferReader
from worldmodel.data.segment import Segment
from worldmodel.data.windows import Windows, WindowSampler, segment


@dataclass(frozen=True, eq=False)
class Replay:
    """Dreams and reality, step by step.

    Attributes:
        real: uint8, (batch, horizon + 1, height, width, 3): the start's newest frame and what really followed.
        dream: uint8, the same shape: the same frame and what was dreamed.
        ceiling: uint8, the same shape: the real frames through the autoencoder.
        mask: bool, (batch, horizon + 1): which real frames there were.
        terminated: bool, (batch, horizon): where the game really ended.
        rewards: float32, (batch, horizon): what the game really paid.
        outcomes: What the dream brought, its tensors (batch, horizon, ...).
        forced: Whether each picture was dreamed from the real frames before it (teacher-forced), not from dreamed ones.
    """

    real: Tensor
    dream: Tensor
    ceiling: Tensor
    mask: Tensor
    terminated: Tensor
    rewards: Tensor
    outcomes: Step
    forced: bool = False

    def known(self, horizon: int) -> Tensor:
        """The newest real frames that the dreams had seen when they came to `horizon`, (batch, height, width, 3)."""
        return self.real[:, horizon - 1 if self.forced else 0]

    def reached(self, horizons: Sequence[int]) -> tuple[int, ...]:
        """Those of the horizons that at least one real game got to."""
        return tuple(h for h in horizons if h < self.mask.shape[1] and self.mask[:, h].any())


def draw_replay(reader: BufferReader, context: int, horizon: int, count: int, seed: int) -> Windows:
    """Held-out windows to dream through, `count` of them, cut to where the last of their games is over."""
    windows = WindowSampler(reader, context, horizon, split="held_out").sample(count, np.random.default_rng(seed))
    return windows.until(int(np.flatnonzero(windows.mask.any(0))[-1]) + 1)


@torch.no_grad()
def replay(model: WorldModel, reader: BufferReader, windows: Windows, seed: int, forced: bool = False) -> Replay:
    """Dream from the windows' contexts under their actions; `forced` as in `Replay`."""
    device = next(model.parameters()).device
    given = segment(reader, windows).to(device)
    generator = torch.Generator(device).manual_seed(seed)
    dreamed = (_forced if forced else _free)(model, given, generator)
    pictures, outcomes = zip(*dreamed, strict=True)
    first = given.context - 1
    real = given.frames[:, first:]
    return Replay(
        real=real,
        dream=torch.stack([real[:, 0], *pictures], 1),
        ceiling=torch.stack([model.reconstruct(frame) for frame in real.unbind(1)], 1),
        mask=given.mask[:, first:],
        terminated=given.terminated[:, first:],
        rewards=given.rewards[:, first:],
        outcomes=stack_outcomes(outcomes),
        forced=forced,
    )


def stack_outcomes(steps: Sequence[Step]) -> Step:
    """Steps (batch, ...) one after another, as one whose tensors are (batch, len(steps), ...)."""
    return _joined(steps, torch.stack, 1)


def join_outcomes(steps: Sequence[Step]) -> Step:
    """Steps of several batches as one."""
    return _joined(steps, torch.cat, 0)


def _joined(steps: Sequence[Step], join: Callable[..., Tensor], dim: int) -> Step:
    columns = {field.name: [getattr(step, field.name) for step in steps] for field in fields(Step)}
    joined: dict[str, Any] = {name: join(column, dim) for name, column in columns.items() if column[0] is not None}
    return Step(**joined)


def _free(model: WorldModel, given: Segment, generator: torch.Generator) -> Iterator[tuple[Tensor, Step]]:
    context = given.context
    dream = model.begin(given.frames[:, :context], given.actions[:, : context - 1], given.mask[:, :context])
    for actions in given.actions[:, context - 1 :].unbind(1):
        dream, outcome = model.step(dream, actions, generator)
        yield model.observe(dream), outcome


def _forced(model: WorldModel, given: Segment, generator: torch.Generator) -> Iterator[tuple[Tensor, Step]]:
    length = given.mask.shape[1]
    time = torch.arange(length, device=given.mask.device)
    # Where a game is over, its last step is dreamed again.
    last = (given.mask * time).amax(1) - 1
    row = torch.arange(len(last), device=last.device)
    for step in time[given.context - 1 : -1]:
        now = torch.minimum(step, last)
        seen = (row[:, None], now[:, None] + torch.arange(1 - given.context, 1, device=last.device))
        before = (row[:, None], seen[1][:, :-1])
        dream = model.begin(given.frames[seen], given.actions[before], given.mask[seen])
        dream, outcome = model.step(dream, given.actions[row, now], generator)
        yield model.observe(dream), outcome
