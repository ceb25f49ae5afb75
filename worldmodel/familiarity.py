"""How strange what a dream shows is, against real play: an out-of-distribution score."""

from math import prod

import torch
from torch import Tensor, nn

_DIRECTIONS = 32
"""ways in which pictures differ that are told apart; what is left is taken for one"""
_LEAST_VARIANCE = 1e-6
"""where real pictures do not differ at all; all of them together differ by about 1"""


class Familiarity(nn.Module):
    """The distance of two pictures in a row from those of real play; pictures are latents, or small frames.

    A Mahalanobis distance, which tells strange inputs (Lee et al., 2018), under probabilistic principal components
    (Tipping and Bishop, 1999): along the directions in which play varies most a step counts in units of the spread
    there, beside all of them in units of the little that is left. Two of them, since a picture may be a real one and
    still not follow the one before.

    Attributes:
        mean: float32, (size,), of two pictures as one vector.
        directions: float32, (size, rank), orthonormal.
        variance: float32, (rank,), along them.
        rest: float32, (), the mean variance beside them; infinite, so that all is familiar, until something is learned.
        limit: float32, (): the distance that real play hardly ever exceeds; infinite until it was measured.
    """

    mean: Tensor
    directions: Tensor
    variance: Tensor
    rest: Tensor
    limit: Tensor

    def __init__(self, channels: int, height: int, width: int) -> None:
        """For pictures of this shape."""
        super().__init__()
        size = 2 * prod((channels, height, width))
        rank = min(_DIRECTIONS, size - 1)
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("directions", torch.zeros(size, rank))
        self.register_buffer("variance", torch.ones(rank))
        self.register_buffer("rest", torch.tensor(torch.inf))
        self.register_buffer("limit", torch.tensor(torch.inf))

    @property
    def least_pairs(self) -> int:
        """Pairs that it takes to learn what is familiar."""
        return len(self.variance) + 1

    def forward(self, pairs: Tensor) -> Tensor:
        """The distance, float32 (batch,), of pictures (batch, 2, channels, h, w), the older first."""
        centred = pairs.flatten(1).float() - self.mean
        along = (centred @ self.directions).square()
        beside = (centred.square().sum(1) - along.sum(1)).clamp_min(0)
        return ((along / self.variance).sum(1) + beside / self.rest).sqrt()

    @torch.no_grad()
    def learn(self, pairs: Tensor) -> None:
        """Take these for all that is familiar: pictures of real play as in `forward`, `least_pairs` or more.

        The same pairs bring the same distances: the random numbers that find the directions are always the same ones.
        """
        flat = pairs.flatten(1).float()
        self.mean.copy_(flat.mean(0))
        centred = flat - self.mean
        with torch.random.fork_rng():
            torch.manual_seed(0)
            _, spread, directions = torch.pca_lowrank(centred, len(self.variance), center=False)
        variance, total = spread.square() / len(centred), centred.square().sum() / len(centred)
        self.directions.copy_(directions)
        self.variance.copy_(variance.clamp_min(_LEAST_VARIANCE))
        self.rest.copy_(((total - variance.sum()) / (len(self.mean) - len(variance))).clamp_min(_LEAST_VARIANCE))
