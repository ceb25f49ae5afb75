"""Pixel world models small enough to build in a moment."""

from dataclasses import replace
from typing import Any

import torch
from tiny import SIZE, SPEC, noise_frames, stir
from torch import Tensor

from worldmodel.pixel.config import OutcomeConfig, PixelConfig, UNetConfig
from worldmodel.pixel.model import PixelDream, PixelWorldModel
from worldmodel.spaces import ActionSpec

CONFIG = PixelConfig(
    frame_size=SIZE,
    unet=UNetConfig(channels=(16, 16), layers=1, condition=32),
    outcomes=OutcomeConfig(channels=(8, 16), layers=1, condition=16, hidden=24),
)


def tiny_pixel(spec: ActionSpec = SPEC, stirred: bool = True, seed: int = 0, **changes: Any) -> PixelWorldModel:
    """A model, ready to dream; `stirred`, no weight is left at a zero that it has by design."""
    torch.manual_seed(seed)
    model = PixelWorldModel(replace(CONFIG, **changes), spec)
    if stirred:
        stir(model, seed)
    return model.eval()


def begun(model: PixelWorldModel, count: int = 3, seed: int = 0) -> PixelDream:
    """Dreams from noise."""
    generator = torch.Generator().manual_seed(seed)
    actions = torch.randint(3, (count, model.context - 1), generator=generator)
    frames = noise_frames(count, model.context, seed=seed)
    return model.begin(frames, actions, torch.ones(count, model.context, dtype=torch.bool))


def dreamed(model: PixelWorldModel, steps: int = 3, seed: int = 0) -> list[Tensor]:
    """All that a few steps of dreaming bring: pictures, memories, rewards and ends."""
    dream, generator = begun(model), torch.Generator().manual_seed(seed)
    seen = [dream.frames]
    for action in range(steps):
        dream, step = model.step(dream, torch.full((len(dream),), action % 3), generator)
        seen += [dream.frames, dream.hidden, dream.cell, model.observe(dream), step.rewards, step.terminated]
    return seen
