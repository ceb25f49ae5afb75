"""Real games, as pixels, many at a time."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from envs.actions import space_of
from envs.atari_config import AtariConfig
from envs.catalogue import open_game
from envs.encoded import Batch, StackObservation
from envs.game import NOTHING, Game, Outcome
from envs.replay import Replay, play_to
from worldmodel.spaces import ActionSpec, FrameShape, FrameSize, shape_of

_METADATA = {"autoreset_mode": AutoresetMode.NEXT_STEP, "render_modes": ["rgb_array"], "render_fps": 15}


def make_real(
    env_id: str,
    num_envs: int,
    *,
    frame_size: FrameSize = 64,
    stack: int = 1,
    max_steps: int | None = None,
    kwargs: Mapping[str, Any] | None = None,
    atari: AtariConfig | None = None,
    lives_end: bool = False,
    patience: float | None = None,
) -> VectorEnv:
    """The real game, `num_envs` times in this process, as stacked pixels.

    Observations are uint8, (num_envs, height, width, 3 * stack), newest last. The environment underneath
    (`.unwrapped`) is a `RealVectorEnv`, which tells the seed of every game and the lives lost.

    Args:
        env_id: A Gymnasium id of a game that renders, or `module:Id` to import the module first.
        num_envs: Games at a time.
        frame_size: Height and width of a frame, pixels; one number for both, or one each.
        stack: Newest frames in an observation.
        max_steps: Truncate a game after this many steps, or at the game's own limit if that comes first.
        kwargs: Keyword arguments of the environment; not for Atari.
        atari: Atari only: how the game is emulated.
        lives_end: Tell a lost life as the game's end, though the same game goes on; its `life_loss_ends` does nothing
            here.
        patience: Seconds that one call of one game may take; None: for ever.

    Raises:
        UserError: If there is no such game, its actions can't be learned, it can't render, lacks a package, or does
            not take an option; later on, if a game raises, hangs, or returns what is no outcome: the sentence tells
            its seed, step and action.
    """
    games = [
        open_game(env_id, frame_size=frame_size, max_steps=max_steps, kwargs=kwargs, atari=atari, patience=patience)
        for _ in range(num_envs)
    ]
    env = RealVectorEnv(games, shape_of(frame_size), lives_end)
    return env if stack == 1 else StackObservation(env, stack)


def action_spec(env: VectorEnv) -> ActionSpec:
    """The actions of an environment from `make_real`."""
    return cast(RealVectorEnv, env.unwrapped).action_spec


class RealVectorEnv(VectorEnv[NDArray[Any], NDArray[Any], NDArray[Any]]):
    """Real games side by side; a finished one begins anew in the step after (NEXT_STEP), with a seed of its own.

    Attributes:
        game_seeds: int64, (num_envs,): the seeds of the games under way; `reset(seed=[...])` with one, and the same
            actions, play the same game again.
        life_lost: bool, (num_envs,): whose newest step lost a life.
        action_spec: The games' actions.
        later_seeds: What the seeds of later games are drawn from; `reset` replaces it, and so may the caller.
    """

    metadata: dict[str, Any] = _METADATA

    def __init__(self, games: Sequence[Game], frame_shape: FrameShape, lives_end: bool = False) -> None:
        """Put `games`, all of one kind, side by side.

        Args:
            games: The games.
            frame_shape: Of their frames.
            lives_end: Tell a lost life as the game's end; the step after only shows where the same game goes on.
        """
        self.num_envs = num_envs = len(games)
        self.render_mode = "rgb_array"
        self._games, self._lives_end = games, lives_end
        self.action_spec = games[0].action_spec
        self.single_action_space = space_of(self.action_spec)
        self.single_observation_space = gym.spaces.Box(0, 255, frame_shape, np.uint8)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.game_seeds = np.zeros(num_envs, np.int64)
        self.life_lost = np.zeros(num_envs, np.bool_)
        self._finished = np.zeros(num_envs, np.bool_)
        self._goes_on = np.zeros(num_envs, np.bool_)
        self.later_seeds = np.random.default_rng()

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.uint8], dict[str, Any]]:
        """Begin new games.

        Args:
            seed: Seed of the first game (the others' follow on), or the seed of each, None for any; the seeds of later
                games are drawn from it.
            options: `{"reset_mask": bool (num_envs,)}` leaves the other games as they are.
        """
        mask = (options or {}).get("reset_mask", np.ones(self.num_envs, np.bool_))
        if mask.all() and seed is not None:
            self.later_seeds = np.random.default_rng([0 if s is None else s for s in self._game_seeds(seed)])
        for index, game_seed in enumerate(self._game_seeds(seed)):
            if mask[index]:
                self._begin(index, game_seed)
        self._finished = self._finished & ~mask
        self.life_lost = self.life_lost & ~mask
        return self._frames(), {}

    def step(self, actions: NDArray[Any]) -> Batch:
        """Play on in every game, but for those that ended in the step before: they begin anew."""
        outcomes = [self._advance(index, action) for index, action in enumerate(actions)]
        rewards, *flags = zip(*outcomes, strict=True)
        terminated, truncated, self.life_lost = (np.array(flag, np.bool_) for flag in flags)
        self._goes_on = self._lives_end & self.life_lost & ~terminated & ~truncated
        terminated = terminated | self._goes_on
        self._finished = terminated | truncated
        return self._frames(), np.array(rewards, np.float32), terminated, truncated, {}

    def take_up(self, index: int, replay: Replay, count: int) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """Bring game `index` to a moment that was stored; the newest `count` frames and their mask, see `play_to`."""
        self.game_seeds = self.game_seeds.copy()
        self.game_seeds[index] = replay.seed
        self._finished[index] = False
        return play_to(self._games[index], replay, count)

    def give_up(self, index: int) -> None:
        """Let game `index` be over: the next step begins another."""
        self._finished[index] = True

    def render(self) -> tuple[NDArray[np.uint8], ...]:  # type: ignore[override]
        """The newest frame of each game."""
        return tuple(self._frames())

    def close_extras(self, **kwargs: Any) -> None:
        """Close the games; called by `close`."""
        for game in self._games:
            game.close()

    def _game_seeds(self, seed: int | Sequence[int | None] | None) -> Sequence[int | None]:
        if seed is None:
            return [None] * self.num_envs
        return range(seed, seed + self.num_envs) if isinstance(seed, int | np.integer) else seed

    def _begin(self, index: int, seed: int | None = None) -> Outcome:
        # Whoever keeps the seeds of the games before must not see them change.
        self.game_seeds = self.game_seeds.copy()
        self.game_seeds[index] = self.later_seeds.integers(2**31) if seed is None else seed
        self._games[index].reset(int(self.game_seeds[index]))
        return NOTHING

    def _advance(self, index: int, action: Any) -> Outcome:
        if not self._finished[index]:
            return self._games[index].step(action)
        return NOTHING if self._goes_on[index] else self._begin(index)

    def _frames(self) -> NDArray[np.uint8]:
        return np.stack([game.frame() for game in self._games])
