"""Real games, played whole, with the face of dreams."""

import gymnasium as gym
import numpy as np
import pytest
import torch
from counting import CountingWorldModel

from envs import AtariConfig, RealGames, make_real
from worldmodel import UserError

COUNTING = "counting:Counting-v0"


def told_by(env, seed, actions):
    """Everything that the environment tells under `actions`, (time, games)."""
    return [(env.reset(seed=seed)[0],), *(env.step(acted)[:4] for acted in actions)]


def assert_same(ours, theirs):
    for one, other in zip(ours, theirs, strict=True):
        for mine, its in zip(one, other, strict=True):
            np.testing.assert_array_equal(mine, its)


@pytest.fixture
def actions():
    """Of three games, long enough that each ends and begins anew."""
    return np.random.default_rng(0).integers(3, size=(70, 3))


def test_the_games_are_those_of_make_real_from_beginning_to_end(actions):
    games = RealGames(COUNTING, 3, stack=4)
    told = told_by(games, 5, actions)
    assert_same(told, told_by(make_real(COUNTING, 3, stack=4), 5, actions))
    assert sum(step[2].sum() for step in told[1:]) >= 4, "too short to see games begin anew"


def test_what_needs_a_reset_pays_nothing_and_takes_no_real_step(actions):
    games = RealGames(COUNTING, 3, stack=1)
    games.reset(seed=5)
    for acted in torch.from_numpy(actions):
        begun = games.needs_reset.clone()
        _, rewards, terminated, truncated = games.step_tensors(acted)
        assert not rewards[begun].any() and not (terminated | truncated)[begun].any()
        assert torch.equal(games.needs_reset, terminated | truncated)


def test_rewards_may_be_paid_by_their_sign(actions):
    plain, signs = (told_by(RealGames(COUNTING, 3, sign_rewards=asked), 5, actions) for asked in (False, True))
    for one, other in zip(plain[1:], signs[1:], strict=True):
        np.testing.assert_array_equal(np.sign(one[1]), other[1])
    assert {abs(value) for step in plain[1:] for value in step[1].tolist()} - {0.0, 1.0}


def test_latents_through_the_models_encoder(actions):
    model = CountingWorldModel()
    frames = RealGames(COUNTING, 3, stack=2)
    latents = RealGames(COUNTING, 3, stack=2, world_model=model, observation="latents")
    assert latents.single_observation_space == gym.spaces.Box(-np.inf, np.inf, (4, 4, 6), np.float32)
    for (seen, *_), (encoded, *_) in zip(told_by(frames, 5, actions), told_by(latents, 5, actions), strict=True):
        np.testing.assert_array_equal(encoded[..., 3:], model.encode(torch.from_numpy(seen[..., 3:])).numpy())
        np.testing.assert_array_equal(encoded[..., :3], model.encode(torch.from_numpy(seen[..., :3])).numpy())
    with pytest.raises(UserError, match="world model"):
        RealGames(COUNTING, 3, observation="latents")


def test_a_lost_life_is_told_as_the_end_and_the_same_game_goes_on():
    config = AtariConfig(life_loss_ends=True)
    actions = np.ones((150, 1), np.int64)
    told = told_by(RealGames("ALE/Breakout-v5", 1, atari=config), 3, actions)
    assert_same(told, told_by(make_real("ALE/Breakout-v5", 1, stack=4, atari=config, lives_end=True), 3, actions))
    assert sum(step[2].sum() for step in told[1:]) > 5, "too short for all five lives"


def test_gymnasium_makes_them_by_their_id():
    assert gym.make_vec("envs:RealGames-v0", 2, game=COUNTING).unwrapped.num_envs == 2
