"""Replays made by hand, and world models of the counting game to make others with."""

from dataclasses import replace

import torch
from counting import CountingWorldModel
from playing import SIZE
from torch import Tensor, nn

from worldmodel.base import Step
from worldmodel.metrics.replay import Replay

CONTEXT, HORIZON = 4, 8


class Game(CountingWorldModel):
    """The counting game as it is."""

    def __init__(self, size: int = SIZE):
        super().__init__(CONTEXT, size)
        self.place = nn.Parameter(torch.zeros(()))


class Frozen(Game):
    """Stands still, and says at every step that it ends."""

    def step(self, dream, actions, generator=None):
        _, step = super().step(dream, actions, generator)
        sure = torch.ones_like(step.end_probability)
        return dream, replace(step, terminated=sure.bool(), end_probability=sure)


def outcomes(ends: Tensor, rewards: Tensor | None = None, signs: Tensor | None = None) -> Step:
    """What a dream with these ends (bool, any shape) brought, sure of every one of them."""
    nothing = torch.zeros(ends.shape)
    return Step(nothing if rewards is None else rewards, ends, nothing, ends.float(), signs)


def still(batch: int = 2, horizon: int = 3, level: int = 100, size: int = 4) -> Replay:
    """A game in which nothing happens, perfectly dreamed."""
    frames = torch.full((batch, horizon + 1, size, size, 3), level, dtype=torch.uint8)
    nothing = torch.zeros(batch, horizon, dtype=torch.bool)
    return Replay(
        real=frames,
        dream=frames.clone(),
        ceiling=frames.clone(),
        mask=torch.ones(batch, horizon + 1, dtype=torch.bool),
        terminated=nothing,
        rewards=torch.zeros(batch, horizon),
        outcomes=outcomes(nothing.clone()),
    )
