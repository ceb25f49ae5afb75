"""Stable-Baselines3 in the dream."""

import warnings

import numpy as np
import pytest
import torch
from counting import CountingWorldModel
from dreams import counting_starts
from stable_baselines3 import PPO
from stable_baselines3.common.env_checker import check_env

from envs import NeuralEnv

STEPS = 256


def make(**settings):
    return NeuralEnv(CountingWorldModel(), starts=counting_starts([0, 2, 5], [10, 20, 30]), **settings)


@pytest.mark.parametrize("settings", [{}, {"stack": 1}, {"render_mode": "rgb_array"}])
def test_its_checker_has_nothing_to_say(settings):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(make(**settings))


def test_its_ppo_trains_in_a_dream():
    env = make(horizon=8)
    model = PPO("CnnPolicy", env, n_steps=64, batch_size=64, n_epochs=1, device="cpu", seed=0)
    before = {name: weight.clone() for name, weight in model.policy.state_dict().items()}
    model.learn(STEPS)
    assert model.num_timesteps == STEPS
    assert any(not torch.equal(weight, before[name]) for name, weight in model.policy.state_dict().items())
    returns = [episode["r"] for episode in model.ep_info_buffer]
    assert len(returns) >= STEPS // 8 and np.isfinite(returns).all()
    action, _ = model.predict(env.reset(seed=0)[0])
    assert env.action_space.contains(int(action))
