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


@dataclass(frozen=True)
class Joined:
    """Pieces that follow each other in one game.

    Attributes:
        pieces: Their places among all pieces that are there, in order.
        whole: Whether what came before the first of them is known: that the game began, or another episode.
    """

    pieces: list[int] = field(default_factory=list)
    whole: bool = True


def joined(pieces: Sequence[EpisodeEntry]) -> list[Joined]:
    """The episodes that `pieces`, oldest first, make up, in the order in which they begin.

    A game is one episode as long as it is played in one round, and a new one after every `LONGEST` steps; where it is
    cut depends on no other piece, so it stays when older ones are evicted. A game without a seed cannot be told from
    others: its pieces stay apart.
    """
    episodes: list[Joined] = []
    # By game and by steps played in it: the episode that goes on from there, and where it began.
    open_at: dict[tuple[int, int, int], tuple[Joined, EpisodeInfo]] = {}
    for place, piece in enumerate(pieces):
        info = piece.info
        if info.seed is None:
            episodes.append(Joined([place]))
            continue
        episode, begun = (
            open_at.pop((info.collector, info.seed, info.start), (None, info)) if info.start else (None, info)
        )
        if episode is None or not _goes_on(begun, info):
            episode, begun = Joined(whole=not info.start or episode is not None), info
            episodes.append(episode)
        episode.pieces.append(place)
        open_at[info.collector, info.seed, info.start + piece.length] = episode, begun
    return episodes


def game_number(info: EpisodeInfo, ordinal: int) -> int:
    """A number that all pieces of a game share, whichever of them are there; `ordinal` is that of the piece."""
    name = f"piece {ordinal}" if info.seed is None else f"game {info.collector} {info.seed}"
    return zlib.crc32(name.encode())


def _goes_on(begun: EpisodeInfo, info: EpisodeInfo) -> bool:
    return begun.round == info.round and begun.start // LONGEST == info.start // LONGEST
