"""Games that were stored in pieces, put together again.

Collectors deliver a few hundred steps of all their games at a time, so a game of thousands of steps comes in dozens of
pieces. Taken for games of their own, each would show a model a beginning that there never was.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field

from worldmodel.data.chunk import EpisodeEntry
from worldmodel.data.episode import EpisodeInfo

LONGEST = 500
"""steps of a game after which another episode begins: whole episodes are held out, and of one game it must be a part"""


@dataclass(eq=False)
class Joined:
    """Pieces that follow each other in one game.

    Attributes:
        begun: Where the first of them comes from.
        whole: Whether what came before that is known: that the game began, or another episode.
        pieces: Their places among all pieces that are there, in order.
    """

    begun: EpisodeInfo
    whole: bool
    pieces: list[int] = field(default_factory=list)

    def goes_on_with(self, info: EpisodeInfo) -> bool:
        """Whether the next piece of the game belongs to this episode."""
        return self.begun.round == info.round and self.begun.start // LONGEST == info.start // LONGEST


def joined(pieces: Sequence[EpisodeEntry]) -> list[Joined]:
    """The episodes that `pieces`, oldest first, make up, in the order in which they begin.

    A game is one episode as long as it is played in one round, and a new one after every `LONGEST` steps; where it is
    cut depends on no other piece, so it stays when older ones are evicted. A game without a seed cannot be told from
    others: its pieces stay apart.
    """
    episodes: list[Joined] = []
    # By game and by steps played in it: the episode that goes on from there.
    open_at: dict[tuple[int, int, int], Joined] = {}
    for place, piece in enumerate(pieces):
        info = piece.info
        before = open_at.pop((info.collector, info.seed, info.start), None) if info.seed is not None else None
        if before is not None and info.start and before.goes_on_with(info):
            episode = before
        else:
            whole = info.seed is None or not info.start or before is not None
            episodes.append(episode := Joined(info, whole))
        episode.pieces.append(place)
        if info.seed is not None:
            open_at[info.collector, info.seed, info.start + piece.length] = episode
    return episodes


def game_number(info: EpisodeInfo, ordinal: int) -> int:
    """A number that all pieces of a game share, whichever of them are there; `ordinal` is that of the piece."""
    name = f"piece {ordinal}" if info.seed is None else f"game {info.collector} {info.seed}"
    return zlib.crc32(name.encode())
