"""Windows of play for training, drawn by what they have to predict."""

from dataclasses import dataclass, fields, replace
from typing import Any, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray

from worldmodel.data.reader import BufferReader
from worldmodel.data.segment import Segment
from worldmodel.errors import UserError

Split = Literal["train", "held_out", "all"]
"""Which episodes: those to learn from, those to judge by, or both."""


@dataclass(frozen=True, eq=False)
class Windows:
    """Where a batch of windows lies in the buffer, and all of it but the pictures; see `Segment`.

    Attributes:
        frame_ids: int64, (batch, context + horizon).
        actions: (batch, context + horizon - 1, *shape), as the game's `ActionSpec` has them; 0 outside the episode.
        rewards: float32, the same shape; 0 outside the episode.
        terminated: bool, the same shape.
        truncated: bool, the same shape.
        mask: bool, (batch, context + horizon): False outside the episode, where the nearest frame is repeated.
        context: How many frames are shown.
    """

    frame_ids: NDArray[np.int64]
    actions: NDArray[Any]
    rewards: NDArray[np.float32]
    terminated: NDArray[np.bool_]
    truncated: NDArray[np.bool_]
    mask: NDArray[np.bool_]
    context: int

    def until(self, length: int) -> Self:
        """The windows' first `length` frames."""
        arrays = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "context"}
        frames = {name: arrays.pop(name)[:, :length] for name in ("frame_ids", "mask")}
        return replace(self, **frames, **{name: array[:, : length - 1] for name, array in arrays.items()})


class WindowSampler:
    """Draws windows so that every step of the split is equally often the first that has to be predicted.

    Drawn by where they begin, the last step of a game, the one that carries the end, would come up far too seldom.
    """

    def __init__(
        self, reader: BufferReader, context: int, horizon: int, split: Split = "train", held_out_every: int = 10
    ) -> None:
        """Windows of `context` frames shown and `horizon` frames to be predicted.

        One episode in `held_out_every` is held out; which one it is stays as it is when the buffer grows.
        """
        self._reader = reader
        self._context = context
        self._offsets = np.arange(context + horizon) - (context - 1)
        self._split: Split = split
        self._held_out_every = held_out_every
        self._choose()

    @property
    def num_steps(self) -> int:
        """Steps in the split."""
        self._catch_up()
        return int(self._lengths.sum())

    def sample(self, batch: int, rng: np.random.Generator) -> Windows:
        """Draw `batch` windows.

        Raises:
            UserError: If the split is empty.
        """
        return self.at(self.draw(batch, rng))

    def draw(self, count: int, rng: np.random.Generator, recent: float = 0.0) -> NDArray[np.int64]:
        """Draw steps, by their places in the split: a share `recent` of them, the last ones, from the newest round.

        The learning agent goes where the world model does not know the game yet, and it does so in the newest play.
        """
        steps = rng.integers(self.num_steps or 1, size=count)
        newest = round(recent * count)
        if newest and len(self._newest):
            steps[-newest:] = rng.choice(self._newest, size=newest)
        return steps

    def at(self, steps: NDArray[np.int64], before: NDArray[np.int64] | int = 0) -> Windows:
        """The windows that have `steps` to predict, after `before` others or as many as the episode has.

        Args:
            steps: int64, (batch,): places among the steps of the split, end to end.
            before: int64, (batch,): how many steps of the same window are to be predicted before.

        Raises:
            UserError: If the split is empty.
        """
        self._catch_up()
        if not len(self._lengths):
            raise UserError(f"the buffer has no {self._split} episode yet: collect more real steps in the first round.")
        episode, time = self.where(steps)
        return self._windows(episode, (time - before).clip(0))

    def where(self, steps: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """In which episodes of the split steps lie, and how far into them; `steps` as in `at`."""
        self._catch_up()
        episode = np.searchsorted(self._ends, steps, side="right")
        return episode, steps - (self._ends - self._lengths)[episode]

    @property
    def places(self) -> NDArray[np.int64]:
        """Where the steps of the split, end to end, lie in `BufferReader.steps`, (num_steps,)."""
        self._catch_up()
        return np.concatenate([np.arange(n) + at for n, at in zip(self._lengths, self._step_offsets, strict=True)])

    def _windows(self, episode: NDArray[np.int64], target: NDArray[np.int64]) -> Windows:
        length = self._lengths[episode][:, None]
        time = target[:, None] + self._offsets
        played = (time >= 0) & (time < length)
        at = (self._step_offsets[episode][:, None] + time.clip(0, length - 1))[:, :-1]
        steps, real = self._reader.steps, played[:, :-1]
        actions = steps.actions[at]
        actions[~real] = 0
        return Windows(
            frame_ids=self._reader.table.frame_ids(self._episodes[episode][:, None], time.clip(0, length)),
            actions=actions,
            rewards=np.where(real, steps.rewards[at], np.float32(0)),
            terminated=real & steps.terminated[at],
            truncated=real & steps.truncated[at],
            mask=(time >= 0) & (time <= length),
            context=self._context,
        )

    def _catch_up(self) -> None:
        if self._generation != self._reader.generation:
            self._choose()

    def _choose(self) -> None:
        table = self._reader.table
        self._episodes = np.flatnonzero(in_split(table.ordinal, self._split, self._held_out_every))
        self._lengths = table.length[self._episodes]
        self._ends = np.cumsum(self._lengths)
        self._step_offsets = table.offset[self._episodes]
        rounds = table.round[self._episodes]
        self._newest = np.flatnonzero(np.repeat(rounds == rounds.max(initial=0), self._lengths))
        self._generation = self._reader.generation


def in_split(ordinal: NDArray[np.int64], split: Split, held_out_every: int = 10) -> NDArray[np.bool_]:
    """Which of the episodes with these numbers (see `EpisodeTable.ordinal`) belong to `split`.

    One whose number is not known any more is not held out: what was trained on is never judged by.
    """
    # Number 1, so that two episodes already make two splits.
    held_out = ordinal % held_out_every == 1
    return {"train": ~held_out, "held_out": held_out, "all": np.full_like(held_out, True)}[split]


def segment(reader: BufferReader, windows: Windows) -> Segment:
    """The windows with their pictures, as tensors on the CPU."""
    return Segment(
        frames=torch.from_numpy(reader.frames(windows.frame_ids)),
        actions=torch.from_numpy(windows.actions),
        rewards=torch.from_numpy(windows.rewards),
        terminated=torch.from_numpy(windows.terminated),
        truncated=torch.from_numpy(windows.truncated),
        mask=torch.from_numpy(windows.mask),
        context=windows.context,
    )
