"""Windows of play, as a world model reads them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from itertools import pairwise
from typing import Any, Self

import torch
from torch import Tensor


@dataclass(frozen=True)
class Segment:
    """A batch of windows, each inside one game.

    The project's one convention for time: `actions[t]` is chosen on seeing `frames[t]`; it leads to
    `frames[t + 1]`, `rewards[t]`, `terminated[t]` and `truncated[t]`.

    A window has `context + horizon` frames: the first `context` are what the model is shown, the rest are what it has
    to predict, so the first prediction is `frames[:, context]`, caused by `actions[:, context - 1]`. Where a game
    begins or ends inside the window the nearest frame is repeated, the mask is False, and nothing there counts.

    Attributes:
        frames: uint8, (batch, context + horizon, height, width, 3).
        actions: (batch, context + horizon - 1, *shape), int64 or float32, as the game's `ActionSpec` has it.
        rewards: float32, (batch, context + horizon - 1), the game's own.
        terminated: bool, (batch, context + horizon - 1).
        truncated: bool, (batch, context + horizon - 1).
        mask: bool, (batch, context + horizon): which frames were really seen.
        context: How many frames are shown.
        latents: float, (batch, context + horizon, channels, h, w): the frames as cached by an encoder, or None.
        beside: The same of the frames shifted by a few pixels, all of a window alike, or None.
    """

    frames: Tensor
    actions: Tensor
    rewards: Tensor
    terminated: Tensor
    truncated: Tensor
    mask: Tensor
    context: int
    latents: Tensor | None = None
    beside: Tensor | None = None

    def __post_init__(self) -> None:
        batch, length = self.mask.shape
        for name in ("actions", "rewards", "terminated", "truncated"):
            if getattr(self, name).shape[:2] != (batch, length - 1):
                raise ValueError(f"{name} must be {(batch, length - 1)}, not {tuple(getattr(self, name).shape)}")
        if not 0 < self.context < length:
            raise ValueError(f"a window of {length} frames cannot have a context of {self.context}")

    @property
    def horizon(self) -> int:
        """How many frames are to be predicted."""
        return self.mask.shape[1] - self.context

    def __getitem__(self, rows: slice | Tensor) -> Self:
        """The windows at `rows`: a slice, or places, int64."""
        # Where latents are known there may be no frames.
        return replace(self, **{name: tensor[rows] for name, tensor in self.tensors().items() if len(tensor)})

    def parts(self, count: int) -> Iterator[Self]:
        """The windows in `count` parts, as even as can be."""
        return (self[rows] for rows in even_parts(len(self.mask), count))

    def tensors(self) -> dict[str, Any]:
        """All of it that is a tensor, by name."""
        return {field.name: value for field in fields(self) if isinstance(value := getattr(self, field.name), Tensor)}

    def to(self, device: torch.device | str) -> Self:
        """The same windows on another device."""
        return replace(self, **{name: tensor.to(device) for name, tensor in self.tensors().items()})


def join(segments: Sequence[Segment]) -> Segment:
    """Windows of one length, one after another."""
    parts = [segment.tensors() for segment in segments]
    return Segment(
        **{name: torch.cat([part[name] for part in parts]) for name in parts[0]}, context=segments[0].context
    )


def even_parts(batch: int, count: int) -> Iterator[slice]:
    """The rows of a batch in `count` parts, as even as can be."""
    return (slice(begin, end) for begin, end in pairwise(batch * part // count for part in range(count + 1)))
