"""World models on small bases of Stable Diffusion's layouts."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from tiny import SPEC, stir
from torch import Tensor

from worldmodel.data.segment import Segment
from worldmodel.head_config import HeadConfig
from worldmodel.latent.config import AdapterConfig, BaseConfig, LatentConfig
from worldmodel.latent.model import LatentDream, LatentWorldModel

SIZE = 32
"""Height and width of a frame; the latents are 4 x 4."""


def config_of(folder: Path | str, **changes: Any) -> LatentConfig:
    """The settings of a small world model on the base in `folder`."""
    config = LatentConfig(
        base=BaseConfig(str(folder)),
        frame_size=SIZE,
        adapter=AdapterConfig(rank=2, alpha=2),
        head=HeadConfig(members=2, hidden=16),
    )
    return replace(config, **changes)


def based(folder: Path | str, adapted: bool = False, **changes: Any) -> LatentWorldModel:
    """A world model on the base in `folder`, with an adapter that has learned something if it is `adapted`."""
    torch.manual_seed(0)
    model = LatentWorldModel(config_of(folder, **changes), SPEC)
    channels, height, width = model.latent_shape
    raw = torch.randn(2, 8, channels, height, width)
    model.autoencoder.standardise(raw[0] * 2 + 1, raw[1])
    if adapted:
        model.adapt()
        for seed, part in enumerate(("lora_B", "modules_to_save.default")):
            stir(model, seed, only=part)
    return model.eval()


def noise_frames(*shape: int, frame: tuple[int, ...] = (SIZE, SIZE, 3)) -> Tensor:
    """uint8, (*shape, *frame)."""
    return torch.randint(256, (*shape, *frame), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def begun(model: LatentWorldModel, count: int = 2) -> LatentDream:
    """Dreams from noise."""
    actions = torch.arange(count * (model.context - 1)).view(count, -1) % 3
    mask = torch.ones(count, model.context, dtype=torch.bool)
    return model.begin(noise_frames(count, model.context, frame=model.frame_shape), actions, mask)


def dreamed(model: LatentWorldModel, steps: int = 2) -> list[Tensor]:
    """The latents and the pictures of a short dream."""
    dream, generator, seen = begun(model), torch.Generator().manual_seed(0), []
    for action in range(steps):
        dream, _ = model.step(dream, torch.full((len(dream),), action % 3), generator)
        seen += [dream.latents[:, -1], model.observe(dream)]
    return seen


def same(one: list[Tensor], other: list[Tensor]) -> bool:
    """Whether two dreams are the same to the last bit."""
    return all(torch.equal(ours, theirs) for ours, theirs in zip(one, other, strict=True))


def windows(model: LatentWorldModel, batch: int = 4, horizon: int = 2) -> Segment:
    """Windows of noise."""
    length = model.context + horizon
    generator = torch.Generator().manual_seed(0)
    return Segment(
        frames=noise_frames(batch, length, frame=model.frame_shape),
        actions=torch.randint(3, (batch, length - 1), generator=generator),
        rewards=torch.zeros(batch, length - 1),
        terminated=torch.zeros(batch, length - 1, dtype=torch.bool),
        truncated=torch.zeros(batch, length - 1, dtype=torch.bool),
        mask=torch.ones(batch, length, dtype=torch.bool),
        context=model.context,
    )
