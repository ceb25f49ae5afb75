"""The PPO on one page: what RLlib's PPO does, in plain torch and through Gymnasium alone."""

import subprocess
import sys

import corridor
import gymnasium as gym
import numpy as np
import pytest
import torch
from corridor import RIGHT, Corridor
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.evaluation.postprocessing import Postprocessing
from stock_rllib import Stock

from experiments.bare_ppo import ModuleAgent
from experiments.ppo import PPO, PixelAgent, PPOConfig
from rl.gae import standardize
from rl.module import PixelModule
from worldmodel.errors import UserError

DREAMS = 6
MODEL = {"hidden": 16, "width": 8}
CONFIG = PPOConfig(rollout=10, minibatch=16, gamma=0.97, gae_lambda=0.9, reward_scale=1.0)
RLLIB = {"gamma": 0.97, "lambda_": 0.9, "clip_param": 0.2, "entropy_coeff": 0.01, "vf_loss_coeff": 0.5}


def module_for(dreams):
    torch.manual_seed(0)
    spaces = {"observation_space": dreams.single_observation_space, "action_space": dreams.single_action_space}
    return RLModuleSpec(module_class=PixelModule, model_config=MODEL, **spaces).build()


class ThroughGymnasium(Corridor):
    """The corridor without its tensor face."""

    reset_tensors = step_tensors = None

    def reset(self, *, seed=None, options=None):
        return Corridor.reset_tensors(self, seed).numpy(), {}

    def step(self, actions):
        observations, *rest = Corridor.step_tensors(self, torch.from_numpy(actions))
        return observations.numpy(), *(tensor.numpy() for tensor in rest), {}


def test_advantages_targets_and_loss_are_those_of_rllib():
    """Over several rollouts, so that games end, reach the horizon and are cut, and resets fall on every place."""
    dreams = ThroughGymnasium(DREAMS)
    module = module_for(dreams)
    with torch.no_grad():
        module.policy.weight.mul_(50)  # else all that a policy says is next to nothing
    ppo, stock = PPO(dreams, ModuleAgent(module), CONFIG), Stock(module, DREAMS, MODEL, RLLIB)
    ends = torch.zeros(2, dtype=torch.long)
    for _ in range(8):
        rows, advantages, targets = ppo.samples(ppo.play())
        observations = ppo.observations.flatten(0, 1)[rows]
        theirs = stock.batch(ppo.actions, len(rows))
        ours = np.argsort(corridor.key(observations))
        order = np.argsort(corridor.key(theirs[Columns.OBS]))
        theirs = {name: column[order] for name, column in theirs.items()}
        # RLlib's mean and deviation include the rows that it masks.
        theirs[Postprocessing.ADVANTAGES] = standardize(theirs[Postprocessing.ADVANTAGES])
        for mine, name in ((advantages[rows], Postprocessing.ADVANTAGES), (targets[rows], Postprocessing.VALUE_TARGETS),
                           (ppo.log_probabilities.flatten()[rows], Columns.ACTION_LOGP)):  # fmt: skip
            torch.testing.assert_close(mine[ours], theirs[name], atol=1e-5, rtol=1e-4, check_dtype=False)
        ends += torch.stack([ppo.terminated.sum(), ppo.truncated.sum()])
        # As if the policy had changed since, so that some samples are clipped.
        ppo.log_probabilities += 0.3 * torch.randn(ppo.log_probabilities.shape)
        theirs[Columns.ACTION_LOGP] = ppo.log_probabilities.flatten()[rows][ours]
        torch.testing.assert_close(ppo.loss(rows, advantages, targets), stock.loss(theirs), atol=1e-5, rtol=1e-4)
    assert (ends > 2).all(), "the rollouts were too dull to tell"


def test_it_learns_to_walk_right():
    torch.manual_seed(0)
    config = PPOConfig(rollout=16, minibatch=128, learning_rate=3e-3, gamma=0.9, reward_scale=1.0)
    ppo = PPO(ThroughGymnasium(32), PixelAgent(3, 2), config)
    ppo.train()
    before = ppo.actions.eq(RIGHT).float().mean()
    for _ in range(12):
        ppo.train()
    assert before < 0.65 and ppo.actions.eq(RIGHT).float().mean() > 0.85


def test_nobody_learns_from_the_step_in_which_a_dream_begins():
    ppo = PPO(ThroughGymnasium(DREAMS), PixelAgent(3, 2), CONFIG)
    for _ in range(3):
        last = ppo.ended
        rows, _, _ = ppo.samples(ppo.play())
        begun = torch.cat([last[None], (ppo.terminated | ppo.truncated)[:-1]])
        assert torch.equal(ppo.skipped, begun) and begun.any()
        assert not begun.flatten()[rows].any() and len(rows) == (~begun).sum()


@pytest.mark.parametrize(("mode", "said"), [("SAME_STEP", "NEXT_STEP"), ("DISABLED", "NEXT_STEP")])
def test_games_that_begin_anew_otherwise_are_refused(mode, said):
    dreams = ThroughGymnasium(2)
    dreams.metadata = {"autoreset_mode": gym.vector.AutoresetMode[mode]}
    with pytest.raises(UserError, match=said):
        PPO(dreams, PixelAgent(3, 2), CONFIG)


def test_other_than_discrete_actions_are_refused():
    with pytest.raises(UserError, match="Discrete"):
        PPO(ThroughGymnasium(2, kind="box"), PixelAgent(3, 2), CONFIG)


def test_it_needs_no_ray():
    code = "import experiments.ppo, sys; print({'ray', 'rl.module', 'tensorboard'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
