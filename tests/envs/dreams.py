"""Dreams of counting games, and where they begin."""

import numpy as np
from counting import NO_ACTION, CountingWorldModel, paint, read

from envs import NeuralVectorEnv
from worldmodel.data.starts import Starts


def counting_starts(steps, tags, context=4):
    """A start after `steps` steps of the games `tags`, both (n,); action t of a game is t % 3."""
    steps, tags = np.asarray(steps), np.asarray(tags)
    time = steps[:, None] + np.arange(1 - context, 1)
    mask = time >= 0
    time = time.clip(0)
    led = np.where(time > 0, (time - 1) % 3, NO_ACTION)
    frames = paint(time, led, np.broadcast_to(tags[:, None], time.shape))
    actions = np.where(mask[:, :-1], time[:, :-1] % 3, 0)
    return Starts.of(frames, actions, mask)


STARTS = counting_starts([0, 2, 5, 0, 3, 7], [10, 20, 30, 40, 50, 60])


def make(num_envs=4, **settings):
    settings = {"starts": STARTS, "horizon": None} | settings
    return NeuralVectorEnv(settings.pop("world_model", None) or CountingWorldModel(), num_envs, **settings)


def play(env, steps, seed=0):
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(steps):
        acted = rng.integers(3, size=env.num_envs)
        rows.append((acted, *env.step(acted)[:4]))
    return [np.stack(column) for column in zip(*rows, strict=True)]


def newest(stacked):
    return read(stacked[..., -3:])
