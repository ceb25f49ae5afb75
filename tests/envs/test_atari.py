"""Atari games as pixels."""

import numpy as np
import pytest

from envs import action_spec, make_real


def play(env, actions):
    rows = []
    for acted in actions:
        observations, rewards, terminated, truncated, _ = env.step(acted)
        rows.append((observations, rewards, terminated, truncated, env.unwrapped.life_lost))
    return [np.stack(column) for column in zip(*rows, strict=True)]


@pytest.fixture(scope="module")
def breakout():
    """Two games of Breakout in which nobody touches the paddle, but new balls are served."""
    env = make_real("ALE/Breakout-v5", 2, max_steps=100)
    env.reset(seed=0)
    serve = action_spec(env).names.index("FIRE")
    return env, *play(env, np.where(np.arange(110) % 5, 0, serve)[:, None].repeat(2, 1))


def test_pong():
    env = make_real("ALE/Pong-v5", 2, stack=4)
    observations, _ = env.reset(seed=0)
    assert observations.shape == (2, 64, 64, 12) and observations.dtype == np.uint8
    assert action_spec(env).names == ("NOOP", "FIRE", "RIGHT", "LEFT", "RIGHTFIRE", "LEFTFIRE")
    np.testing.assert_array_equal(observations[..., :3], observations[..., 9:])
    _, rewards, terminated, _, _ = play(env, np.zeros((90, 2), np.int64))
    assert rewards.dtype == np.float32 and set(rewards.ravel()) == {-1.0, 0.0}
    assert not terminated.any()


def test_a_life_lost_is_told_and_ends_nothing(breakout):
    _, frames, _, terminated, _, life_lost = breakout
    first = int(np.flatnonzero(life_lost[:, 0])[0])
    assert not terminated[first, 0]
    assert 2 <= life_lost[:100, 0].sum() <= 5
    assert frames[first].any()


def test_a_game_is_truncated_at_max_steps(breakout):
    _, _, _, terminated, truncated, life_lost = breakout
    assert np.flatnonzero(truncated[:, 0]).tolist() == [99]
    assert not terminated[:, 0].any()
    assert not life_lost[100, 0]


def test_a_later_game_is_replayed_by_its_seed():
    env = make_real("ALE/Breakout-v5", 1, max_steps=20)
    env.reset(seed=3)
    rng = np.random.default_rng(0)
    actions = rng.integers(4, size=(35, 1))
    frames, rewards, _, truncated, _ = play(env, actions)
    assert np.flatnonzero(truncated[:, 0]).tolist() == [19]
    alone = make_real("ALE/Breakout-v5", 1)
    first, _ = alone.reset(seed=[int(env.game_seeds[0])])
    np.testing.assert_array_equal(first, frames[20])
    again, paid, *_ = play(alone, actions[21:])
    np.testing.assert_array_equal(again, frames[21:])
    np.testing.assert_array_equal(paid, rewards[21:])


def test_sticky_actions_change_the_game():
    actions = np.random.default_rng(0).integers(6, size=(60, 1))
    frames = []
    for sticky in (0.0, 0.9):
        env = make_real("ALE/Pong-v5", 1, sticky=sticky)
        env.reset(seed=0)
        frames.append(play(env, actions)[0])
    assert (frames[0] != frames[1]).any()
