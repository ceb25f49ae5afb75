"""Starts in counting games, for the tests of dreams."""

import numpy as np
from counting import NO_ACTION, paint

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
