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

    def __init__(self, reader: BufferReader, autoencoder: Autoencoder, device: torch.device, reach: int = 0) -> None:
        """A cache of what `reader` reads.

        Args:
            reader: The frames.
            autoencoder: Who encodes them.
            device: Where.
            reach: Encode every game's frames shifted, all alike, by up to so many pixels in both directions.
        """
        self._reader = reader
        self._reach = reach
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
        frames = (torch.from_numpy(self._frames(ids)).to(self._device) for ids in self._batches(begin))
        return [self._autoencoder.encode(batch) for batch in frames]

    def _frames(self, ids: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Those with these ids, shifted, the border repeated."""
        frames = self._reader.frames(ids)
        if not self._reach:
            return frames
        down, right = self._offsets(ids).T[:, :, None]
        height, width = frames.shape[1:3]
        rows, columns = (np.arange(height) + down).clip(0, height - 1), (np.arange(width) + right).clip(0, width - 1)
        return frames[np.arange(len(ids))[:, None, None], rows[:, :, None], columns[:, None, :]]

    def _offsets(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """How far each frame is shifted, down and right, (len(ids), 2); it follows from its game alone."""
        games, place = np.unique(self._reader.games(ids), return_inverse=True)
        return np.array([np.random.default_rng(n).integers(-self._reach, self._reach + 1, 2) for n in games])[place]

    def _batches(self, begin: int) -> list[NDArray[np.int64]]:
        """Frame ids from `begin` on, each time cut in the same places: a batch's size may decide the last bits."""
        firsts = self._reader.chunk_firsts
        chunks = (np.arange(first, last) for first, last in pairwise(firsts[firsts >= begin]))
        return [batch for chunk in chunks for batch in np.split(chunk, range(_BATCH, len(chunk), _BATCH))]
