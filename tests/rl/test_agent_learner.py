"""What the agent's learning says of itself, without Ray."""

from functools import partial
from types import SimpleNamespace

import corridor
import pytest
import torch
from ray.rllib.algorithms.ppo.torch.ppo_torch_learner import PPOTorchLearner
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.policy.sample_batch import MultiAgentBatch, SampleBatch
from ray.rllib.utils.actor_manager import ResultOrError
from torch.amp import GradScaler
from torch.distributions import Categorical, Normal, kl_divergence
from torch.optim.lr_scheduler import StepLR
from waits import waits

from rl.agent_learner import AGENT_FIGURES, AgentLearner, divergence
from rl.imagination import ImaginationPPO, ImaginationPPOConfig
from rl.imagination_runner import ImaginationEnvRunner

RATES = {"lr": 1e-2, "vf_loss_coeff": 0.25, "entropy_coeff": 0.1}


def configure(kind="discrete"):
    return (
        ImaginationPPOConfig()
        .environment("Corridor-v0", env_config={"kind": kind})
        .imagination(dreams=8, rollout=16)
        .training(**RATES)
        .rl_module(model_config={"hidden": 16, "width": 8})
        .debugging(seed=0)
    )


def learner_of(config, runner, kind=None):
    learner = (config.learners(learner_class=kind) if kind else config).build_learner(spaces=runner.get_spaces())
    learner.module[DEFAULT_MODULE_ID].load_state_dict(runner.module.state_dict())
    return learner


def columns_of(runner, seed=1):
    """Two minibatches, the second of which another policy would have played."""
    runner.begin(seed)
    samples = runner.imagine(16)[0].samples(gamma=0.9, lambda_=0.9, reward_scale=1.0)
    return list(samples.minibatches(64, 1, runner.generator))[:2]


def update(learner, columns):
    batch = SampleBatch(columns)
    learner.update(
        batch=MultiAgentBatch({DEFAULT_MODULE_ID: batch}, env_steps=len(batch)),
        timesteps={"num_env_steps_sampled_lifetime": 0},
        _no_metrics_reduce=True,
    )


def reckoned(module, columns):
    """The figures of one minibatch, from the networks and torch's own distributions."""
    with torch.no_grad():
        said, values = module.act(columns["obs"])
    learned = distribution_of(module, said)
    ratio = (summed(learned.log_prob(columns["actions"])) - columns["action_logp"]).exp()
    gains = torch.minimum(ratio * columns["advantages"], ratio.clamp(0.8, 1.2) * columns["advantages"])
    targets = columns["value_targets"]
    return {
        "entropy": summed(learned.entropy()).mean(),
        "policy_loss": -gains.mean(),
        "value_loss": (values - targets).square().mean(),
        "explained_variance": 1 - (targets - values).var() / targets.var(),
        "kl": (ratio - 1 - ratio.log()).mean(),
    }


def distribution_of(module, inputs):
    if module.policy.spec.kind == "box":
        mean, log_std = inputs.chunk(2, dim=-1)
        return Normal(mean, log_std.exp())
    return Categorical(logits=inputs)


def summed(values):
    return values.sum(-1) if values.ndim == 2 else values


@pytest.mark.parametrize("kind", ["discrete", "box"])
def test_the_figures_are_the_means_of_all_updates(kind):
    runner = ImaginationEnvRunner(config=configure(kind))
    learner, expected = learner_of(configure(kind), runner), []
    for columns in columns_of(runner):
        expected.append(reckoned(learner.module[DEFAULT_MODULE_ID].unwrapped(), columns))
        update(learner, columns)
    assert expected[0]["kl"] < 1e-6 < 1e-4 < expected[1]["kl"], "the second update is of a policy that has moved"
    figures = learner.take_figures()
    assert set(figures) == set(AGENT_FIGURES)
    for name, value in figures.items():
        assert value == pytest.approx(float(sum(each[name] for each in expected)) / 2, rel=1e-3, abs=1e-5), name


def test_the_divergence_is_estimated_from_actions():
    torch.manual_seed(0)
    played, learned = (Categorical(logits=torch.randn(4)) for _ in range(2))
    actions = played.sample((200_000,))
    estimated = divergence(played.log_prob(actions), learned.log_prob(actions))
    assert estimated == pytest.approx(kl_divergence(played, learned).item(), rel=0.03)


@pytest.mark.parametrize("kind", corridor.SPECS)
def test_an_update_waits_for_the_device_less_often_than_rllibs_own(kind):
    runner = ImaginationEnvRunner(config=configure(kind))
    first, second = columns_of(runner)
    counts = []
    for learner in (learner_of(configure(kind), runner, PPOTorchLearner), learner_of(configure(kind), runner)):
        update(learner, first)
        counts.append(waits(lambda learner=learner: update(learner, second)))
    gradients = len(list(runner.module.parameters()))
    assert counts[1] <= counts[0] - 2 * gradients


def test_it_learns_what_rllibs_own_does():
    runner = ImaginationEnvRunner(config=configure())
    learners = [learner_of(configure(), runner, PPOTorchLearner), learner_of(configure(), runner)]
    for columns in columns_of(runner):
        for learner in learners:
            update(learner, columns)
    ours, theirs = (learner.module[DEFAULT_MODULE_ID].state_dict() for learner in learners)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("asked", ["schedule", "scaling", "skipping"])
def test_what_rllib_may_do_besides_in_a_step_it_does(asked):
    config = configure()
    if asked == "schedule":
        config.experimental(_torch_lr_scheduler_classes=[partial(StepLR, step_size=1, gamma=0.0)])
    if asked == "scaling":
        config.experimental(_torch_grad_scaler_class=partial(GradScaler, "cpu"))
    if asked == "skipping":
        config.framework(torch_skip_nan_gradients=True)
    runner = ImaginationEnvRunner(config=configure())
    ours, theirs = learner_of(config, runner), learner_of(config.copy(copy_frozen=False), runner, PPOTorchLearner)
    for columns in columns_of(runner):
        spoiled = torch.nan if asked == "skipping" else 1.0
        for learner in (ours, theirs):
            update(learner, {**columns, "advantages": columns["advantages"] * spoiled})
    stepped = [learner.module[DEFAULT_MODULE_ID].state_dict() for learner in (ours, theirs)]
    torch.testing.assert_close(*stepped, rtol=1e-5, atol=1e-7, equal_nan=True)


def test_a_gradient_that_is_no_number_counts_as_none():
    runner = ImaginationEnvRunner(config=configure())
    learner, (first, _) = learner_of(configure(), runner), columns_of(runner)
    before = {name: value.clone() for name, value in learner.module[DEFAULT_MODULE_ID].state_dict().items()}
    update(learner, {**first, "advantages": first["advantages"] * torch.nan})
    after = learner.module[DEFAULT_MODULE_ID].state_dict()
    changed = {name for name, value in after.items() if not torch.equal(value, before[name])}
    assert changed and all(name.startswith("value.") for name in changed), "what only the value's loss reaches"
    assert all(value.isfinite().all() for value in after.values())


def test_figures_are_told_once():
    runner = ImaginationEnvRunner(config=configure())
    learner = learner_of(configure(), runner)
    assert learner.take_figures() == {}
    first, second = columns_of(runner)
    update(learner, first)
    learner.take_figures()
    update(learner, second)
    assert learner.take_figures()["entropy"] > 0
    assert learner.take_figures() == {}


@pytest.mark.parametrize(("learners", "mean"), [(1, 1.0), (3, 2.0)])
def test_several_learners_are_told_by_their_mean(learners, mean):
    told = [AgentLearner.__new__(AgentLearner) for _ in range(learners)]
    for number, learner in enumerate(told, start=1):
        learner._sums, learner._updates = torch.full((len(AGENT_FIGURES),), 2.0 * number), 2
    assert ImaginationPPO.take_figures(algorithm_with(told)) == dict.fromkeys(AGENT_FIGURES, mean)


def test_somebody_elses_learner_tells_nothing():
    assert ImaginationPPO.take_figures(algorithm_with([SimpleNamespace()])) == {}


def algorithm_with(learners):
    def foreach_learner(func):
        return [ResultOrError(result=func(learner)) for learner in learners]

    return SimpleNamespace(learner_group=SimpleNamespace(foreach_learner=foreach_learner))
