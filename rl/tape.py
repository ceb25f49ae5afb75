"""Keeping a game that is played before one's eyes, as all play is kept."""

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rl.buffer import BufferWriter
from rl.lock import FolderLock
from rl.one_game import Sight
from rl.policies import Policy
from worldmodel.data.episode import Episode, EpisodeInfo, Source
from worldmodel.data.index import read_index
from worldmodel.errors import UserError
from worldmodel.files import writing
from worldmodel.spaces import ActionSpec, FrameShape

_PIECE = 500
"""steps after which a game that goes on is written, as collectors do: no more are lost with the process"""
_CAPACITY = 10**12
"""steps that are kept: nothing that somebody played is thrown away"""
_NO_COLLECTOR = -1
"""another than those of any run, so that a run that goes on in the folder knows its own games"""


class Who(NamedTuple):
    """Who plays, as an episode tells it."""

    source: Source
    policy_version: int = 0
    world_model_version: int = 0

    @classmethod
    def by(cls, policy: Policy) -> "Who":
        """A policy."""
        return cls(policy.source, policy.version, policy.world_model_version)


PERSON = Who("human")


class _Taken(NamedTuple):
    """One step: who took it, what was done, what came of it."""

    who: Who
    action: NDArray[Any]
    sight: Sight


class Tape:
    """Writes games into a buffer folder: all of each, in a piece for every turn that somebody has.

    A game that is given up is kept too, its last piece with neither flag at its end: it was cut off while it went on.

    Attributes:
        steps: Steps written so far.
    """

    def __init__(self, folder: Path, env_id: str, frame_shape: FrameShape, action_spec: ActionSpec) -> None:
        """Go on with the buffer in `folder`, or begin one.

        Raises:
            UserError: If it holds the play of another game, is in use, or can't be written.
        """
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = FolderLock(folder, patience=0)
        try:
            self._writer = BufferWriter(folder, frame_shape, action_spec, _CAPACITY)
            _check_game(folder, env_id)
        except UserError:
            self._lock.release()
            raise
        self._env_id, self._spec = env_id, action_spec
        self._taken: list[_Taken] = []
        self.steps = 0

    def begin(self, sight: Sight, seed: int | None) -> None:
        """A game begins, which `seed` replays; what was played of the one before is written."""
        self.write()
        self._first, self._seed, self._start = sight.picture, seed, 0

    def add(self, who: Who, action: NDArray[Any], sight: Sight) -> None:
        """`who` took a step in the game, and saw what came of it."""
        self._taken.append(_Taken(who, action, sight))
        if sight.over or len(self._taken) >= _PIECE:
            self.write()

    def write(self) -> None:
        """Write what was played since the last time; the game may go on."""
        if not self._taken:
            return
        pieces = list(self._pieces())
        self._writer.append(pieces)
        played = len(self._taken)
        self.steps += played
        self._first, self._start = self._taken[-1].sight.picture, self._start + played
        self._taken = []

    def close(self) -> None:
        """Write what is left, and let go of the folder."""
        try:
            self.write()
        finally:
            self._lock.release()

    def _pieces(self) -> Iterator[Episode]:
        first, start = self._first, self._start
        for who, turn in groupby(self._taken, key=lambda taken: taken.who):
            taken = list(turn)
            yield self._piece(first, taken, self._info(who, start))
            first, start = taken[-1].sight.picture, start + len(taken)

    def _info(self, who: Who, start: int) -> EpisodeInfo:
        return EpisodeInfo(
            env_id=self._env_id,
            source=who.source,
            policy_version=who.policy_version,
            world_model_version=who.world_model_version,
            round=0,
            collector=_NO_COLLECTOR,
            seed=self._seed,
            start=start,
        )

    def _piece(self, first: NDArray[np.uint8], taken: list[_Taken], info: EpisodeInfo) -> Episode:
        seen = [step.sight for step in taken]
        return Episode(
            frames=np.stack([first, *(sight.picture for sight in seen)]),
            actions=np.stack([step.action for step in taken]).astype(self._spec.dtype),
            rewards=np.array([sight.reward for sight in seen], np.float32),
            terminated=np.array([sight.terminated for sight in seen], np.bool_),
            truncated=np.array([sight.truncated for sight in seen], np.bool_),
            life_lost=np.array([sight.life_lost for sight in seen], np.bool_),
            info=info,
        )


def _check_game(folder: Path, env_id: str) -> None:
    """Two games may well have the same frames and actions."""
    played = {piece.info.env_id for chunk in read_index(folder).there for piece in chunk.episodes}
    if others := played - {env_id}:
        raise UserError(f"{folder} holds play of {', '.join(sorted(others))}, not of {env_id}: name another folder.")
