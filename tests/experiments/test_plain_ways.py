"""The plain ways that the fast ones are measured beside do the same."""

import gc
from dataclasses import replace

import numpy as np
import psutil
import pytest
import torch
from miniature import MINIATURE
from pixel_dreams import CONFIG
from ray.rllib.core.rl_module.rl_module import RLModuleSpec

from envs.pool import fill_pool
from experiments.bare_ppo import BarePPO, ModuleAgent
from experiments.fake_dreams import FakeDreams, TinyModule
from experiments.ppo import PPO, PPOConfig
from experiments.speed.imagination import SEES, DreamBench, make_runner, random_starts
from experiments.speed.plain_dreams import PlainDreams, Setting
from experiments.speed.plain_fit import PlainFit, StepByStep
from experiments.speed.real import write_noise
from worldmodel.data.reader import BufferReader
from worldmodel.data.windows import WindowSampler, segment
from worldmodel.fitting import FitConfig
from worldmodel.latent.losses import LatentLosses
from worldmodel.latent.model import LatentWorldModel
from worldmodel.latent.unroll import Unrolls
from worldmodel.pixel.model import PixelWorldModel
from worldmodel.spaces import ActionSpec

SPEC = ActionSpec.discrete(6)
DREAMS, STEPS, HORIZON = 6, 60, 3
SHAPE = (64, 64, 12)


def small_model(family):
    torch.manual_seed(0)
    if family == "pixel":
        return PixelWorldModel(replace(CONFIG, frame_size=16), SPEC).eval()
    model = LatentWorldModel(MINIATURE.model, SPEC).eval()
    for parameter in model.denoiser.parameters():
        parameter.data += 0.02 * torch.randn_like(parameter)
    # So that some dreams are cut out of doubt, some end, and others reach the horizon.
    model.familiarity.rest.fill_(1.0)
    model.familiarity.limit.fill_(16.0)
    for member in model.head.members:
        member.out.bias.data[-1] = -2.0
    return model


def tiny_module(dreams):
    spec = RLModuleSpec(
        module_class=TinyModule,
        observation_space=dreams.single_observation_space,
        action_space=dreams.single_action_space,
        model_config={},
    )
    return spec.build()


@pytest.mark.parametrize("family", ["latent", "pixel"])
def test_plain_dreams_are_the_dreams_that_ours_are(family):
    model = small_model(family)
    runner = make_runner(model, DREAMS, SEES[family], 0, "cpu")
    runner.dreams.horizon = HORIZON
    runner.begin(3)
    ours, _ = runner.imagine(STEPS)
    pool = fill_pool(model, random_starts(model), SEES[family], 4, torch.device("cpu"))
    setting = Setting(model, runner.module, pool, DREAMS, HORIZON, SEES[family])
    plain = PlainDreams(setting, seed=3).imagine(STEPS)
    for name, column in plain._asdict().items():
        assert torch.equal(column, getattr(ours, name)), name
    assert plain.terminated.any() and plain.truncated.any() and plain.skipped.any()


def test_the_parts_of_a_step_are_named_and_the_way_they_are_measured_is_undone():
    bench = DreamBench(small_model("latent"), "latent", 2, 0, "cpu")
    parts = bench._split()
    assert list(parts) == ["denoising", "reward and end", "policy", "copies"]
    assert all(milliseconds > 0 for milliseconds in parts.values())
    model = bench.ours.dreams.world_model
    assert [model.backend_of(network) for network in model.networks] == list(model.networks)
    assert "act" not in bench.ours.module.__dict__


def noise(tmp_path):
    write_noise(tmp_path)
    return BufferReader(tmp_path)


def along(losses, played):
    """The denoising loss of a unroll as it is learned from update by update, by weights that stay as they are."""
    unroll, terms = losses.begin(played), []
    while not unroll.over:
        learned = next(losses.of_frames(Unrolls([unroll])))
        terms.append(learned.losses["denoising"])
        unroll = unroll.on(*learned.guesses)
    return torch.stack(terms).mean()


def test_the_plain_way_to_learn_from_windows_is_to_go_along_them(tmp_path):
    reader = noise(tmp_path)
    torch.manual_seed(0)
    model = LatentWorldModel(replace(MINIATURE.model, frame_size=64), SPEC).train()
    played = segment(reader, WindowSampler(reader, model.context, 3).sample(4, np.random.default_rng(0)))
    gradients = []
    for loss in (StepByStep(model).denoising, lambda played: along(LatentLosses(model), played)):
        model.zero_grad()
        torch.manual_seed(1)
        loss(played).backward()
        gradients.append({name: p.grad.clone() for name, p in model.denoiser.named_parameters() if p.grad is not None})
    plain, ours = gradients
    assert plain.keys() == ours.keys() and len(ours) > 20
    for name, gradient in plain.items():
        torch.testing.assert_close(ours[name], gradient, rtol=1e-3, atol=1e-6)


def test_the_plain_fit_learns_the_dynamics_and_nothing_else(tmp_path):
    torch.manual_seed(0)
    model = LatentWorldModel(replace(MINIATURE.model, frame_size=64), SPEC)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    PlainFit(model, FitConfig(batch_size=4), noise(tmp_path), "cpu").fit(2)
    changed = {name for name, tensor in model.state_dict().items() if not torch.equal(before[name], tensor)}
    assert changed and all(name.startswith("denoiser.") for name in changed)


def test_the_bare_loop_plays_what_the_page_plays():
    """The same games, whether they come as tensors or through NumPy."""
    rollouts = []
    for kind in (PPO, BarePPO):
        torch.manual_seed(0)
        dreams = FakeDreams(4, shape=SHAPE, horizon=3)
        ppo = kind(dreams, ModuleAgent(tiny_module(dreams)), PPOConfig(rollout=8, minibatch=16))
        ppo.train()
        rollouts.append((ppo.observations, ppo.actions, ppo.rewards, ppo.skipped, ppo.agent.module.value.weight))
    assert all(torch.equal(one, other) for one, other in zip(*rollouts, strict=True))


def test_fake_dreams_run_to_the_horizon_and_begin_anew():
    dreams = FakeDreams(3, shape=SHAPE, horizon=2)
    assert dreams.reset_tensors().shape == (3, *SHAPE)
    actions = torch.zeros(3, dtype=torch.long)
    told = [dreams.step_tensors(actions) for _ in range(4)]
    assert [truncated.all().item() for *_, truncated in told] == [False, True, False, False]
    assert not told[2][1].any(), "a reset row pays nothing"
    assert not torch.equal(told[0][0], told[1][0])


def test_the_tiny_policy_sees_the_picture():
    dreams = FakeDreams(3, shape=SHAPE)
    module = tiny_module(dreams)
    first, second = dreams.reset_tensors(), dreams.step_tensors(torch.zeros(3, dtype=torch.long))[0]
    assert not torch.equal(module.act(first)[1], module.act(second)[1])


@pytest.mark.parametrize("family", ["latent", "pixel"])
def test_a_rollout_leaves_no_tensor_behind(family):
    runner, alive = make_runner(small_model(family), 2, SEES[family], 0, "cpu"), []
    for _ in range(20):
        runner.imagine(2)
        gc.collect()
        alive.append(sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects()))
    assert alive[-1] <= max(alive[:10])


@pytest.mark.slow
@pytest.mark.parametrize("family", ["latent", "pixel"])
def test_a_thousand_rollouts_leave_no_memory_behind(family):
    runner = make_runner(small_model(family), 2, SEES[family], 0, "cpu")
    held = psutil.Process().memory_info

    def imagine(times):
        for _ in range(times):
            runner.imagine(2)
        gc.collect()
        return held().rss

    begun = imagine(200)
    assert imagine(1000) - begun < 8 * 2**20
