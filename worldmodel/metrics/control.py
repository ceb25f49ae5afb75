"""Whether the dream does what the player does: delta PSNR of the played against random actions (Genie, 2024)."""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from worldmodel.base import WorldModel
from worldmodel.data.reader import BufferReader
from worldmodel.data.windows import Windows
from worldmodel.metrics.pictures import changing, psnr
from worldmodel.metrics.replay import Replay, draw_replay, replay


@dataclass(frozen=True)
class ControlScores:
    """PSNR (dB) against real play, of dreams from the same starts.

    Attributes:
        pixels: Which count.
        played: Under the actions that were really played.
        random: Under random actions, with the same noise.
        other_noise: Under the played actions, with other noise.
        copy_last: Of the start's newest frame, which knows no action.
    """

    pixels: Literal["all", "changing"]
    played: float
    random: float
    other_noise: float
    copy_last: float

    @property
    def delta(self) -> float:
        """What random actions cost, dB: the higher, the more the dream obeys."""
        return self.played - self.random

    @property
    def noise_delta(self) -> float:
        """What other noise costs, dB: a delta no larger than this says nothing."""
        return self.played - self.other_noise


@dataclass(frozen=True)
class Controllability:
    """How far the actions lead the dream.

    Attributes:
        horizon: Steps dreamed, all of them under those actions.
        starts: Dreams whose game went on so long.
        scores: Over all pixels, and over those that change.
    """

    horizon: int
    starts: int
    scores: tuple[ControlScores, ControlScores]


def controllability(
    model: WorldModel, reader: BufferReader, count: int, seed: int, horizon: int = 4
) -> Controllability | None:
    """Dream `count` held-out starts under the played and under random actions; None if no game goes on so long.

    Unlike in GenieRedux both dreams have the same noise, so that nothing but the actions differs.
    """
    windows = draw_replay(reader, model.context, horizon, count, seed)
    played = replay(model, reader, windows, seed)
    if not played.reached([horizon]):
        return None
    random = replay(model, reader, _acted_at_random(windows, model, seed), seed)
    other = replay(model, reader, windows, seed + 1)
    return _scored(horizon, played, random, other)


def _acted_at_random(windows: Windows, model: WorldModel, seed: int) -> Windows:
    actions, first = windows.actions.copy(), windows.context - 1
    drawn = model.action_spec.draw(np.random.default_rng([seed, 1]), *actions[:, first:].shape[:2])
    actions[:, first:] = drawn
    return replace(windows, actions=actions)


def _scored(horizon: int, played: Replay, random: Replay, other: Replay) -> Controllability:
    there = played.mask[:, horizon]
    real, known = played.real[there, horizon], played.known(horizon)[there]
    shown = (*(seen.dream[there, horizon] for seen in (played, random, other)), known)
    changed = changing(real, known)
    return Controllability(
        horizon=horizon,
        starts=len(real),
        scores=(
            ControlScores("all", *(psnr(frames, real) for frames in shown)),
            ControlScores("changing", *(psnr(frames, real, changed) for frames in shown)),
        ),
    )
