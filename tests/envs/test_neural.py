"""One dream as a plain Gymnasium environment."""

import copy
import pickle
import warnings

import gymnasium as gym
import numpy as np
import pytest
import torch
from counting import CountingWorldModel, length_of, read
from dreams import counting_starts
from gymnasium.utils.env_checker import check_env

from envs import NeuralEnv

STARTS = counting_starts([0, 2, 5], [10, 20, 30])


def make(**settings):
    return NeuralEnv(CountingWorldModel(), starts=STARTS, **settings)


@pytest.mark.parametrize("render_mode", [None, "rgb_array"])
def test_gymnasiums_own_checker_has_nothing_to_say(render_mode):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env = gym.make("envs:NeuralEnv-v0", world_model=CountingWorldModel(), starts=STARTS, render_mode=render_mode)
        check_env(env.unwrapped, skip_render_check=render_mode is None)


def test_latents_pass_the_checker_too():
    check_env(make(observation="latents"), skip_render_check=True)


def test_it_is_played_to_its_end():
    env = make()
    observation, _ = env.reset(seed=0)
    tag, count = int(read(observation[..., -3:]).tag), int(read(observation[..., -3:]).count)
    for step in range(length_of(tag) - count):
        observation, reward, terminated, truncated, info = env.step(1)
        assert (type(reward), type(terminated), type(truncated)) == (float, bool, bool)
        assert info == {"doubt": pytest.approx((count + step + 1) / 100), "end_probability": float(terminated)}
        assert terminated == (step == length_of(tag) - count - 1)
    assert read(env.reset()[0][..., -3:]).count in (0, 2, 5)


def test_the_step_in_which_a_dream_only_begins_tells_nothing():
    env = make(horizon=1)
    assert env.reset(seed=0)[1] == {}
    assert [bool(env.step(1)[-1]) for _ in range(4)] == [True, False, True, False]


def test_the_limit_of_doubt_is_there_to_compare_with(monkeypatch):
    assert make(doubt_limit=0.25).doubt_limit == 0.25
    monkeypatch.setattr(CountingWorldModel, "doubt_limit", property(lambda _: torch.tensor(0.5)))
    assert (type(make().doubt_limit), make().doubt_limit) == (float, 0.5)


def test_a_seed_repeats_the_dream():
    env = make()
    seen = [env.reset(seed=seed)[0] for seed in (1, 1)]
    np.testing.assert_array_equal(*seen)
    assert len({int(read(env.reset(seed=seed)[0][..., -3:]).tag) for seed in range(20)}) == 3


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda env: pickle.loads(pickle.dumps(env))])
def test_a_copy_dreams_on_as_the_original(duplicate):
    env = gym.make("envs:NeuralEnv-v0", world_model=CountingWorldModel(), starts=STARTS)
    env.reset(seed=0)
    env.step(1)
    twin = duplicate(env)
    for _ in range(4):
        np.testing.assert_array_equal(env.step(2)[0], twin.step(2)[0])


def test_a_start_of_ones_choice():
    env = make()
    start = counting_starts([3], [123])
    observation, _ = env.reset(options={"frames": start.frames[0], "actions": start.actions[0]})
    assert read(observation[..., -3:]).tag == 123


def test_a_video_of_a_dream(tmp_path):
    env = gym.make("envs:NeuralEnv-v0", world_model=CountingWorldModel(), starts=STARTS, render_mode="rgb_array")
    assert env.metadata["render_fps"] > 0
    film = gym.wrappers.RecordVideo(env, str(tmp_path), disable_logger=True)
    film.reset(seed=0)
    for _ in range(5):
        film.step(0)
    film.close()
    assert [path.stat().st_size > 500 for path in tmp_path.glob("*.mp4")] == [True]


def test_every_name_that_envs_promises_is_there():
    import envs

    assert all(getattr(envs, name).__name__ == name for name in envs.__all__)
