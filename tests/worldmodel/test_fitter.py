from dataclasses import replace

import numpy as np
import pytest
import torch
from counted_latents import knowing
from playing import SIZE, buffer_of, counted
from tiny import slides, sliding, tiny

from worldmodel.data.windows import WindowSampler
from worldmodel.errors import UserError
from worldmodel.fitting import FitConfig
from worldmodel.latent.fitter import LatentFitter

CONFIG = FitConfig(
    autoencoder_steps=6, first_steps=6, steps=6, head_steps=6, batch_size=8, unroll=2, dream=3, bf16=False
)
CPU = torch.device("cpu")
TRAINED = {
    "autoencoder": ("autoencoder.",),
    "dynamics": ("denoiser.", "head."),
    "adapter": ("lora_", "modules_to_save.default.", "head."),
    "head": ("head.",),
}


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    return slides(tmp_path_factory.mktemp("buffer"), [sliding(seed) for seed in range(6)])


def fitting(reader, stage, model=None, seed=0, **changes):
    """A fitter that has begun the stage of this name."""
    fitter = LatentFitter(model or tiny(), replace(CONFIG, **changes), reader, CPU)
    stages = {begun.name: begun for first in (True, False) for begun in fitter.stages(first)}
    fitter.begin(stages[stage], seed)
    return fitter


def weights(model):
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def is_trained(name, stage):
    return any(part in name for part in TRAINED[stage])


def test_the_first_round_trains_a_base_and_later_ones_an_adapter(reader):
    fitter = LatentFitter(tiny(), CONFIG, reader, CPU)
    assert [stage.name for stage in fitter.stages(True)] == ["autoencoder", "dynamics", "head"]
    assert [stage.name for stage in fitter.stages(False)] == ["adapter", "head"]


@pytest.mark.parametrize("stage", TRAINED)
def test_gradients_reach_all_that_a_stage_trains_and_nothing_else(reader, stage):
    fitter = fitting(reader, stage)
    model, before, reached = fitter.model, weights(fitter.model), set()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            parameter.register_hook(lambda gradient, name=name: reached.add(name) if gradient.any() else None)
    fitter.fit(6)
    expected = {name for name in before if is_trained(name, stage)}
    assert reached == expected
    after = weights(model)
    assert {name for name in before if not torch.equal(before[name], after[name])} == expected
    assert all(parameter.grad is None for name, parameter in model.named_parameters() if name not in expected)
    assert fitter.trained_parameters() == sum(before[name].numel() for name in expected)
    fitter.finish()
    assert all(torch.equal(weights(model)[name], before[name]) for name in before if name not in expected)


def test_every_action_and_noise_level_in_the_data_is_learned(reader):
    fitter = fitting(reader, "dynamics", first_steps=12)
    conditioner = fitter.model.denoiser.conditioner
    before = weights(conditioner)
    fitter.fit(12)
    change = {name: (parameter - before[name]).abs() for name, parameter in conditioner.named_parameters()}
    assert (change["action.lookup.weight"].amax(1) > 1e-5).all()
    assert (change["position"].amax(1) > 1e-5).all()
    assert (change["noise.weight"][0] > 1e-5).any()


@pytest.mark.parametrize("stage", TRAINED)
def test_the_same_seed_fits_the_same_model(reader, stage):
    runs = []
    for seed in (0, 0, 1):
        model = tiny()
        torch.seed()
        fitter = fitting(reader, stage, model, seed)
        losses = fitter.fit(3)
        fitter.finish()
        runs.append((losses, weights(fitter.model)))
    assert runs[0][0] == runs[1][0] != runs[2][0]
    assert all(torch.equal(runs[0][1][name], tensor) for name, tensor in runs[1][1].items())


@pytest.mark.parametrize("stage", TRAINED)
def test_a_fit_ends_by_adopting_the_average_of_exactly_what_it_trained(reader, stage):
    fitter = fitting(reader, stage, ema_decay=0.9)
    course = []
    for _ in range(6):
        fitter.fit(1)
        course.append(weights(fitter.model))
    fitter.finish()
    for name, averaged in weights(fitter.model).items():
        steps = torch.stack([step[name] for step in course])
        if not is_trained(name, stage):
            assert torch.equal(averaged, steps[-1]), name
            continue
        assert not torch.equal(averaged, steps[-1]), name
        slack = 1e-6 + 1e-5 * steps[-1].abs()
        assert (averaged >= steps.amin(0) - slack).all(), name
        assert (averaged <= steps.amax(0) + slack).all(), name


def test_without_decay_the_average_is_the_last(reader):
    fitter = fitting(reader, "dynamics", ema_decay=0.0)
    fitter.fit(4)
    last = weights(fitter.model)
    fitter.finish()
    for name, averaged in weights(fitter.model).items():
        torch.testing.assert_close(averaged, last[name], atol=1e-6, rtol=1e-5)


def test_after_the_autoencoder_its_latents_are_measured(reader):
    fitter = fitting(reader, "autoencoder")
    fitter.fit(3)
    fitter.finish()
    frames = reader.frames(np.arange(reader.num_frames))
    latents = fitter.model.autoencoder.encode(torch.from_numpy(frames))
    assert latents.mean((0, 2, 3)).abs().max() < 0.1
    assert (latents.std((0, 2, 3)) - 1).abs().max() < 0.1


def test_later_stages_see_the_autoencoder_as_it_has_become(reader, monkeypatch):
    fitter = fitting(reader, "dynamics")
    model, (autoencoder, dynamics, *_) = fitter.model, fitter.stages(True)
    fitter.begin(autoencoder, 0)
    fitter.fit(2)
    fitter.finish()
    seen, losses = [], model.losses
    monkeypatch.setattr(model, "losses", lambda segment: seen.append(segment) or losses(segment))
    fitter.begin(dynamics, 0)
    fitter.fit(1)
    ids = WindowSampler(reader, model.context, CONFIG.unroll).sample(8, np.random.default_rng(0)).frame_ids
    expected = model.autoencoder.encode(torch.from_numpy(reader.frames(ids)).flatten(0, 1))
    torch.testing.assert_close(seen[0].latents.flatten(0, 1), expected, atol=1e-4, rtol=1e-4)


def test_a_fit_leaves_the_model_ready_to_dream(reader):
    for stage in TRAINED:
        fitter = fitting(reader, stage)
        fitter.fit(1)
        fitter.finish()
        assert not any(module.training for module in fitter.model.modules())
        assert all(tensor.isfinite().all() for tensor in weights(fitter.model).values())


def test_what_is_reported_is_the_mean_of_every_loss(reader):
    whole = fitting(reader, "dynamics").fit(4)
    fitter = fitting(reader, "dynamics")
    parts = [fitter.fit(1) for _ in range(4)]
    assert set(whole) == {"denoising", "reward", "termination"}
    for name, value in whole.items():
        assert value == pytest.approx(np.mean([part[name] for part in parts]), rel=1e-5)


def test_an_adapter_is_fitted_further_in_the_next_round(reader):
    fitter = fitting(reader, "adapter")
    fitter.fit(6)
    fitter.finish()
    before = weights(fitter.model)
    fitter.begin(fitter.stages(False)[0], 1)
    assert weights(fitter.model).keys() == before.keys()
    assert all(torch.equal(tensor, before[name]) for name, tensor in weights(fitter.model).items())


def test_a_round_sees_what_was_played_since(tmp_path):
    slides(tmp_path, [sliding(seed) for seed in range(3)])
    fitter = fitting(slides(tmp_path, [sliding(3)]), "dynamics")
    before = fitter._cache[torch.arange(34)].clone()
    slides(tmp_path, [sliding(seed) for seed in range(4, 8)])
    fitter.begin(fitter.stages(False)[0], 0)
    assert torch.equal(fitter._cache[torch.arange(34)], before)
    assert len(fitter._cache[torch.arange(8 * 17)]) == 8 * 17
    fitter.fit(1)


@pytest.mark.parametrize("stage", ["autoencoder", "dynamics"])
def test_a_loss_that_is_no_number_stops_the_fit(reader, stage):
    model = tiny()
    fitter = fitting(reader, stage, model)
    with torch.no_grad():
        for part in (model.autoencoder.vae.decoder, model.denoiser):
            next(part.parameters()).fill_(torch.nan)
    with pytest.raises(UserError, match=r"loss became nan: lower fit\.learning-rate"):
        fitter.fit(2)


def test_a_learning_rate_that_is_far_too_high_is_named(reader):
    fitter = fitting(reader, "dynamics", learning_rate=1e12)
    with pytest.raises(UserError, match=r"fit\.learning-rate"):
        fitter.fit(6)


@pytest.mark.parametrize("stage", ["dynamics", "head"])
def test_the_counting_game_comes_through_to_the_losses(tmp_path, stage):
    """From the buffer's files over windows and cached latents: action, context, target and outcome belong together."""
    reader = buffer_of(tmp_path, [counted(tag) for tag in range(6)], [counted(tag) for tag in range(40, 46)])
    losses = fitting(reader, stage, knowing(SIZE), unroll=3, dream=6, batch_size=64).fit(3)
    assert losses.pop("denoising", 0.0) < 1e-6
    assert losses == dict.fromkeys(("sequence", "before", "action", "reward", "termination"), 0.0)
