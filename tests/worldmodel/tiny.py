"""Latent world models small enough to build in a moment, and a game that they can learn in seconds."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rl.buffer import BufferWriter
from worldmodel.data.episode import Episode, EpisodeInfo
from worldmodel.data.reader import BufferReader
from worldmodel.data.segment import Segment
from worldmodel.head_config import HeadConfig
from worldmodel.latent.config import AdapterConfig, AutoencoderConfig, DenoiserConfig, LatentConfig
from worldmodel.latent.model import LatentDream, LatentWorldModel
from worldmodel.spaces import ActionSpec

torch.set_num_threads(1)

SIZE = 16
CELLS = 4
CHANNELS = 4
SPEC = ActionSpec.discrete(3, ("left", "stay", "right"))
CONFIG = LatentConfig(
    frame_size=SIZE,
    autoencoder=AutoencoderConfig(channels=(16, 16, 16), latent_channels=CHANNELS),
    denoiser=DenoiserConfig(channels=(32, 64)),
    adapter=AdapterConfig(rank=2, alpha=2),
    head=HeadConfig(members=2, hidden=16),
)
LATENT = (CHANNELS, CELLS, CELLS)


def tiny(adapted: bool = False, stirred: bool = True, seed: int = 0, **changes: Any) -> LatentWorldModel:
    """A model, ready to dream; `stirred`, no weight is left at a zero that it has by design."""
    torch.manual_seed(seed)
    model = LatentWorldModel(replace(CONFIG, **changes), SPEC)
    if stirred:
        stir(model, seed)
        model.autoencoder.standardise(torch.randn(8, *LATENT) * 2 + 1, torch.randn(8, *LATENT))
    if adapted:
        model.adapt()
    if adapted and stirred:
        stir(model, seed + 1, only="lora_B")
        stir(model, seed + 2, only="modules_to_save.default")
    return model.eval()


@torch.no_grad()
def stir(model: nn.Module, seed: int, only: str = "") -> None:
    """Shake the parameters, or those with `only` in their name, as training would."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        if only in name:
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.05)


def noise_frames(*shape: int, seed: int = 0) -> Tensor:
    """uint8, (*shape, SIZE, SIZE, 3)."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(256, (*shape, SIZE, SIZE, 3), generator=generator, dtype=torch.uint8)


def begun(model: LatentWorldModel, count: int = 3, seed: int = 0) -> LatentDream:
    """Dreams from noise."""
    generator = torch.Generator().manual_seed(seed)
    actions = torch.randint(3, (count, model.context - 1), generator=generator)
    frames = noise_frames(count, model.context, seed=seed)
    return model.begin(frames, actions, torch.ones(count, model.context, dtype=torch.bool))


def dreamed(model: LatentWorldModel, steps: int = 3, seed: int = 0) -> list[Tensor]:
    """All that a few steps of dreaming bring: pictures, rewards, ends and doubts."""
    dream, generator = begun(model), torch.Generator().manual_seed(seed)
    seen = [dream.latents]
    for action in range(steps):
        dream, step = model.step(dream, torch.full((len(dream),), action % 3), generator)
        seen += [dream.latents, model.observe(dream), step.rewards, step.terminated, step.doubt]
    return seen


def random_segment(batch: int = 6, context: int = 4, horizon: int = 3, seed: int = 0) -> Segment:
    """Windows of noise, the first of them with padding at both ends."""
    generator = torch.Generator().manual_seed(seed)
    length = context + horizon
    mask = torch.ones(batch, length, dtype=torch.bool)
    mask[0, : context - 2] = False
    mask[0, context + 1 :] = False
    return Segment(
        frames=noise_frames(batch, length, seed=seed),
        actions=torch.randint(3, (batch, length - 1), generator=generator),
        rewards=torch.randint(-1, 2, (batch, length - 1), generator=generator).float(),
        terminated=torch.rand(batch, length - 1, generator=generator) < 0.3,
        truncated=torch.zeros(batch, length - 1, dtype=torch.bool),
        mask=mask,
        context=context,
    )


def sliding(seed: int, steps: int = 16) -> Episode:
    """A bright block on a row of four cells that goes left, stays or goes right, and wraps around.

    Going right pays 1, going left costs 1; the game ends when the steps are over.
    """
    rng = np.random.default_rng(seed)
    actions = rng.integers(3, size=steps)
    cells = (np.cumsum([rng.integers(CELLS), *(actions - 1)]) % CELLS) * (SIZE // CELLS)
    frames = np.full((steps + 1, SIZE, SIZE, 3), 20, np.uint8)
    for frame, cell in zip(frames, cells, strict=True):
        frame[4:8, cell : cell + 4] = 230
    nothing = np.zeros(steps, bool)
    info = EpisodeInfo("sliding", "random", 0, 0, 1, 0, seed, 0)
    rewards = (actions - 1).astype(np.float32)
    return Episode(frames, actions, rewards, np.arange(steps) == steps - 1, nothing, nothing.copy(), info)


def slides(folder: Path, episodes: Sequence[Episode]) -> BufferReader:
    """A buffer with these episodes."""
    BufferWriter(folder, (SIZE, SIZE, 3), SPEC, 1_000_000).append(episodes)
    return BufferReader(folder)
