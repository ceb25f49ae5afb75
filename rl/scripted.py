"""Experts that need no training: rules for games whose state a program can read."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from envs.rendered import RenderedGame
from worldmodel.data.episode import Episode, EpisodeInfo
from worldmodel.spaces import FrameShape

Rule = Callable[[NDArray[Any]], Any]
"""What to do on what the environment itself returned."""

_SLIPS = 0.2
"""share of an expert's actions that are drawn at random, so that its games differ"""


def _bang_bang(state: NDArray[Any]) -> int:
    """Mountain car: always push the way that it moves."""
    return 2 if state[1] >= 0 else 0


def _bang_bang_force(state: NDArray[Any]) -> NDArray[np.float32]:
    return np.array([1.0 if state[1] >= 0 else -1.0], np.float32)


def _pump(state: NDArray[Any]) -> int:
    """Acrobot: turn the joint the way that it turns, which only adds energy."""
    return 2 if state[5] >= 0 else 0


def _swing_up(state: NDArray[Any]) -> NDArray[np.float32]:
    """Pendulum: bring its energy to that of standing still on top, and hold it there (Astrom and Furuta, 2000)."""
    cosine, sine, speed = state
    if cosine > 0.9:
        torque = -10 * np.arctan2(sine, cosine) - 2 * speed
    else:
        torque = np.sign(speed or 1) * 2 * np.sign(15 * (1 - cosine) - speed**2 / 2)
    return np.clip(np.array([torque], np.float32), -2, 2)


RULES: Mapping[str, Rule] = {
    "Acrobot-v1": _pump,
    "MountainCar-v0": _bang_bang,
    "MountainCarContinuous-v0": _bang_bang_force,
    "Pendulum-v1": _swing_up,
}
"""The games that have an expert."""


def play_scripted(env_id: str, steps: int, frame_shape: FrameShape, max_steps: int, seed: int) -> list[Episode]:
    """At least `steps` steps of whole games of `env_id`, one of `RULES`, each cut off after `max_steps`."""
    game = RenderedGame(env_id, frame_shape, max_steps, {})
    rng, episodes = np.random.default_rng(seed), list[Episode]()
    try:
        while sum(map(len, episodes)) < steps:
            episodes.append(_play(game, RULES[env_id], env_id, rng))
    finally:
        game.close()
    return episodes


def _play(game: RenderedGame, rule: Rule, env_id: str, rng: np.random.Generator) -> Episode:
    seed = int(rng.integers(2**31))
    game.reset(seed)
    frames, actions, rewards, ends = [game.frame()], [], [], [(False, False)]
    while not any(ends[-1]):
        actions.append(_slip(game, rng) if rng.random() < _SLIPS else rule(game.seen))
        outcome = game.step(actions[-1])
        frames.append(game.frame())
        rewards.append(outcome.reward)
        ends.append((outcome.terminated, outcome.truncated))
    terminated, truncated = np.array(ends[1:], np.bool_).T
    return Episode(
        frames=np.stack(frames),
        actions=np.array(actions, game.action_spec.dtype),
        rewards=np.array(rewards, np.float32),
        terminated=terminated.copy(),
        truncated=truncated.copy(),
        life_lost=np.zeros(len(rewards), np.bool_),
        info=EpisodeInfo(env_id, "expert", 0, 0, 1, 0, seed, 0),
    )


def _slip(game: RenderedGame, rng: np.random.Generator) -> Any:
    spec = game.action_spec
    return rng.uniform(spec.low, spec.high).astype(np.float32) if spec.kind == "box" else rng.integers(spec.sizes[0])
