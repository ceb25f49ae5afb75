from dataclasses import replace

import numpy as np
import pytest
import torch
from based import based as based_on
from counted_latents import knowing
from fits import CONFIG, CPU, NOWHERE, fitting, named, weights
from playing import SIZE, buffer_of, counted
from tiny import SPEC, slides, sliding, tiny

from rl.buffer import BufferWriter
from worldmodel.data.reader import BufferReader
from worldmodel.data.windows import WindowSampler
from worldmodel.fitting import FitConfig
from worldmodel.latent.autoencoder import Autoencoder
from worldmodel.latent.config import BaseConfig
from worldmodel.latent.fitter import LatentFitter
from worldmodel.latent.losses import LatentLosses

LARGE = 128
TRAINED = {
    "autoencoder": ("autoencoder.",),
    "decoder": ("autoencoder.vae.decoder.",),
    "dynamics": ("denoiser.",),
    "adapter": ("lora_", "modules_to_save.default."),
    "head": ("head.",),
}


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    return slides(tmp_path_factory.mktemp("buffer"), [sliding(seed) for seed in range(6)])


@pytest.fixture
def based(base_folder):
    return based_on(base_folder, frame_size=16)


def stages(reader, first, model=None, **changes):
    """The names of a round's stages; by default the decoder is left to `FitConfig`."""
    fitter = LatentFitter(model or tiny(), FitConfig(**changes), reader, CPU, NOWHERE)
    return [stage.name for stage in fitter.stages(first)]


def is_trained(name, stage):
    return any(part in name for part in TRAINED[stage])


def test_the_first_round_trains_a_base_and_later_ones_an_adapter(reader):
    assert stages(reader, first=True) == ["autoencoder", "dynamics", "head"]
    assert stages(reader, first=False) == ["adapter", "head"]


def test_a_base_is_measured_and_its_decoder_fitted_before_an_adapter_is(reader, based):
    assert stages(reader, True, based) == ["latents", "decoder", "adapter", "head"]
    assert stages(reader, True, based, decoder_steps=0) == ["latents", "adapter", "head"]
    assert stages(reader, False, based) == ["adapter", "head"]


def test_one_switch_trains_the_whole_network(reader, based):
    assert stages(reader, True, full=True) == ["autoencoder", "dynamics", "head"]
    assert stages(reader, True, based, full=True) == ["latents", "decoder", "dynamics", "head"]
    for model in (None, based):
        assert stages(reader, False, model, full=True) == ["dynamics", "head"]


def test_each_stage_has_its_own_number_of_updates(reader):
    config = FitConfig(autoencoder_steps=1, decoder_steps=2, first_steps=3, steps=4, head_steps=5)
    fitter = LatentFitter(tiny(), config, reader, CPU, NOWHERE)
    assert [stage.steps for stage in fitter.stages(True)] == [1, 2, 3, 5]
    assert [stage.steps for stage in fitter.stages(False)] == [4, 5]


SWITCHES = [
    {"accumulate": 3},
    {"checkpointing": True},
    {"precision": "bf16"},
    {"precision": "fp16"},
    {"optimizer": "adafactor"},
    {"optimizer": "adamw8bit"},
    {"weighting": "min_snr"},
    {"weighting": "edm"},
]
STAGES_AND_SWITCHES = [(stage, {}) for stage in TRAINED] + [
    (stage, switch) for stage in ("dynamics", "adapter") for switch in SWITCHES
]


@pytest.mark.parametrize(("stage", "switch"), STAGES_AND_SWITCHES, ids=str)
def test_gradients_reach_all_that_a_stage_trains_and_nothing_else(reader, stage, switch):
    fitter = fitting(reader, stage, **switch)
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


@pytest.fixture(scope="module")
def large_reader(tmp_path_factory):
    """The same game, eight times as large: in a base's U-Net, attention has to find more than one place to look at."""
    folder = tmp_path_factory.mktemp("large")
    episodes = [sliding(seed, steps=8) for seed in range(2)]
    large = [replace(e, frames=e.frames.repeat(8, axis=1).repeat(8, axis=2)) for e in episodes]
    BufferWriter(folder, (LARGE, LARGE, 3), SPEC, 1_000_000).append(large)
    return BufferReader(folder)


@pytest.mark.parametrize(
    ("stage", "switch"),
    [("dynamics", {"full": True}), ("decoder", {}), ("adapter", {})]
    + [pytest.param("adapter", switch, marks=pytest.mark.slow) for switch in SWITCHES],
    ids=str,
)
def test_on_a_base_too_all_that_a_stage_trains_changes_and_nothing_else(large_reader, base_folders, stage, switch):
    model = based_on(base_folders["sd2", "kl", "v_prediction"], frame_size=LARGE)
    fitter = fitting(large_reader, stage, model, batch_size=3, unroll=1, **switch)
    before = weights(model)
    fitter.fit(3)
    changed = {name for name, after in weights(model).items() if not torch.equal(before[name], after)}
    parts = {**TRAINED, "decoder": ("autoencoder.vae.decoder.", "autoencoder.vae.post_quant_conv.")}[stage]
    assert changed == {name for name in before if any(part in name for part in parts)}


@pytest.mark.parametrize(
    "stage",
    ["adapter", pytest.param("dynamics", marks=pytest.mark.slow), pytest.param("decoder", marks=pytest.mark.slow)],
)
def test_a_base_in_bfloat16_is_trained_in_float32(large_reader, base_folders, stage):
    base_folder = base_folders["sd2", "kl", "v_prediction"]
    base = BaseConfig(str(base_folder), dtype="bfloat16")
    model = based_on(base_folder, frame_size=LARGE, base=base)
    fitter = fitting(large_reader, "latents", model, batch_size=3, unroll=1, full=stage == "dynamics")
    fitter.finish()
    fitter.begin(named(fitter, stage), 0)
    assert {parameter.dtype for parameter in fitter._trained} == {torch.float32}
    kept = {name: tensor.dtype for name, tensor in based_on(base_folder, base=base).named_parameters()}
    assert np.isfinite(list(fitter.fit(2).values())).all()
    fitter.finish()
    if stage != "adapter":
        assert {name: tensor.dtype for name, tensor in model.named_parameters()} == kept
    frames = torch.from_numpy(large_reader.frames(np.arange(4)))[None]
    dream = model.begin(frames, torch.zeros(1, 3, dtype=torch.long), torch.ones(1, 4, dtype=torch.bool))
    after, _ = model.step(dream, torch.zeros(1, dtype=torch.long))
    assert model.observe(after).shape == (1, LARGE, LARGE, 3)


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


def test_an_autoencoder_may_keep_the_reach_that_it_comes_with(reader):
    model = tiny()
    with torch.no_grad():
        for parameter in list(model.autoencoder.vae.encoder.parameters())[-2:]:
            parameter.mul_(1e4)
    frames = torch.from_numpy(reader.frames(np.arange(reader.num_frames)))
    reached = model.autoencoder.raw(frames).abs().max()
    fitter = fitting(reader, "autoencoder", model)
    # The frames that it is measured on are shifted at random.
    assert 10 < fitter.model.autoencoder.reach == pytest.approx(reached.item(), rel=0.3)
    assert fitting(reader, "autoencoder").model.autoencoder.reach == 3


def test_later_stages_see_the_autoencoder_as_it_has_become(reader, monkeypatch):
    fitter = fitting(reader, "dynamics", tiny(shift=0.0))
    model = fitter.model
    fitter.begin(named(fitter, "autoencoder"), 0)
    fitter.fit(2)
    fitter.finish()
    seen, losses = [], LatentLosses.of_frames
    monkeypatch.setattr(LatentLosses, "of_frames", lambda *given: seen.append(given[1]) or losses(*given))
    fitter.begin(named(fitter, "dynamics"), 0)
    fitter.fit(1)
    rng, drawn = np.random.default_rng(0), WindowSampler(reader, model.context, CONFIG.unroll)
    for unroll in reversed(seen[0].each):
        frames = torch.from_numpy(reader.frames(drawn.sample(8, rng).frame_ids))
        expected = model.autoencoder.encode(frames.flatten(0, 1))
        torch.testing.assert_close(unroll.latents.flatten(0, 1), expected, atol=1e-4, rtol=1e-4)


def test_frames_have_been_encoded_already(tmp_path, monkeypatch):
    reader = slides(tmp_path, [sliding(seed) for seed in range(3)])
    fitter, before = fitting(reader, "dynamics"), reader.num_frames
    slides(tmp_path, [sliding(3)])
    ids = BufferReader(tmp_path).end_frame_id - np.array([[1, 40, 2], [3, 3, 60]])
    expected = fitter.model.encode(torch.from_numpy(BufferReader(tmp_path).frames(ids)).flatten(0, 1))
    taken, encode = [], Autoencoder.encode
    monkeypatch.setattr(Autoencoder, "encode", lambda self, frames: taken.append(len(frames)) or encode(self, frames))
    told = fitter.encoded(ids)
    assert told.shape == (2, 3, *fitter.model.observation_shape("latents"))
    torch.testing.assert_close(told.flatten(0, 1), expected, atol=1e-4, rtol=1e-4)
    assert sum(taken) == BufferReader(tmp_path).num_frames - before, "only what is new"


def test_a_fit_leaves_the_model_ready_to_dream(reader):
    for stage in TRAINED:
        fitter = fitting(reader, stage)
        fitter.fit(1)
        fitter.finish()
        assert not any(module.training for module in fitter.model.modules())
        assert all(tensor.isfinite().all() for tensor in weights(fitter.model).values())


@pytest.mark.parametrize("stage", ["dynamics", "head"])
def test_what_is_reported_is_the_mean_of_every_loss(reader, stage):
    whole = fitting(reader, stage).fit(4)
    fitter = fitting(reader, stage)
    parts = [fitter.fit(1) for _ in range(4)]
    assert set(whole) == {"dynamics": {"denoising"}, "head": {"reward", "termination"}}[stage]
    for name, value in whole.items():
        assert value == pytest.approx(np.mean([part[name] for part in parts]), rel=1e-5)


def test_without_a_stage_of_its_own_the_head_learns_beside_the_dynamics(reader):
    assert stages(reader, first=True, head_steps=0) == ["autoencoder", "dynamics"]
    fitter = fitting(reader, "dynamics", head_steps=0)
    before = weights(fitter.model)
    assert set(fitter.fit(4)) == {"denoising", "reward", "termination"}
    moved = {name for name, tensor in weights(fitter.model).items() if not torch.equal(tensor, before[name])}
    assert any(name.startswith("head.") for name in moved)
    assert any(name.startswith("denoiser.") for name in moved)


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


def test_a_base_keeps_its_encoder_while_its_decoder_learns(reader, based):
    fitter = fitting(reader, "latents", based)
    fitter.finish()
    hashed, frames = fitter.model.encoder_hash(), torch.from_numpy(reader.frames(np.arange(40)))
    latents, shown = fitter.model.autoencoder.encode(frames), fitter.model.reconstruct(frames)
    fitter.begin(named(fitter, "decoder"), 0)
    fitter.fit(6)
    fitter.finish()
    assert fitter.model.encoder_hash() == hashed
    assert torch.equal(fitter.model.autoencoder.encode(frames), latents)
    assert not torch.equal(fitter.model.reconstruct(frames), shown)


def test_a_bases_latents_are_measured_before_anything_is_trained(reader, based):
    fitter = fitting(reader, "latents", based)
    before = weights(fitter.model)
    fitter.finish()
    latents = fitter.model.autoencoder.encode(torch.from_numpy(reader.frames(np.arange(reader.num_frames))))
    assert latents.mean((0, 2, 3)).abs().max() < 0.1
    assert (latents.std((0, 2, 3)) - 1).abs().max() < 0.1
    assert fitter.trained_parameters() == 0
    assert all(torch.equal(tensor, before[name]) for name, tensor in weights(fitter.model).items())


@pytest.mark.parametrize("weighting", ["min_snr", "edm"])
def test_the_weighting_reaches_the_denoising_loss_alone(reader, weighting):
    plain, weighted = (fitting(reader, "dynamics", weighting=name).fit(1) for name in ("none", weighting))
    assert (plain.pop("denoising") == weighted.pop("denoising")) == (weighting == "edm")  # velocity: the same weight
    assert plain == weighted


@pytest.mark.parametrize("stage", ["dynamics", "head"])
def test_the_counting_game_comes_through_to_the_losses(tmp_path, stage):
    """From the buffer's files over windows and cached latents: action, context, target and outcome belong together."""
    reader = buffer_of(tmp_path, [counted(tag) for tag in range(6)], [counted(tag) for tag in range(40, 46)])
    alone = {"head_steps": 0} if stage == "dynamics" else {}
    losses = fitting(reader, stage, knowing(SIZE), unroll=3, dream=6, batch_size=64, **alone).fit(3)
    assert losses.pop("denoising", 0.0) < 1e-6
    assert losses == dict.fromkeys(("sequence", "before", "action", "reward", "termination"), 0.0)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_a_share_of_the_heads_steps_is_seen_from_beside(reader, share):
    """Real and dreamed ones: where a policy is good ends are few, and each has to stand for its surroundings."""
    fitter = fitting(reader, "head", tiny(shift=share), head_batch_size=400, head_dreams=200)
    fitter._cache._latents.fill_(torch.nan)
    dreamed, real = fitter._dream(), fitter.draw()[:200]
    for steps in (dreamed, real):
        beside = ~steps.latents[:, 0].isnan().flatten(1).any(1)
        assert beside.float().mean().item() == pytest.approx(share, abs=0.1)
