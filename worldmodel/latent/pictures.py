"""Frames for the autoencoder, weighted towards what moves."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from worldmodel.data.reader import BufferReader
from worldmodel.data.windows import WindowSampler

_EMPHASIS = 20.0
_VISIBLE = 10.0


class PictureBatch(NamedTuple):
    """Frames and how much their pixels count.

    Attributes:
        frames: uint8, (count, height, width, 3).
        weight: float32, (count, 1, height, width), of mean about 1.
    """

    frames: Tensor
    weight: Tensor

    def tensors(self) -> dict[str, Tensor]:
        """Both, by name."""
        return self._asdict()


class Pictures:
    """Draws training frames, some shifted at random, with a weight for every pixel.

    A game's picture is mostly background: where a pixel differs from its median over the buffer it counts 21 times.
    Shifted by up to half a frame (Yarats et al., 2021, "DrQ"), what was seen at one place is drawn well at any.
    """

    def __init__(self, reader: BufferReader, rng: np.random.Generator, shifted: float) -> None:
        """Pictures of a buffer, this share of them shifted."""
        self._reader = reader
        self._shifted = shifted
        self._windows = WindowSampler(reader, 1, 1)
        self._background = self._frames(256, rng).float().median(0).values

    def sample(self, count: int, rng: np.random.Generator) -> PictureBatch:
        """`count` frames, their pixels weighted."""
        frames = self._frames(count, rng)
        moving = (frames.float() - self._background).abs().amax(-1) > _VISIBLE
        weight = 1 + _EMPHASIS * moving.float()
        rows, columns = _shifts(frames.shape, self._shifted, rng)
        batch = torch.arange(count)[:, None, None]
        return PictureBatch(frames[batch, rows, columns], (weight / weight.mean())[batch, rows, columns][:, None])

    def _frames(self, count: int, rng: np.random.Generator) -> Tensor:
        ids = self._windows.sample(count, rng).frame_ids
        return torch.from_numpy(self._reader.frames(ids[:, 1]))


def _shifts(shape: torch.Size, shifted: float, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Row and column indices that shift a share of the frames, each by its own amount, the border repeated."""
    count, height, width = shape[:3]
    kept = rng.random(count) >= shifted
    down = np.where(kept, 0, rng.integers(-height // 2, height // 2 + 1, count))
    right = np.where(kept, 0, rng.integers(-width // 2, width // 2 + 1, count))
    rows = (np.arange(height) + down[:, None]).clip(0, height - 1)
    columns = (np.arange(width) + right[:, None]).clip(0, width - 1)
    return torch.from_numpy(rows)[:, :, None], torch.from_numpy(columns)[:, None, :]
