from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from playing import buffer_of, counted
from tiny import slides, sliding
from tiny_pixel import CONFIG as TINY
from tiny_pixel import tiny_pixel

from worldmodel import autotune as module
from worldmodel.autotune import Bfloat16
from worldmodel.data.windows import WindowSampler, segment
from worldmodel.errors import UserError
from worldmodel.fidelity import score
from worldmodel.fitting import FitConfig, Stage
from worldmodel.metrics.replay import draw_replay, replay
from worldmodel.pixel.blocks import ResBlock
from worldmodel.pixel.config import UNetConfig
from worldmodel.pixel.fitter import PixelFitter

torch.set_num_threads(1)

CONFIG = FitConfig(first_steps=6, steps=4, batch_size=8, unroll=2, dream=3)
CPU = torch.device("cpu")
NOWHERE = Path("/tmp/nowhere/failures")
TRAINED = {"denoiser": "denoiser.", "outcomes": "outcomes."}


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    return slides(tmp_path_factory.mktemp("buffer"), [sliding(seed) for seed in range(6)])


def fitting(reader, stage, model=None, seed=0, failures=NOWHERE, **changes):
    """A fitter that has begun the stage of this name."""
    fitter = PixelFitter(model or tiny_pixel(), replace(CONFIG, **changes), reader, CPU, failures)
    fitter.begin(next(known for known in fitter.stages(first=True) if known.name == stage), seed)
    return fitter


def weights(model):
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def test_every_round_trains_both_networks(reader):
    fitter = PixelFitter(tiny_pixel(), CONFIG, reader, CPU, NOWHERE)
    for first, steps in ((True, 6), (False, 4)):
        assert [(stage.name, stage.steps) for stage in fitter.stages(first)] == [
            ("denoiser", steps),
            ("outcomes", steps),
        ]
        assert not any(stage.makes_latents for stage in fitter.stages(first))
    assert fitter.ends_recalled() is None
    assert fitter.encoded(np.zeros((2, 4), np.int64)) is None
    assert fitter.trained_parameters() == sum(parameter.numel() for parameter in fitter.model.parameters())


def test_a_fit_learns_what_is_familiar_and_how_far_held_out_play_strays(tmp_path):
    reader = slides(tmp_path, [sliding(seed) for seed in range(400)])
    fitter = fitting(reader, "denoiser")
    assert fitter.model.doubt_limit == torch.inf
    fitter.finish()
    model, limit = fitter.model, fitter.model.doubt_limit
    held_out = WindowSampler(reader, model.context, 1, "held_out")
    play = segment(reader, held_out.at(np.arange(held_out.num_steps)))
    real = model.read(play.frames, play.actions, play.mask).doubt
    assert (real <= limit).float().mean() > 0.9
    frames = play.frames.clone()
    frames[:, -1] = torch.randint(256, frames[:, -1].shape, dtype=torch.uint8)
    assert (model.read(frames, play.actions, play.mask).doubt > limit).all()


SWITCHES = [{}, {"accumulate": 3}, {"checkpointing": True}, {"precision": "bf16"}, {"optimizer": "adafactor"}]


@pytest.mark.parametrize("switch", SWITCHES, ids=str)
@pytest.mark.parametrize("stage", TRAINED)
def test_a_stage_trains_its_network_and_nothing_else(reader, stage, switch):
    fitter = fitting(reader, stage, **switch)
    before = weights(fitter.model)
    losses = fitter.fit(6)
    assert np.isfinite(list(losses.values())).all()
    assert set(losses) == ({"denoising"} if stage == "denoiser" else {"reward", "termination"})
    fitter.finish()
    changed = {name for name, after in weights(fitter.model).items() if not torch.equal(before[name], after)}
    assert changed == {name for name in before if name.startswith(TRAINED[stage])}
    assert not fitter.model.training


def test_a_stage_ends_with_the_averaged_weights(reader):
    fitter = fitting(reader, "outcomes")
    begun = weights(fitter.model)["outcomes.head.2.weight"]
    fitter.fit(6)
    last = weights(fitter.model)["outcomes.head.2.weight"]
    fitter.finish()
    averaged = weights(fitter.model)["outcomes.head.2.weight"]
    assert 0 < (averaged - begun).norm() < (last - begun).norm()


@pytest.mark.parametrize("stage", TRAINED)
def test_the_same_seed_fits_the_same_model(reader, stage):
    fits = []
    for seed in (0, 0, 1):
        fitter = fitting(reader, stage, seed=seed)
        fits.append(fitter.fit(3))
        fitter.finish()
    assert fits[0] == fits[1] != fits[2]


def test_parts_of_a_batch_have_the_gradients_of_the_whole(reader):
    """Where nothing random is drawn."""
    found = []
    for accumulate in (1, 4):
        fitter = fitting(reader, "outcomes", accumulate=accumulate)
        fitter.fit(1)
        found.append(weights(fitter.model))
    for name, whole in found[0].items():
        torch.testing.assert_close(found[1][name], whole, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("stage", TRAINED)
def test_with_checkpointing_blocks_are_computed_twice_and_learn_the_same(reader, stage):
    counted, found = [], []
    for checkpointing in (False, True):
        fitter, calls = fitting(reader, stage, checkpointing=checkpointing), []
        for part in getattr(fitter.model, stage).modules():
            if isinstance(part, ResBlock):
                part.register_forward_pre_hook(lambda *_, calls=calls: calls.append(torch.is_grad_enabled()))
        fitter.fit(1)
        counted.append(sum(calls))
        found.append(weights(fitter.model))
    assert counted[1] == 2 * counted[0]
    for name, kept in found[0].items():
        torch.testing.assert_close(found[1][name], kept, atol=1e-6, rtol=1e-5)


def test_losses_that_are_no_numbers_stop_the_fit_and_keep_the_batch(reader, tmp_path):
    fitter = fitting(reader, "outcomes", failures=tmp_path)
    with torch.no_grad():
        next(fitter.model.outcomes.head.parameters()).fill_(torch.nan)
    with pytest.raises(UserError, match=r"outcomes, reward became nan.*--fit\.learning-rate"):
        fitter.fit(1)
    assert list(tmp_path.glob("outcomes-*.safetensors"))


def test_ends_are_judged_at_the_rate_at_which_they_are_played(tmp_path):
    """Windows whose context counted too would hold fewer: no context reaches a game's last step."""
    reader = buffer_of(tmp_path, [counted(tag) for tag in range(60)])
    rate = reader.steps.terminated[: reader.num_steps].mean()
    windows = WindowSampler(reader, 4, 6, split="all").sample(4000, np.random.default_rng(0))
    drawn = segment(reader, windows)
    judged = (drawn.mask[:, 1:] & drawn.mask[:, :-1])[:, 3:]
    assert drawn.terminated[:, 3:][judged].float().mean().item() == pytest.approx(rate, rel=0.35)
    everything = drawn.mask[:, 1:] & drawn.mask[:, :-1]
    assert drawn.terminated[everything].float().mean() < drawn.terminated[:, 3:][judged].float().mean()


@pytest.mark.parametrize("stage", TRAINED)
def test_trying_faster_ways_changes_nothing_that_training_draws(reader, stage):
    fitted = []
    for precision in ("fp32", "auto"):
        fitter = fitting(reader, stage, precision=precision)
        fitter.fit(2)
        fitter.finish()
        fitted.append(weights(fitter.model))
    plain, tried = fitted
    assert all(torch.equal(tried[name], tensor) for name, tensor in plain.items())


@pytest.mark.parametrize("stage", TRAINED)
def test_a_faster_way_is_taken_and_kept_for_the_next_round(reader, stage, monkeypatch):
    tried, calls = [], []

    class Stand(Bfloat16):
        def __call__(self, *arguments):
            calls.append(self.network)
            return super().__call__(*arguments)

    def tuned(networks, work, times):
        work(tried.append(networks[0]) or [Stand(network) for network in networks])
        calls.clear()
        return [Stand(network) for network in networks]

    monkeypatch.setattr(module, "autotune", tuned)
    fitter = fitting(reader, stage)
    for _ in range(2):
        before = weights(fitter.model)
        fitter.fit(2)
        fitter.finish()
        changed = {name for name, after in weights(fitter.model).items() if not torch.equal(before[name], after)}
        assert changed and all(name.startswith(TRAINED[stage]) for name in changed)
        fitter.begin(Stage(stage, 4), 1)
    assert tried == [getattr(fitter.model, stage)] and set(calls) == set(tried)


# Learning.

HORIZONS = (1, 2, 4)


@pytest.fixture(scope="module")
def learned(tmp_path_factory):
    """A tiny model that was fitted to the sliding game for some seconds, and the game's play."""
    reader = slides(tmp_path_factory.mktemp("buffer"), [sliding(seed) for seed in range(40)])
    model = tiny_pixel(stirred=False, unet=UNetConfig(channels=(16, 16), layers=1, condition=64))
    config = FitConfig(first_steps=60, batch_size=16, unroll=1, dream=4, learning_rate=4e-3)
    fitter = PixelFitter(model, config, reader, CPU, tmp_path_factory.mktemp("failures"))
    for stage in fitter.stages(first=True):
        fitter.begin(stage, 0)
        fitter.fit(stage.steps)
        fitter.finish()
    return model, reader


@pytest.fixture(scope="module")
def windows(learned):
    return draw_replay(learned[1], TINY.context, max(HORIZONS), count=64, seed=0)


def test_the_dream_beats_the_last_frame(learned, windows):
    fidelity = score(replay(*learned, windows, seed=0), HORIZONS)
    assert fidelity.dream[0] > fidelity.copy_last[0] + 0.7
    assert fidelity.dream_changing[0] > fidelity.copy_last_changing[0] + 2.5


def test_rewards_are_learned(learned, windows):
    model, reader = learned
    frames = torch.from_numpy(reader.frames(windows.frame_ids[:, :4]))
    dream = model.begin(frames, torch.from_numpy(windows.actions[:, :3]), torch.from_numpy(windows.mask[:, :4]))
    _, step = model.step(dream, torch.from_numpy(windows.actions[:, 3]), torch.Generator().manual_seed(0))
    assert np.mean(step.rewards.numpy() == windows.rewards[:, 3]) > 0.75
