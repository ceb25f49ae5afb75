"""A person at a game, who may let a policy play."""

from collections import deque

import numpy as np
from numpy.typing import NDArray

from rl.one_game import OneGame
from rl.players import Player
from rl.tape import PERSON, Tape, Who

_ROW = np.zeros(1, np.int64)
"""the one game, among those that a policy sees"""


class Session:
    """One game after another, under a person's hands or a policy's.

    Attributes:
        game: What is played.
        sight: What is to be seen.
        steps: Steps played in the game.
        total: Sum of its rewards.
        action: The newest action; 0 before the first.
        by_hand: Whether the person plays.
        film: The newest pictures, as many as are kept.
    """

    def __init__(
        self,
        game: OneGame,
        player: Player | None = None,
        tape: Tape | None = None,
        seed: int | None = None,
        film: int = 0,
    ) -> None:
        """Begin the first game.

        Args:
            game: What is played, with one choice a step.
            player: The policy, which plays at first; None: the person plays.
            tape: Keeps what is played; None: nobody does.
            seed: Seeds every random choice; None: by chance.
            film: How many pictures to keep.
        """
        self.game, self._player, self._tape = game, player, tape
        self._rng = np.random.default_rng(seed)
        self.by_hand = player is None
        self.film: deque[NDArray[np.uint8]] = deque(maxlen=film)
        self.begin(seed)

    @property
    def has_policy(self) -> bool:
        """Whether anybody else can play."""
        return self._player is not None

    def begin(self, seed: int | None = None) -> None:
        """Begin anew, whether the game is over or not."""
        self.sight = self.game.begin(seed)
        self.steps, self.total, self.action = 0, 0.0, 0
        self.film.append(self.sight.picture)
        if self._player:
            self._player.view.start(self.sight.glimpses)
        if self._tape:
            self._tape.begin(self.sight, self.game.seed)

    def turn(self) -> None:
        """The other one plays from here on, if there is another."""
        self.by_hand = self._player is None or not self.by_hand

    def step(self, action: int) -> None:
        """Play on, unless the game is over: what the policy chooses if it plays, else the person's `action`."""
        if self.sight.over:
            return
        who, self.action = self._chosen(action)
        self.sight = self.game.step(np.asarray(self.action))
        self.steps, self.total = self.steps + 1, self.total + self.sight.reward
        self.film.append(self.sight.picture)
        if self._player:
            # It watches the person too, so that it can play on at any moment.
            self._player.view.look(self.sight.glimpses[-1], _ROW)
        if self._tape:
            self._tape.add(who, np.asarray(self.action), self.sight)

    def close(self) -> None:
        """Keep what was played; the game itself stays open."""
        if self._tape:
            self._tape.close()

    def _chosen(self, action: int) -> tuple[Who, int]:
        if self.by_hand or self._player is None:
            return PERSON, action
        policy = self._player.policy
        return Who.by(policy), int(policy.act(self._player.view.of(_ROW), self._rng)[0])
