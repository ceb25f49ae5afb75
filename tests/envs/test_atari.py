"""Atari games as pixels."""

import numpy as np
import pytest

from envs import AtariConfig, RealDreams, Replay, action_spec, make_real
from worldmodel import UserError


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
        env = make_real("ALE/Pong-v5", 1, atari=AtariConfig(sticky=sticky))
        env.reset(seed=0)
        frames.append(play(env, actions)[0])
    assert (frames[0] != frames[1]).any()


def test_all_actions_of_the_joystick():
    assert len(action_spec(make_real("ALE/Pong-v5", 1, atari=AtariConfig(full_actions=True))).names) == 18


def test_frame_skip_and_max_steps_which_counts_steps():
    still, scored = np.zeros((90, 1), np.int64), {}
    for skip in (1, 4):
        env = make_real("ALE/Pong-v5", 1, max_steps=80, atari=AtariConfig(frame_skip=skip))
        env.reset(seed=0)
        _, rewards, _, truncated, _ = play(env, still)
        scored[skip] = rewards.sum()
        assert np.flatnonzero(truncated[:, 0]).tolist() == [79]
    assert scored[4] < scored[1] == 0


def test_without_no_ops_every_game_begins_alike():
    for noop_max, alike in ((0, True), (30, False)):
        env = make_real("ALE/Breakout-v5", 1, atari=AtariConfig(noop_max=noop_max))
        starts = [env.reset(seed=[seed])[0] for seed in range(4)]
        assert all(np.array_equal(starts[0], start) for start in starts) == alike


def test_grey_pictures_have_three_equal_channels():
    frames, _ = make_real("ALE/Pong-v5", 1, atari=AtariConfig(grayscale=True)).reset(seed=0)
    assert frames.shape == (1, 64, 64, 3) and len(np.unique(frames)) > 2
    np.testing.assert_array_equal(frames[..., 0], frames[..., 1])
    assert (make_real("ALE/Pong-v5", 1).reset(seed=0)[0].std(axis=-1) > 0).any()


@pytest.mark.parametrize("size", [32, 96, (96, 64), (210, 160)])
def test_frames_of_another_size(size):
    height, width = (size, size) if isinstance(size, int) else size
    env = make_real("ALE/Pong-v5", 1, frame_size=size, stack=2)
    assert env.reset(seed=0)[0].shape == (1, height, width, 6)
    assert env.single_observation_space.shape == (height, width, 6)


def test_a_lost_life_may_be_told_as_the_end_while_the_game_goes_on(breakout):
    _, frames, _, _, _, life_lost = breakout
    env = make_real("ALE/Breakout-v5", 2, max_steps=100, lives_end=True)
    env.reset(seed=0)
    serve = action_spec(env).names.index("FIRE")
    actions = iter(np.where(np.arange(110) % 5, 0, serve))
    first = int(np.flatnonzero(life_lost[:, 0])[0])
    seen, _, terminated, _, _ = play(env, np.array([next(actions) for _ in range(first + 1)])[:, None].repeat(2, 1))
    assert np.flatnonzero(terminated[:, 0]).tolist() == [first]
    # The step that only begins anew is none in the emulator: the game is where it was, and goes on as it would have.
    again, rewards, ended, *_ = env.step(np.array([serve, serve]))
    np.testing.assert_array_equal(again[0], seen[first, 0])
    assert (rewards[0], ended[0]) == (0, False)
    later = [env.step(np.array([action, action]))[0][0] for action in list(actions)[:5]]
    np.testing.assert_array_equal(later, frames[first + 1 : first + 6, 0])


def test_a_lost_life_ends_a_real_dream_if_asked(breakout):
    env, *_ = breakout
    serve = action_spec(env).names.index("FIRE")
    ends = {}
    for ends_life in (False, True):
        dreams = RealDreams("ALE/Breakout-v5", starts=[Replay(0, np.zeros(0, np.int64))], horizon=None,
                            atari=AtariConfig(life_loss_ends=ends_life))  # fmt: skip
        dreams.reset(seed=0)
        told = [dreams.step(np.array([serve if step % 5 == 0 else 0])) for step in range(60)]
        ends[ends_life] = sum(bool(terminated[0]) for _, _, terminated, _, _ in told)
    assert ends[False] == 0 < ends[True]


@pytest.mark.parametrize(
    ("env_id", "options", "said"),
    [
        ("CartPole-v1", {"atari": AtariConfig(sticky=0.25, full_actions=True)}, "atari.sticky, game.atari.full_act"),
        ("CartPole-v1", {"atari": AtariConfig(life_loss_ends=True)}, "game.atari.life_loss_ends"),
        ("ALE/Pong-v5", {"kwargs": {"mode": 1}}, "takes no game.kwargs, here mode"),
    ],
)
def test_options_of_another_kind_of_game_are_refused_by_name(env_id, options, said):
    with pytest.raises(UserError, match=said):
        make_real(env_id, 1, **options)
