"""What a player does and sees, in the words that the world model understands."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

Observation = Literal["frames", "latents"]
"""Decoded pictures, or the encoder's latents."""

FrameSize = int | tuple[int, int]
"""Height and width of a frame, pixels: one number for both, or one each."""

FrameShape = tuple[int, int, int]
"""(height, width, 3) of a frame."""


def shape_of(size: FrameSize) -> FrameShape:
    """The shape of a frame of this size."""
    height, width = (size, size) if isinstance(size, int) else size
    return height, width, 3


ActionKind = Literal["discrete", "multi_discrete", "multi_binary", "box"]
"""One choice; several at once; several switches; real numbers within bounds."""


@dataclass(frozen=True)
class ActionSpec:
    """A game's actions, as they are stored and as the world model reads them.

    A discrete action is one int64, numbered from 0. All others are a vector of components: int64 choices, numbered
    from 0, or float32 numbers.

    Attributes:
        kind: What an action is made of.
        sizes: Alternatives of each component; empty for "box".
        low: Least value of each component; for "box" alone.
        high: Greatest value of each component; for "box" alone.
        names: A word for each alternative if there is one component, else for each component; may be empty.
    """

    kind: ActionKind
    sizes: tuple[int, ...] = ()
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        numbers, bounds = self.kind == "box", list(zip(self.low, self.high, strict=True))
        if bool(self.sizes) == numbers or bool(bounds) != numbers or (self.kind == "discrete" and len(self) > 1):
            raise ValueError(f"not {self.kind} actions: sizes {self.sizes}, bounds {bounds}")
        if any(size < 1 for size in self.sizes) or not all(-np.inf < lo < hi < np.inf for lo, hi in bounds):
            raise ValueError(f"actions without alternatives or without end: sizes {self.sizes}, bounds {bounds}")
        if self.names and len(self.names) != (self.sizes[0] if self.kind == "discrete" else len(self)):
            raise ValueError(f"{len(self.names)} names for {self}")

    @classmethod
    def discrete(cls, count: int, names: Sequence[str] = ()) -> Self:
        """One of `count` alternatives."""
        return cls("discrete", (count,), names=tuple(names))

    @classmethod
    def multi_discrete(cls, sizes: Sequence[int], names: Sequence[str] = ()) -> Self:
        """Several choices at once, each with so many alternatives."""
        return cls("multi_discrete", tuple(sizes), names=tuple(names))

    @classmethod
    def multi_binary(cls, count: int, names: Sequence[str] = ()) -> Self:
        """So many switches, each 0 or 1."""
        return cls("multi_binary", (2,) * count, names=tuple(names))

    @classmethod
    def box(cls, low: Sequence[float], high: Sequence[float], names: Sequence[str] = ()) -> Self:
        """Numbers, each within its bounds."""
        return cls("box", low=tuple(low), high=tuple(high), names=tuple(names))

    def __len__(self) -> int:
        """How many components an action has."""
        return len(self.sizes) or len(self.low)

    def __str__(self) -> str:
        counts = " x ".join(map(str, self.sizes))
        bounds = ", ".join(f"{lo:g} to {hi:g}" for lo, hi in zip(self.low, self.high, strict=True))
        return f"{counts} actions" if counts else f"actions from {bounds}"

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one action: () for one choice, else (components,)."""
        return () if self.kind == "discrete" else (len(self),)

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of its components: float32 for "box", else int64."""
        return np.dtype(np.float32 if self.kind == "box" else np.int64)

    @property
    def unknown(self) -> NDArray[Any]:
        """The action that stands for "not known", of `shape`: one past the last alternative, or NaN."""
        return np.full(self.shape, np.nan if self.kind == "box" else np.reshape(self.sizes, self.shape), self.dtype)

    def zeros(self, *shape: int) -> NDArray[Any]:
        """Room for actions, (*shape, *self.shape)."""
        return np.zeros((*shape, *self.shape), self.dtype)

    def draw(self, rng: np.random.Generator, *shape: int) -> NDArray[Any]:
        """Random actions, (*shape, *self.shape): every one equally likely, each component by itself."""
        size = (*shape, *self.shape)
        if self.kind == "box":
            return rng.uniform(self.low, self.high, size).astype(self.dtype)
        return rng.integers(np.reshape(self.sizes, self.shape), size=size)

    def fits(self, other: "ActionSpec") -> bool:
        """Whether both are the same actions, whatever they are called."""
        return replace(self, names=()) == replace(other, names=())
