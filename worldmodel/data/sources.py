"""Who played what of a buffer."""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from worldmodel.data.chunk import Chunk, ChunkEntry
from worldmodel.data.episode import Source


@dataclass(frozen=True)
class Played:
    """What one kind of player played.

    Attributes:
        steps: Its steps.
        reward: The sum of their rewards.
        ends: Games that ended, or reached their limit, in its hands.
    """

    steps: int = 0
    reward: float = 0.0
    ends: int = 0

    def __add__(self, other: "Played") -> "Played":
        return Played(self.steps + other.steps, self.reward + other.reward, self.ends + other.ends)

    @property
    def mean_return(self) -> float:
        """Reward for each game that ended in its hands; nan if none did.

        Games that outlast a delivery change hands, and the games that one player had from beginning to end are the
        short ones: their mean return would be another.
        """
        return self.reward / self.ends if self.ends else math.nan


def played_by_source(entries: Sequence[ChunkEntry], chunks: Sequence[Chunk]) -> dict[Source, Played]:
    """What each kind of player played of `chunks`, which the index tells as `entries`; others are left out."""
    played: dict[Source, Played] = defaultdict(Played)
    for entry, chunk in zip(entries, chunks, strict=True):
        last = np.cumsum([episode.length for episode in entry.episodes]) - 1
        over = chunk.terminated[last] | chunk.truncated[last]
        for episode, ended in zip(entry.episodes, over.tolist(), strict=True):
            played[episode.info.source] += Played(episode.length, episode.return_, int(ended))
    return dict(played)
