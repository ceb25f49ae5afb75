"""Collecting one round's play: pieces handed out to collectors, and what they bring put into the buffer."""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import ObjectLostError

from rl.collector import Delivery, Shares
from rl.supervised import DEATHS, MOST_DEATHS, Supervised
from worldmodel.data.index import read_index
from worldmodel.errors import UserError

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
    due: float


class Gathering:
    """Plays until a round has the steps that it should; what an earlier try left in the buffer counts."""

    def __init__(
        self, collectors: Sequence[Supervised], buffer: Supervised, folder: Path, order: Order, timeout: float
    ) -> None:
        """Nothing is played yet.

        Args:
            collectors: Who plays.
            buffer: Who keeps the play.
            folder: Where it is kept.
            order: What is played.
            timeout: Seconds after which a collector that brings nothing is started again.
        """
        self._collectors, self._buffer, self._order, self._timeout = collectors, buffer, order, timeout
        self._status = buffer.ask(lambda actor: actor.status.remote())
        mine = [chunk for chunk in read_index(folder).chunks if chunk.episodes[0].info.round == order.round]
        self.steps = sum(chunk.steps for chunk in mine if not chunk.lost)
        self._delivered = Counter(chunk.episodes[0].info.collector for chunk in mine)
        self._playing: dict[Any, _Piece] = {}
        self._failure: UserError | None = None

    @property
    def lap(self) -> int:
        """Steps in which each collector is called once."""
        return _PIECE * len(self._collectors)

    def run(self, wanted: int) -> Iterator[int]:
        """Play until there are `wanted` steps, all collectors at once. Yields steps as they come into the buffer.

        Raises:
            UserError: If a game fails, once all that was played is in the buffer.
        """
        idle = list(range(len(self._collectors)))
        while self._missing(wanted) > 0 or self._playing:
            while idle and (missing := self._missing(wanted)) > 0:
                self._send(idle.pop(), min(_PIECE, missing))
            for done in self._wait():
                piece = self._playing.pop(done)
                if brought := self._store(piece, done):
                    idle.append(piece.player)
                    yield brought
                elif self._failure is None:
                    self._send(piece.player, piece.steps)
        if self._failure is not None:
            raise self._failure

    def _missing(self, wanted: int) -> int:
        """Steps that nobody plays yet; none once a game has failed."""
        playing = sum(piece.steps for piece in self._playing.values())
        return 0 if self._failure is not None else wanted - self.steps - playing

    def _send(self, player: int, steps: int) -> None:
        order, deliver = self._order, self._collectors[player].actor.deliver.options(num_returns=2)
        episodes, done = deliver.remote(
            steps, order.round, order.shares, order.policy, order.world_model, self._delivered[player]
        )
        self._playing[done] = _Piece(player, steps, episodes, time.monotonic() + self._timeout)

    def _wait(self) -> list[Any]:
        """The next piece that is there; none if a collector had to be started again, and plays its piece again."""
        oldest = min(self._playing, key=lambda done: self._playing[done].due)
        left = max(self._playing[oldest].due - time.monotonic(), 0.0)
        there, _ = ray.wait(list(self._playing), num_returns=1, timeout=left)
        if not there:
            piece = self._playing.pop(oldest)
            self._end(piece)
            self._send(piece.player, piece.steps)
        return there

    def _end(self, piece: _Piece) -> None:
        collector, late = self._collectors[piece.player], f"brought no play within {self._timeout:g} s"
        if collector.deaths + 1 >= MOST_DEATHS:
            raise UserError(
                f"{collector.name} {late} and was started again, {MOST_DEATHS} times: mend the game, which hangs where"
                f" it can't be interrupted, or raise --collect.timeout if {piece.steps} steps just take longer."
            )
        collector.revive(TimeoutError(late))

    def _store(self, piece: _Piece, done: Any) -> int:
        """Put a piece into the buffer. Returns its steps; 0 if its player died with it, or a game failed at once."""
        before = self._status
        try:
            delivery: Delivery = ray.get(done)
            # The episodes go from the collector to the buffer without passing through here.
            self._status = self._buffer.ask(
                lambda actor: actor.append.remote(piece.episodes, note=delivery.note, chunk=before.chunks)
            )
        except (*DEATHS, ObjectLostError) as error:
            self._collectors[piece.player].revive(error)
            return 0
        except UserError as error:
            self._failure = self._failure or error
            return 0
        self._failure = self._failure or delivery.failure
        self._delivered[piece.player] += 1
        brought = self._status.collected_steps - before.collected_steps
        self.steps += brought
        return brought


def play_until(gathering: Gathering, seen: Callable[[], int], wanted: int, most: int) -> Iterator[int]:
    """Play on until `seen` counts `wanted`, or the round has `most` steps. Yields by how much the count grew.

    It looks whenever each collector has brought something: a single one that is interrupted and goes on stops where it
    would have stopped.
    """
    count = seen()
    yield count
    while count < wanted and gathering.steps < most:
        for _ in gathering.run(min(gathering.steps + gathering.lap, most)):
            pass
        before, count = count, seen()
        yield count - before
