import numpy as np
import pytest
import torch
from ray.rllib.utils.postprocessing.value_predictions import compute_value_targets

from rl.gae import generalized_advantages, standardize

GAMMA, LAMBDA = 0.9, 0.8


def advantages(rewards, values, final_value, terminated=(), truncated=()):
    flags = torch.zeros(2, len(rewards), 1, dtype=torch.bool)
    flags[0, list(terminated)] = True
    flags[1, list(truncated)] = True
    column = [torch.tensor(x, dtype=torch.float32)[:, None] for x in (rewards, values)]
    final = torch.tensor([float(final_value)])
    return generalized_advantages(*column, final, *flags, gamma=GAMMA, lambda_=LAMBDA).squeeze(-1).tolist()


def test_the_value_after_the_last_step_bootstraps_a_rollout_that_is_cut():
    assert advantages([1.0], [2.0], 10.0) == pytest.approx([1 + GAMMA * 10 - 2])


def test_an_end_is_worth_nothing_further():
    assert advantages([1.0, 5.0], [2.0, 3.0], 10.0, terminated=[0])[0] == pytest.approx(1 - 2)


def test_a_horizon_bootstraps_with_the_final_observation_and_lets_nothing_flow_back():
    found = advantages([1.0, 0.0, 7.0], [2.0, 3.0, 4.0], 10.0, truncated=[0])
    assert found[0] == pytest.approx(1 + GAMMA * 3 - 2)


def test_without_an_end_errors_flow_back():
    last = 5 + GAMMA * 10 - 3
    assert advantages([1.0, 5.0], [2.0, 3.0], 10.0) == pytest.approx([1 + GAMMA * 3 - 2 + GAMMA * LAMBDA * last, last])


def test_agrees_with_rllib_on_random_rollouts():
    generator = torch.Generator().manual_seed(0)
    rewards, values = torch.randn(2, 40, 3, generator=generator)
    terminated, truncated = torch.rand(2, 40, 3, generator=generator) < 0.1
    found = generalized_advantages(rewards, values, torch.zeros(3), terminated, truncated, gamma=GAMMA, lambda_=LAMBDA)
    for dream in range(3):
        columns = [x[:, dream].numpy().astype(np.float32) for x in (values, rewards, terminated, truncated)]
        targets = compute_value_targets(*columns, gamma=GAMMA, lambda_=LAMBDA)
        np.testing.assert_allclose((found + values)[:, dream], targets, atol=1e-5)


def test_standardize():
    scaled = standardize(torch.tensor([1.0, 3.0]))
    assert scaled.tolist() == pytest.approx([-1, 1])
    assert standardize(torch.ones(5)).tolist() == [0] * 5
    assert standardize(torch.tensor([1.0, 3.0]), least_spread=4.0).tolist() == pytest.approx([-0.25, 0.25])
    assert standardize(torch.tensor([1.0, 3.0]), least_spread=0.5).tolist() == pytest.approx([-1, 1])
