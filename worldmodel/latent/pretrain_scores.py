"""What a base in the making is worth on play that it has not seen."""

from dataclasses import dataclass

import numpy as np
import torch

from worldmodel.data.reader import BufferReader
from worldmodel.data.windows import Split, WindowSampler
from worldmodel.fidelity import score
from worldmodel.latent.model import LatentWorldModel
from worldmodel.metrics.pictures import changing, psnr
from worldmodel.metrics.replay import draw_replay, replay

HORIZONS = (1, 5, 15)
_JUDGED, _PICTURES = 24, 128


@dataclass(frozen=True)
class PictureScore:
    """Peak signal-to-noise ratios of frames through the autoencoder, dB.

    Attributes:
        all: Over all pixels.
        moving: Over those that differ visibly from the game's median picture.
    """

    all: float
    moving: float


@dataclass(frozen=True)
class DreamScore:
    """Peak signal-to-noise ratios of free-running dreams, dB, one for each of `horizons`; see `Fidelity`."""

    horizons: tuple[int, ...]
    dream: tuple[float, ...]
    copy_last: tuple[float, ...]
    dream_changing: tuple[float, ...]
    copy_last_changing: tuple[float, ...]


@torch.no_grad()
def score_pictures(model: LatentWorldModel, reader: BufferReader, split: Split, seed: int) -> PictureScore:
    """How well the autoencoder shows 128 frames of `split`."""
    ids = WindowSampler(reader, 1, 1, split).sample(_PICTURES, np.random.default_rng(seed)).frame_ids[:, 1]
    frames = torch.from_numpy(reader.frames(ids))
    device = next(model.parameters()).device
    shown = model.reconstruct(frames.to(device)).cpu()
    background = frames.median(0).values.expand_as(frames)
    return PictureScore(psnr(shown, frames), psnr(shown, frames, changing(frames, background)))


def score_dreams(model: LatentWorldModel, reader: BufferReader, seed: int) -> DreamScore:
    """How long its dreams of held-out play stay true."""
    windows = draw_replay(reader, model.context, max(HORIZONS), _JUDGED, seed)
    found = score(replay(model, reader, windows, seed), HORIZONS)
    return DreamScore(found.horizons, found.dream, found.copy_last, found.dream_changing, found.copy_last_changing)
