"""Every frame of a buffer, encoded once."""

from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from worldmodel.data.reader import BufferReader
from worldmodel.latent.autoencoder import Autoencoder

_BATCH = 256


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
        self._latents = torch.cat([*known, *self._encoded(begin)])

    def __getitem__(self, frame_ids: Tensor) -> Tensor:
        """Latents (*frame_ids.shape, channels, h, w) of frames that `extend` has seen."""
        assert self._latents is not None, "extend the cache first"
        return self._latents[frame_ids - self._first]

    @torch.no_grad()
    def _encoded(self, begin: int) -> list[Tensor]:
        frames = (torch.from_numpy(self._reader.frames(ids)).to(self._device) for ids in self._batches(begin))
        return [self._autoencoder.encode(batch) for batch in frames]

    def _batches(self, begin: int) -> list[NDArray[np.int64]]:
        """Frame ids from `begin` on, each time cut in the same places: a batch's size may decide the last bits."""
        firsts = self._reader.chunk_firsts
        chunks = (np.arange(first, last) for first, last in pairwise(firsts[firsts >= begin]))
        return [batch for chunk in chunks for batch in np.split(chunk, range(_BATCH, len(chunk), _BATCH))]
