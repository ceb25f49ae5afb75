"""Collecting one round's play: pieces handed out to collectors, and what they bring put into the buffer."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import ObjectLostError

from rl.collector import Shares
from rl.supervised import DEATHS, Supervised
from worldmodel.data.index import read_index

_PIECE = 500
"""real steps that one call to a collector asks for"""


@dataclass(frozen=True)
class Order:
    """What all collectors are told.

    Attributes:
        round: The round that they play for.
        shares: Who plays how much.
        policy: The learning policy, or None, in Ray's object store.
        world_model: Folder of the world model through whose encoder policies see.
    """

    round: int
    shares: Shares
    policy: Any
    world_model: Path


@dataclass(frozen=True)
class _Piece:
    player: int
    steps: int
    episodes: Any


class Gathering:
    """Plays until a round has the steps that it should; what an earlier try left in the buffer counts."""

    def __init__(self, collectors: Sequence[Supervised], buffer: Supervised, folder: Path, order: Order) -> None:
        """Nothing is played yet; `buffer` keeps its play in `folder`."""
        self._collectors, self._buffer, self._order = collectors, buffer, order
        self._status = buffer.ask(lambda actor: actor.status.remote())
        mine = [chunk for chunk in read_index(folder).chunks if chunk.episodes[0].info.round == order.round]
        self.steps = sum(chunk.steps for chunk in mine)
        self._delivered = Counter(chunk.episodes[0].info.collector for chunk in mine)
        self._playing: dict[Any, _Piece] = {}

    def run(self, wanted: int) -> Iterator[int]:
        """Play until there are `wanted` steps, all collectors at once. Yields steps as they come into the buffer."""
        idle = list(range(len(self._collectors)))
        while self._missing(wanted) > 0 or self._playing:
            while idle and (missing := self._missing(wanted)) > 0:
                self._send(idle.pop(), min(_PIECE, missing))
            (done,), _ = ray.wait(list(self._playing), num_returns=1)
            piece = self._playing.pop(done)
            if brought := self._store(piece, done):
                idle.append(piece.player)
                yield brought
            else:
                self._send(piece.player, piece.steps)

    def _missing(self, wanted: int) -> int:
        return wanted - self.steps - sum(piece.steps for piece in self._playing.values())

    def _send(self, player: int, steps: int) -> None:
        order, deliver = self._order, self._collectors[player].actor.deliver.options(num_returns=2)
        episodes, done = deliver.remote(
            steps, order.round, order.shares, order.policy, order.world_model, self._delivered[player]
        )
        self._playing[done] = _Piece(player, steps, episodes)

    def _store(self, piece: _Piece, done: Any) -> int:
        """Put a piece into the buffer. Returns its steps; 0 if its player has died with it and must play it again."""
        before = self._status
        try:
            note = ray.get(done)
            # The episodes go from the collector to the buffer without passing through here.
            self._status = self._buffer.ask(
                lambda actor: actor.append.remote(piece.episodes, note=note, chunk=before.chunks)
            )
        except (*DEATHS, ObjectLostError) as error:
            self._collectors[piece.player].revive(error)
            return 0
        self._delivered[piece.player] += 1
        brought = self._status.collected_steps - before.collected_steps
        self.steps += brought
        return brought
