"""The agent in the learned game: RLlib's stock PPO by the registered name, and ours on its tensors."""

import counting
import gymnasium as gym
import numpy as np
import pytest
import torch
from counting import CountingWorldModel
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core.rl_module.rl_module import RLModuleSpec

from rl.imagination import ImaginationPPOConfig
from rl.imagination_runner import ImaginationEnvRunner
from rl.module import PixelModule
from worldmodel.data.starts import Starts

CONTEXT, SIZE = 4, 16
MODEL = {"hidden": 16, "width": 8}


@pytest.fixture
def dreams():
    """Keyword arguments of dreams that begin at the first frame of some games and in the middle of others."""
    tags = np.arange(100, 112)
    count = np.arange(CONTEXT) + np.where(tags % 2, 2, 1 - CONTEXT)[:, None]
    action = np.where(count > 0, np.arange(CONTEXT) % counting.NUM_ACTIONS, counting.NO_ACTION)
    mask = count >= 0
    frames = counting.paint(count.clip(0), action, tags[:, None], SIZE)
    starts = Starts.of(frames, action[:, 1:].clip(0), mask)
    return {"world_model": CountingWorldModel(CONTEXT, SIZE), "starts": starts, "horizon": 9}


def test_stock_rllib_trains_in_the_registered_game(dreams, cluster):
    algorithm = (
        PPOConfig()
        .environment("envs:NeuralEnv-v0", env_config=dreams)
        .env_runners(
            num_env_runners=0,
            num_envs_per_env_runner=4,
            rollout_fragment_length=16,
            gym_env_vectorize_mode=gym.VectorizeMode.VECTOR_ENTRY_POINT,
        )
        .training(train_batch_size_per_learner=64, minibatch_size=32, num_epochs=1, vf_clip_param=float("inf"))
        .rl_module(rl_module_spec=RLModuleSpec(module_class=PixelModule, model_config=MODEL))
        .build_algo()
    )
    before = [p.clone() for p in algorithm.get_module().parameters()]
    result = algorithm.train()
    after = list(algorithm.get_module().parameters())
    algorithm.stop()
    assert result["env_runners"]["episode_len_mean"] <= 9
    assert all(not torch.equal(old, new) for old, new in zip(before, after, strict=True))


def test_imagination_keeps_the_convention_for_time(dreams):
    config = (
        ImaginationPPOConfig()
        .environment("envs:NeuralEnv-v0", env_config=dreams)
        .imagination(dreams=8)
        .rl_module(model_config=MODEL)
        .debugging(seed=0)
    )
    rollout, report = ImaginationEnvRunner(config=config).imagine(60)
    seen = counting.read(rollout.observations[..., -3:])
    played = ~rollout.skipped
    assert torch.equal(rollout.rewards[played], counting.reward_of(seen.count, rollout.actions)[played].float())
    assert torch.equal(rollout.terminated[played], (seen.count + 1 >= counting.length_of(seen.tag))[played])
    assert torch.equal(seen.action[1:][played[:-1]], rollout.actions[:-1][played[:-1]])
    assert not rollout.rewards[rollout.skipped].any()
    assert report.ended > 5 and report.truncated > 5 and report.steps == int(played.sum())
