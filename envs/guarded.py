"""A game by somebody else, which may raise, hang, or return what is no outcome."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from envs.game import Game, Outcome
from envs.patience import time_limit
from worldmodel.errors import UserError, in_short
from worldmodel.spaces import ActionSpec

_LARGEST_REWARD = float(np.finfo(np.float32).max)


class GuardedGame(Game):
    """A game whose every failure is one sentence, with the seed, the step and the action at which it comes again."""

    def __init__(self, game: Game, env_id: str, patience: float | None) -> None:
        """Guard `game`, which is told as `env_id`; one call of it may take `patience` seconds, None: for ever."""
        self._game, self._env_id, self._patience = game, env_id, patience
        self.action_spec = game.action_spec
        self._seed, self._steps = 0, 0

    def reset(self, seed: int) -> None:
        """Begin the game that `seed` names."""
        self._seed, self._steps = seed, 0
        with self._telling("reset()"):
            self._game.reset(seed)

    def step(self, action: Any) -> Outcome:
        """Play on."""
        self._steps += 1
        with self._telling(f"step({np.asarray(action).tolist()})"):
            _check_action(self.action_spec, action)
            return _checked(self._game.step(action))

    def frame(self) -> NDArray[np.uint8]:
        """The newest picture."""
        with self._telling("render()"):
            return self._game.frame()

    def close(self) -> None:
        """Close the game."""
        self._game.close()

    @contextmanager
    def _telling(self, call: str) -> Iterator[None]:
        try:
            with time_limit(self._patience):
                yield
        except Exception as error:
            raise UserError(
                f"{self._env_id} failed in {call} at step {self._steps} of the game with seed {self._seed}"
                f" ({in_short(error)}): mend the game, or choose another."
            ) from error


def _check_action(spec: ActionSpec, action: Any) -> None:
    values = np.ravel(action).tolist()
    fits = map(math.isfinite, values) if spec.kind == "box" else map(_is_choice, values, spec.sizes)
    if len(values) != len(spec) or not all(fits):
        raise ValueError(f"the game has {spec}")


def _is_choice(value: float, size: int) -> bool:
    return 0 <= value < size


def _checked(outcome: Outcome) -> Outcome:
    reward = float(outcome.reward)
    if not abs(reward) <= _LARGEST_REWARD:
        raise ValueError(f"the reward is {reward}")
    for name in ("terminated", "truncated"):
        if not isinstance(flag := getattr(outcome, name), bool | np.bool_):
            raise TypeError(f"{name} is {flag!r}, neither True nor False")
    return Outcome(reward, bool(outcome.terminated), bool(outcome.truncated), outcome.life_lost)
