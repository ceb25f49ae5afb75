"""Where dreams begin: contexts cut from real play."""

from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from worldmodel.bounds import Share
from worldmodel.data.reader import BufferReader
from worldmodel.errors import UserError, in_short
from worldmodel.files import write_whole

NEAR_END = (5, 20)
"""Steps before a game's end that count as near it, both included: later ones can hardly be averted."""
NEAR_REWARD = (1, 20)
"""The same for a rare reward: whoever acts at random must come upon it before it can be sought from afar."""


@dataclass(frozen=True)
class StartMix:
    """Which moments dreams begin at; the shares add up to 1."""

    uniform: Share = 0.4
    """share of starts at any step, all equally likely"""
    near_end: Share = 0.3
    """share of starts 5 to 20 steps before a game terminated"""
    beginning: Share = 0.3
    """share of starts at a game's first frame"""
    near_reward: Share = 0.0
    """share of starts 1 to 20 steps before a rare reward: one of another sign than most"""
    recent: Share = 0.0
    """share of starts at any step of the newest round's play"""

    @property
    def shares(self) -> tuple[float, ...]:
        """One for each kind of start, in the order above."""
        return astuple(self)


@dataclass(frozen=True, eq=False)
class Starts:
    """N contexts from which dreams begin.

    Attributes:
        frames: uint8, (N, context, height, width, 3), newest last.
        actions: (N, context - 1, *shape), as the game's `ActionSpec` has them: `actions[:, i]` led from
            `frames[:, i]` to `frames[:, i + 1]`.
        mask: bool, (N, context): False where the first frame is repeated.
        episode: int64, (N,): place in `BufferReader.episodes`; -1 if not known.
        step: int64, (N,): the newest frame's place in its episode, where there is always an action to follow; -1 if
            not known.
        latents: float32, (N, context, h, w, channels): what `WorldModel.encode` makes of the frames; None: nobody has
            encoded them yet.
    """

    frames: NDArray[np.uint8]
    actions: NDArray[Any]
    mask: NDArray[np.bool_]
    episode: NDArray[np.int64]
    step: NDArray[np.int64]
    latents: NDArray[np.float32] | None = None

    @classmethod
    def of(cls, frames: NDArray[np.uint8], actions: NDArray[Any], mask: NDArray[np.bool_]) -> Self:
        """Contexts that come from no known place of a buffer."""
        unknown = np.full(len(mask), -1)
        return cls(frames, actions, mask, unknown, unknown)

    def __len__(self) -> int:
        return len(self.mask)


def draw_starts(
    reader: BufferReader, count: int, context: int, rng: np.random.Generator, mix: StartMix | None = None
) -> Starts:
    """Draw `count` starts by `mix`; a kind that the buffer has none of is drawn uniformly instead.

    Raises:
        UserError: If the buffer is empty.
    """
    if not reader.episodes:
        raise UserError("the buffer is empty: collect some play before dreams begin from it.")
    mix = mix or StartMix()
    kind = rng.choice(len(mix.shares), size=count, p=mix.shares)
    episode, step = _uniform(reader, count, rng)
    for index, draw in ((1, _near_end), (2, _beginning), (3, _near_reward), (4, _recent)):
        rows = np.flatnonzero(kind == index)
        if (drawn := draw(reader, len(rows), rng)) is not None:
            episode[rows], step[rows] = drawn
    return _contexts(reader, episode, step, context)


def frame_ids(reader: BufferReader, starts: Starts) -> NDArray[np.int64]:
    """Ids, (N, context), of the frames of `starts`, which were drawn from `reader` as it is now."""
    time = _times(starts.step, starts.mask.shape[1])
    return reader.table.frame_ids(starts.episode[:, None], time.clip(0))


def save_starts(path: str | Path, starts: Starts) -> None:
    """Write the contexts, without where they come from, as safetensors."""
    write_whole(Path(path), save({"frames": starts.frames, "actions": starts.actions, "mask": starts.mask}))


def load_starts(path: str | Path) -> Starts:
    """Read what `save_starts` wrote.

    Raises:
        UserError: If there is no such file, or it is damaged.
    """
    try:
        arrays = load(Path(path).read_bytes())
        frames, actions, mask = (arrays[name] for name in ("frames", "actions", "mask"))
        _check_arrays(frames, actions, mask)
    except FileNotFoundError as error:
        raise UserError(f"{path} is missing: give the starts of the dreams, or a folder that holds them.") from error
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise UserError(f"{path} is damaged ({in_short(error)}): save the starts again.") from error
    return Starts.of(frames, actions, mask)


def _check_arrays(frames: NDArray[Any], actions: NDArray[Any], mask: NDArray[Any]) -> None:
    if mask.dtype != np.bool_ or mask.ndim != 2 or not mask.shape[1]:
        raise ValueError(f"its mask is {mask.dtype} {mask.shape}")
    if frames.dtype != np.uint8 or frames.ndim != 5 or frames.shape[:2] != mask.shape or frames.shape[4] != 3:
        raise ValueError(f"its frames are {frames.dtype} {frames.shape}")
    count, context = mask.shape
    if actions.dtype not in (np.int64, np.float32) or actions.shape[:2] != (count, context - 1):
        raise ValueError(f"its actions are {actions.dtype} {actions.shape}")


Drawn = tuple[NDArray[np.int64], NDArray[np.int64]]


def _uniform(reader: BufferReader, count: int, rng: np.random.Generator) -> Drawn:
    return _within(reader, rng.integers(reader.num_steps, size=count))


def _within(reader: BufferReader, steps: NDArray[np.int64]) -> Drawn:
    """In which episodes the buffer's `steps` lie, and how far into them."""
    episode = np.searchsorted(reader.table.offset, steps, side="right") - 1
    return episode, steps - reader.table.offset[episode]


def _near_end(reader: BufferReader, count: int, rng: np.random.Generator) -> Drawn | None:
    ends = np.flatnonzero(reader.steps.terminated)
    if not len(ends):
        return None
    episode, step = _within(reader, rng.choice(ends, size=count))
    return episode, _before(step + 1, NEAR_END, rng)


def _near_reward(reader: BufferReader, count: int, rng: np.random.Generator) -> Drawn | None:
    signs = np.sign(reader.steps.rewards).astype(np.int64)
    rare = np.flatnonzero(signs != np.bincount(signs + 1).argmax() - 1)
    if not len(rare):
        return None
    episode, step = _within(reader, rng.choice(rare, size=count))
    return episode, _before(step + 1, NEAR_REWARD, rng)


def _before(steps: NDArray[np.int64], near: tuple[int, int], rng: np.random.Generator) -> NDArray[np.int64]:
    """A few steps before those that have been taken by `steps`, or the episode's first."""
    low, high = near
    return (steps - rng.integers(low, high + 1, size=len(steps))).clip(0)


def _beginning(reader: BufferReader, count: int, rng: np.random.Generator) -> Drawn | None:
    begun = np.flatnonzero([record.info.start == 0 for record in reader.episodes])
    if not len(begun):
        return None
    return rng.choice(begun, size=count), np.zeros(count, np.int64)


def _recent(reader: BufferReader, count: int, rng: np.random.Generator) -> Drawn:
    table = reader.table
    newest = np.flatnonzero(np.repeat(table.round == table.round.max(), table.length))
    return _within(reader, rng.choice(newest, size=count))


def _times(step: NDArray[np.int64], context: int) -> NDArray[np.int64]:
    """(N, context): how far into its episode every frame is; negative where none was played yet."""
    return step[:, None] + np.arange(1 - context, 1)


def _contexts(reader: BufferReader, episode: NDArray[np.int64], step: NDArray[np.int64], context: int) -> Starts:
    table = reader.table
    time = _times(step, context)
    mask = time >= 0
    actions = reader.steps.actions[table.offset[episode][:, None] + time[:, :-1].clip(0)]
    actions[~mask[:, :-1]] = 0
    frames = reader.frames(table.frame_ids(episode[:, None], time.clip(0)))
    return Starts(frames, actions, mask, episode.astype(np.int64), step)
