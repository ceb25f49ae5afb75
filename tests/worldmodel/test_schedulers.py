import pytest
import torch
from based import based, dreamed, same
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    HeunDiscreteScheduler,
)
from tiny import dreamed as dreamed_small
from tiny import tiny

from worldmodel.errors import UserError
from worldmodel.families import load_world_model
from worldmodel.latent.config import SamplerConfig
from worldmodel.latent.losses import LatentLosses
from worldmodel.latent.model import LatentWorldModel

KINDS = {"ddim": DDIMScheduler, "euler": EulerDiscreteScheduler, "dpm": DPMSolverMultistepScheduler}


@pytest.mark.parametrize("solver", KINDS)
def test_a_scheduler_is_swapped_as_in_diffusers(base_folder, solver):
    model = based(base_folder, adapted=True, sampler=SamplerConfig(steps=4))
    model.scheduler = KINDS[solver].from_config(model.scheduler.config)
    built = based(base_folder, adapted=True, sampler=SamplerConfig(solver, steps=4))
    assert type(model.scheduler) is type(built.scheduler) is KINDS[solver]
    for ours, theirs in zip(dreamed(model), dreamed(built), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_schedulers_differ_in_what_they_draw(base_folder):
    drawn = {}
    for name, kind in KINDS.items():
        model = based(base_folder, adapted=True, sampler=SamplerConfig(steps=4))
        model.scheduler = kind.from_config(model.scheduler.config)
        drawn[name] = dreamed(model)[0]
    torch.testing.assert_close(drawn["ddim"], drawn["euler"], atol=2e-2, rtol=0)
    assert (drawn["ddim"] - drawn["dpm"]).abs().max() > 1e-3


@pytest.mark.parametrize("kind", KINDS.values())
def test_a_swapped_scheduler_is_saved(base_folder, tmp_path, kind):
    model = based(base_folder, adapted=True)
    model.scheduler = kind.from_config(model.scheduler.config)
    model.save_pretrained(tmp_path)
    loaded = LatentWorldModel.from_pretrained(tmp_path)
    assert type(loaded.scheduler) is kind
    assert same(dreamed(loaded), dreamed(model))
    assert type(load_world_model(tmp_path).scheduler) is kind


def test_the_small_networks_of_our_own_take_another_scheduler_too(tmp_path):
    model = tiny()
    model.scheduler = EulerDiscreteScheduler.from_config(model.scheduler.config)
    expected = dreamed_small(tiny(sampler=SamplerConfig("euler", 2)))
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(dreamed_small(model), expected, strict=True))


def test_training_follows_the_timesteps_that_are_sampled():
    model = tiny(sampler=SamplerConfig(steps=2))
    model.scheduler = DDIMScheduler.from_config(model.scheduler.config, timestep_spacing="leading")
    assert model.sampler.timesteps.tolist() == [500, 0]
    drawn = LatentLosses(model)._draw_timesteps(2000, torch.device("cpu"))
    assert ((drawn == 500) | (drawn == 0)).float().mean().item() == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prediction_type": "epsilon"}, "another prediction"),
        ({"beta_end": 0.02}, "other noise"),
        ({"rescale_betas_zero_snr": False}, "other noise"),
    ],
)
def test_other_noise_than_was_trained_on_is_refused(changes, message):
    model = tiny()
    with pytest.raises(UserError, match=message):
        model.scheduler = DDIMScheduler.from_config(model.scheduler.config, **changes)


def test_steps_of_other_noise_than_the_network_is_told_are_refused(base_folder):
    model = based(base_folder, sampler=SamplerConfig(steps=4))
    with pytest.raises(UserError, match="other noise than the timesteps"):
        model.scheduler = EulerDiscreteScheduler.from_config(model.scheduler.config, interpolation_type="log_linear")
    with pytest.raises(UserError, match="no schedule of betas"):
        model.scheduler = FlowMatchEulerDiscreteScheduler()


@pytest.mark.parametrize("kind", [HeunDiscreteScheduler, EulerDiscreteScheduler, DPMSolverMultistepScheduler])
@pytest.mark.parametrize("karras", [False, True])
def test_other_steps_work_too(base_folders, kind, karras):
    """Karras et al. (2022): other noise levels, and their solver of second order."""
    model = based(base_folders["sd2", "tiny", "epsilon"], adapted=True, sampler=SamplerConfig(steps=4))
    before = dreamed(model)[0]
    model.scheduler = kind.from_config(model.scheduler.config, use_karras_sigmas=karras)
    assert (dreamed(model)[0] - before).abs().mean() < before.abs().mean()


def test_a_dream_makes_no_new_scheduler(monkeypatch):
    model = tiny()
    monkeypatch.setattr(DDIMScheduler, "__init__", lambda *_: pytest.fail("made anew"))
    dreamed_small(model)
