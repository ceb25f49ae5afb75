"""Every frame of a buffer, encoded once."""

import numpy as np
import torch
from torch import Tensor

from worldmodel.data.reader import BufferReader
from worldmodel.latent.autoencoder import Autoencoder


class LatentCache:
    """Latents by frame id; cleared when the autoencoder changes."""

    def __init__(self, reader: BufferReader, autoencoder: Autoencoder, device: torch.device) -> None:
        self._reader = reader
        self._autoencoder = autoencoder
        self._device = device
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self._first = self._reader.first_frame_id
        self._latents: Tensor | None = None

    def extend(self) -> None:
        """Encode the frames that came since, and forget those that were evicted."""
        known = [] if self._latents is None else [self._latents[max(self._reader.first_frame_id - self._first, 0) :]]
        self._first = self._reader.first_frame_id
        begin = self._first + sum(map(len, known))
        self._latents = torch.cat([*known, *self._encoded(begin, self._reader.end_frame_id)])

    def __getitem__(self, frame_ids: Tensor) -> Tensor:
        """Latents (*frame_ids.shape, channels, h, w) of frames that `extend` has seen."""
        assert self._latents is not None, "extend the cache first"
        return self._latents[frame_ids - self._first]

    @torch.no_grad()
    def _encoded(self, begin: int, end: int) -> list[Tensor]:
        batches = np.split(np.arange(begin, end), np.arange(256, max(end - begin, 1), 256))
        frames = (torch.from_numpy(self._reader.frames(ids)).to(self._device) for ids in batches if len(ids))
        return [self._autoencoder.encode(batch) for batch in frames]
