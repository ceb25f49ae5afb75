"""Any Gymnasium game that renders, as pixels."""

import os
import sys
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.envs.registration import load_env_creator
from numpy.typing import NDArray

from envs.actions import native, spec_of
from envs.game import Game, Outcome
from envs.keywords import checked_keywords
from envs.picture import Shrinker, quick_pixels
from worldmodel.errors import UserError
from worldmodel.spaces import FrameShape


class RenderedGame(Game):
    """A Gymnasium environment seen through `render()`, resized by area.

    Attributes:
        seen: What the environment itself returned last.
    """

    def __init__(self, env_id: str, frame_shape: FrameShape, max_steps: int | None, kwargs: Mapping[str, Any]) -> None:
        """Make the game.

        Args:
            env_id: A registered Gymnasium id.
            frame_shape: (height, width, 3) of a frame.
            max_steps: Truncate a game after this many steps, or at the environment's own limit if that comes first.
            kwargs: Keyword arguments of the environment.

        Raises:
            UserError: If the environment's actions can't be learned, it can't render, lacks a package, or does not
                take a keyword.
        """
        self._env = _make(env_id, max_steps, kwargs)
        self.action_spec = spec_of(self._env.action_space, env_id)
        self._reads_pixels = type(self._env.unwrapped).__module__.startswith("gymnasium.envs.")
        self._shrink = Shrinker(frame_shape)
        self._check_picture(env_id)

    def reset(self, seed: int) -> None:
        """Begin the game that `seed` names."""
        self.seen, _ = self._env.reset(seed=seed)

    def step(self, action: Any) -> Outcome:
        """Play on; a rendered game reports no lives."""
        seen, reward, terminated, truncated, _ = self._env.step(native(self._env.action_space, action))
        self.seen = seen
        if isinstance(seen, np.ndarray) and seen.dtype.kind == "f" and np.isnan(seen).any():
            raise ValueError(f"the observation is {seen}")
        return Outcome(reward, terminated, truncated, False)  # type: ignore[arg-type]  # seen to by the guard

    def frame(self) -> NDArray[np.uint8]:
        """The newest picture, of `frame_shape`."""
        picture = self._render()
        kind = _kind(picture)
        if kind != self._kind:
            raise TypeError(f"render() returned {kind}, at first {self._kind}")
        # Gymnasium's own renderers make a new picture every time; others may draw into the same one again.
        return self._shrink(picture if self._reads_pixels else picture.copy())

    def close(self) -> None:
        """Close the environment."""
        # While Python shuts down, games can no longer import what their own `close` wants.
        if not sys.is_finalizing():
            self._env.close()

    def _render(self) -> Any:
        with quick_pixels() if self._reads_pixels else nullcontext():
            return self._env.render()

    def _check_picture(self, env_id: str) -> None:
        self.reset(seed=0)
        picture = self._render()
        self._kind = _kind(picture)
        if not isinstance(picture, np.ndarray) or picture.dtype != np.uint8 or picture.shape[2:] != (3,):
            raise UserError(f"{env_id} renders no uint8 pictures (height, width, 3): make its render() return them.")


def _kind(picture: Any) -> str:
    """What a picture is made of, in a few words."""
    return f"{picture.dtype} {picture.shape}" if isinstance(picture, np.ndarray) else type(picture).__name__


def _make(env_id: str, max_steps: int | None, kwargs: Mapping[str, Any]) -> gym.Env[Any, Any]:
    _silence_sdl()
    try:
        keywords = checked_keywords(_maker(env_id), kwargs, env_id)
        return gym.make(env_id, _limit(env_id, max_steps), True, render_mode="rgb_array", **keywords)
    except gym.error.DependencyNotInstalled as error:
        raise UserError(f"{env_id} needs a package that is not installed: {_missing(env_id, error)}") from error


def _missing(env_id: str, error: Exception) -> str:
    # Gymnasium's own advice names an older package, which has to be compiled.
    box2d = "gymnasium.envs.box2d" in str(gym.spec(env_id).entry_point)
    return "Box2D; install the extra: pip install -e '.[box2d]'." if box2d else str(error)


def _limit(env_id: str, max_steps: int | None) -> int | None:
    """The game's own limit or ours, whichever comes first."""
    limits = [limit for limit in (max_steps, gym.spec(env_id).max_episode_steps) if limit]
    return min(limits, default=None)


def _maker(env_id: str) -> Callable[..., Any]:
    """What makes the environment: a class, or a function."""
    entry_point = gym.spec(env_id).entry_point
    maker: Any = load_env_creator(entry_point) if isinstance(entry_point, str) else entry_point
    if "rgb_array" not in getattr(maker, "metadata", {}).get("render_modes", ["rgb_array"]):
        raise UserError(f"{env_id} has no render mode 'rgb_array': choose a game that renders pictures.")
    return maker


def _silence_sdl() -> None:
    """Keep pygame from looking for a sound card, and for a screen where there is none."""
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
    os.environ.setdefault("SDL_AUDIODRIVER", "dummy")
    if sys.platform == "linux" and not {"DISPLAY", "WAYLAND_DISPLAY"} & os.environ.keys():
        os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
