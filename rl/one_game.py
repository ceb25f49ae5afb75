"""One game at a time, real or dreamt, as somebody who sits before it sees it."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from envs.neural import NeuralEnv
from envs.real import RealVectorEnv, make_real
from rl.dream_play import glimpses, remembered
from rl.players import Glimpse
from rl.policies import PolicySpec
from rl.settings import GameSettings
from worldmodel.spaces import ActionSpec, FrameShape, FrameSize, shape_of


@dataclass(frozen=True, eq=False)
class Sight:
    """What a game shows, and what the newest step brought.

    Attributes:
        picture: uint8, (height, width, 3): what a person sees.
        glimpses: What a policy sees, newest last: where a game begins, all that it may remember; else the newest.
        reward: The game's own.
        terminated: Whether the game ended.
        truncated: Whether it was cut off.
        life_lost: Whether a life was lost.
        told: What a world model tells of its step; see `NeuralEnv.step`.
    """

    picture: NDArray[np.uint8]
    glimpses: Sequence[Glimpse]
    reward: float = 0.0
    terminated: bool = False
    truncated: bool = False
    life_lost: bool = False
    told: Mapping[str, float] = field(default_factory=dict)

    @property
    def over(self) -> bool:
        """Whether nothing follows."""
        return self.terminated or self.truncated


class OneGame(ABC):
    """One game at a time.

    Attributes:
        action_spec: Its actions.
        frame_shape: (height, width, 3) of its pictures.
        doubt_limit: The doubt at which it is cut off; None of a real game.
    """

    action_spec: ActionSpec
    frame_shape: FrameShape
    doubt_limit: float | None = None

    @property
    def seed(self) -> int | None:
        """What replays the game that is under way; None where nothing does."""
        return None

    @abstractmethod
    def begin(self, seed: int | None = None) -> Sight:
        """Begin a game; every game from here on is drawn from `seed`, None: as they come."""

    @abstractmethod
    def step(self, action: NDArray[Any]) -> Sight:
        """Play on in a game that is not over; `action` is one as `action_spec` has it."""

    @abstractmethod
    def close(self) -> None:
        """Let go of what the game holds."""


class OneDream(OneGame):
    """A dream of a world model, on the GPU if there is one."""

    def __init__(
        self,
        world_model: Path,
        policy: PolicySpec | None = None,
        horizon: int | None = None,
        doubt_limit: float | None = None,
    ) -> None:
        """Make ready to dream.

        Args:
            world_model: The model's folder, with starts in it.
            policy: Whose eyes the glimpses are for; None: nobody's.
            horizon: A dream is cut off after this many steps; None: never.
            doubt_limit: See `NeuralVectorEnv`.
        """
        self._stack = remembered(policy) if policy else 1
        self._env = NeuralEnv(
            world_model,
            observation=policy.observation if policy else "frames",
            stack=self._stack,
            horizon=horizon,
            doubt_limit=doubt_limit,
            device="cuda" if torch.cuda.is_available() else "cpu",
            render_mode="rgb_array",
        )
        self.action_spec, self.frame_shape = self._env.action_spec, self._env.frame_shape
        self.doubt_limit = self._env.doubt_limit

    def begin(self, seed: int | None = None) -> Sight:
        """Begin at a moment of real play."""
        seen, _ = self._env.reset(seed=seed)
        return Sight(self._picture(), glimpses(seen[None], self._stack))

    def step(self, action: NDArray[Any]) -> Sight:
        """Dream on."""
        seen, reward, terminated, truncated, told = self._env.step(action)
        newest = Glimpse(np.split(seen[None], self._stack, axis=-1)[-1], np.zeros(1, np.bool_))
        return Sight(self._picture(), [newest], reward, terminated, truncated, told=told)

    def close(self) -> None:
        """Nothing is held."""

    def _picture(self) -> NDArray[np.uint8]:
        picture = self._env.render()
        assert picture is not None
        return picture


class OneRealGame(OneGame):
    """The real game, in frames as a world model learns them."""

    def __init__(self, game: GameSettings, frame_size: FrameSize) -> None:
        """Open the game; its pictures are of `frame_size`."""
        made = make_real(game.id, 1, frame_size=frame_size, **game.options)
        self._env = cast(RealVectorEnv, made.unwrapped)
        self.action_spec, self.frame_shape = self._env.action_spec, shape_of(frame_size)

    @property
    def seed(self) -> int:
        """What replays the game that is under way."""
        return int(self._env.game_seeds[0])

    def begin(self, seed: int | None = None) -> Sight:
        """Begin a new game."""
        frames, _ = self._env.reset(seed=seed)
        return Sight(frames[0], [Glimpse(frames, np.ones(1, np.bool_))])

    def step(self, action: NDArray[Any]) -> Sight:
        """Play on."""
        frames, rewards, terminated, truncated, _ = self._env.step(np.asarray(action)[None])
        seen = [Glimpse(frames, np.zeros(1, np.bool_))]
        lost = bool(self._env.life_lost[0])
        return Sight(frames[0], seen, float(rewards[0]), bool(terminated[0]), bool(truncated[0]), lost)

    def close(self) -> None:
        """Close the game."""
        self._env.close()
