"""Frames that are no squares, all the way: game, buffer, world model, dream, policy."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from miniature import MINIATURE

from envs import NeuralEnv
from rl.buffer import BufferWriter
from rl.collector import Collector, Shares
from rl.evaluator import Evaluator
from rl.learner import WorldModelLearner
from rl.policies import PolicySnapshot, PolicySpec

EPISODES = 2


@pytest.mark.parametrize("size", [(32, 48), (48, 32), 96])
def test_a_game_is_learned_and_dreamed_at_its_own_size(tmp_path, size):
    model = replace(MINIATURE.model, frame_size=size)
    height, width, _ = model.frame_shape
    game = replace(MINIATURE.game, id="CartPole-v1")
    collector = Collector(game, size, 2, 0, 0)
    spec = collector.action_spec()
    writer = BufferWriter(tmp_path / "play", model.frame_shape, spec, 10_000)
    writer.append(collector.collect(60, 1, Shares()))
    learner = WorldModelLearner(model, MINIATURE.fit, spec, tmp_path / "play", 0, 1)
    for stage in learner.stages(True):
        learner.begin(stage, 1)
        assert all(np.isfinite(value) for value in learner.fit(1).values())
        learner.finish()
    learner.save(tmp_path / "model")
    film = learner.judge(1).films[0].dream
    assert film.shape[1:] == (height, width, 3)
    env = NeuralEnv(tmp_path / "model", stack=2, render_mode="rgb_array")
    assert env.reset(seed=0)[0].shape == (height, width, 6)
    assert env.observation_space.contains(env.step(0)[0])
    assert env.render().shape == (height, width, 3)
    for observation in ("frames", "latents"):
        judged = judge(tmp_path / "model", NeuralEnv(tmp_path / "model", observation=observation), observation, spec)
        assert len(Evaluator(game, size, 2, 500).evaluate(EPISODES, 0, judged, tmp_path / "model").returns) == EPISODES


def judge(folder, env, observation, spec):
    """An untrained policy that sees what `env` shows."""
    model = env._dreams.world_model
    seen = PolicySpec(
        observation, model.observation_shape(observation), 4, spec,
        encoder_hash=model.encoder_hash() if observation == "latents" else None,
    )  # fmt: skip
    assert seen.observation_space == env.observation_space
    torch.manual_seed(0)
    return PolicySnapshot(seen, {name: np.asarray(value) for name, value in seen.build().get_state().items()})
