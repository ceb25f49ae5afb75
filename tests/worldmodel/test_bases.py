import json
import shutil

import pytest
import torch
from based import SIZE, based, begun, config_of, dreamed, noise_frames, same, windows
from bases import write_base
from diffusers import AutoencoderKL, AutoencoderTiny, FlowMatchEulerDiscreteScheduler, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from tiny import SPEC

from worldmodel.errors import UserError
from worldmodel.latent.autoencoder import to_unit
from worldmodel.latent.bases import check_base, make_base
from worldmodel.latent.config import BaseConfig
from worldmodel.latent.model import LatentWorldModel

CONTEXTS = (4, 16, 64)


@pytest.fixture
def copy(base_folders, tmp_path):
    """A base to spoil."""
    return shutil.copytree(base_folders["sd2", "tiny", "epsilon"], tmp_path / "base")


def plain_unet(folder):
    return UNet2DConditionModel.from_pretrained(folder, subfolder="unet", low_cpu_mem_usage=False).eval()


def change(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


# What is taken from a base.


@torch.no_grad()
@pytest.mark.parametrize("adapted", [False, True])
def test_at_first_it_predicts_what_the_base_does(base_folder, adapted):
    model = based(base_folder)
    if adapted:
        model.adapt()
    torch.manual_seed(0)
    noisy, timesteps = torch.randn(3, *model.latent_shape), torch.tensor([1, 500, 999])
    tokens = torch.zeros(3, model.context + 1, plain_unet(base_folder).config.cross_attention_dim)
    expected = plain_unet(base_folder)(noisy, timesteps, tokens).sample
    assert expected.std() > 1e-3
    for seen in (torch.zeros(3, 4, *model.latent_shape), torch.randn(3, 4, *model.latent_shape) * 9):
        actions, level = torch.randint(3, (3, 4)), torch.randint(10, (3,))
        found = model.eval().denoiser(noisy, timesteps, seen, actions, level)
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_everything_that_it_is_told_matters_once_it_has_learned(base_folder):
    model = based(base_folder, adapted=True)
    dream = begun(model)
    noisy, t = torch.randn(2, *model.latent_shape), torch.tensor([500, 500])
    told = dream.latents, torch.tensor([[0, 1, 2, 0]] * 2), torch.zeros(2, dtype=torch.long)
    before = model.denoiser(noisy, t, *told)
    others = (
        (told[0].flip(1), *told[1:]),
        (told[0], torch.tensor([[0, 1, 2, 1]] * 2), told[2]),
        (told[0], torch.tensor([[1, 0, 2, 0]] * 2), told[2]),
        (*told[:2], torch.full((2,), 9)),
    )
    for other in others:
        assert (model.denoiser(noisy, t, *other) - before).abs().amax((1, 2, 3)).min() > 1e-5


@torch.no_grad()
def test_latents_are_the_posteriors_mean_in_the_bases_own_scale(base_folders):
    kl, tiny = base_folders["sd1", "kl", "epsilon"], base_folders["sd2", "tiny", "epsilon"]
    frames = noise_frames(3)
    vae = AutoencoderKL.from_pretrained(kl, subfolder="vae", low_cpu_mem_usage=False)
    raw = based(kl).autoencoder.raw(frames)
    torch.testing.assert_close(raw, vae.encode(to_unit(frames)).latent_dist.mean * 0.18215)
    small = AutoencoderTiny.from_pretrained(tiny, subfolder="vae", low_cpu_mem_usage=False)
    torch.testing.assert_close(based(tiny).autoencoder.raw(frames), small.encode(to_unit(frames)).latents)


@torch.no_grad()
def test_factor_and_shift_are_undone_when_decoding(tmp_path):
    folder = write_base(tmp_path)
    vae = AutoencoderKL.from_pretrained(folder, subfolder="vae", low_cpu_mem_usage=False)
    vae.register_to_config(scaling_factor=0.5, shift_factor=0.25)
    vae.save_pretrained(folder / "vae")
    autoencoder, frames = based(folder).autoencoder, noise_frames(2)
    mean = vae.encode(to_unit(frames)).latent_dist.mean
    torch.testing.assert_close(autoencoder.raw(frames), (mean - 0.25) * 0.5)
    decoded = ((vae.decode(mean).sample + 1) * 127.5).round().clamp(0, 255).permute(0, 2, 3, 1)
    assert (autoencoder.decode(autoencoder.encode(frames)) - decoded).abs().max() <= 1


def test_pictures_come_in_batches_that_fit_into_memory(base_folder, monkeypatch):
    autoencoder, frames = based(base_folder).autoencoder, noise_frames(5)
    whole = autoencoder.encode(frames), autoencoder.decode(autoencoder.encode(frames)).detach()
    monkeypatch.setattr("worldmodel.latent.autoencoder._BATCH", {"cpu": 2 * SIZE * SIZE * 8})
    assert len(frames.split(autoencoder._batch(SIZE * SIZE, torch.device("cpu")))) > 1
    torch.testing.assert_close(autoencoder.encode(frames), whole[0], atol=1e-4, rtol=1e-4)
    assert (autoencoder.decode(whole[0]).int() - whole[1].int()).abs().max() <= 1


def test_the_schedule_and_the_prediction_are_the_bases(base_folders):
    for (_, _, prediction), folder in base_folders.items():
        sampler = based(folder).sampler
        assert sampler.prediction_type == prediction
        # No zero terminal SNR: a rest of the signal is left.
        assert sampler.alphas_cumprod[-1].item() == pytest.approx(0.0047, abs=2e-4)


@torch.no_grad()
def test_a_perfect_prediction_of_either_kind_draws_the_truth(base_folder):
    """The base is given in its own scale what it is to draw, and the dream comes back in the world model's."""
    model = based(base_folder)
    dream = begun(model)
    truth = torch.randn(2, *model.latent_shape)
    clean = model.autoencoder.unstandard(truth)

    def predict(noisy, timesteps, context, actions, level):
        torch.testing.assert_close(context[:, -1], model.autoencoder.unstandard(dream.latents[:, -1]))
        torch.testing.assert_close(context[:, :-1], dream.latents.diff(dim=1) / model.autoencoder.change)
        alpha = model.sampler.alphas_cumprod[timesteps].view(-1, 1, 1, 1)
        noise = (noisy - alpha.sqrt() * clean) / (1 - alpha).sqrt()
        if model.sampler.prediction_type == "epsilon":
            return noise
        return alpha.sqrt() * noise - (1 - alpha).sqrt() * clean

    model.denoiser.forward = predict
    drawn = model.imagine(dream.latents, torch.zeros(2, 4, dtype=torch.long), torch.Generator().manual_seed(0))
    torch.testing.assert_close(drawn, truth, atol=1e-3, rtol=1e-3)


@torch.no_grad()
@pytest.mark.parametrize("residual", [False, True])
def test_sampling_begins_where_training_did(base_folder, residual):
    """At the last timestep the denoiser learned to see a rest of the picture, or of its change, under the noise."""
    model, asked = based(base_folder, residual=residual), []
    model.denoiser.forward = lambda noisy, *_: asked.append(noisy) or torch.zeros_like(noisy)
    dream = begun(model)
    model.imagine(dream.latents, torch.zeros(2, 4, dtype=torch.long), torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(0)
    torch.randn(dream.latents.shape, generator=generator)  # the context's noise
    start = torch.randn(dream.latents[:, -1].shape, generator=generator)
    newest = model.autoencoder.unstandard(dream.latents[:, -1])
    timesteps = torch.full((2,), 999)
    expected, _ = model.sampler.add_noise(torch.zeros_like(newest) if residual else newest, start, timesteps)
    torch.testing.assert_close(asked[0], expected)


# What is done with it.


@pytest.mark.parametrize("residual", [False, True])
def test_a_step_of_training_reaches_all_that_an_adapter_trains(base_folder, residual):
    # Attention to a single cell has no gradient, so that the innermost picture must have more of them.
    model = based(base_folder, adapted=True, residual=residual, frame_size=128).train()
    sum(model.losses(windows(model)).values()).backward()
    reached = {name for name, p in model.denoiser.named_parameters() if p.grad is not None and p.grad.any()}
    trained = {name for name, p in model.denoiser.named_parameters() if p.requires_grad}
    assert reached == trained


@pytest.mark.parametrize("context", CONTEXTS)
def test_short_and_long_contexts_are_trained_on_and_dreamed_from(base_folders, context):
    model = based(base_folders["sd2", "tiny", "epsilon"], adapted=True, context=context, shift=0.0).train()
    unet = model.denoiser.get_base_model().unet
    assert unet.config.in_channels == 4 * (context + 1)
    losses = model.losses(windows(model, batch=2, horizon=1))
    losses["denoising"].backward()
    (position,) = (p for name, p in model.named_parameters() if name.endswith("default.position"))
    assert position.shape == (context, 64)
    assert position.grad.abs().sum(1).min() > 0
    dream = begun(model.eval())
    assert dream.latents.shape == (2, context, *model.latent_shape)
    after, _ = model.step(dream, torch.zeros(2, dtype=torch.long), torch.Generator().manual_seed(0))
    assert torch.equal(after.latents[:, :-1], dream.latents[:, 1:])
    assert after.latents.isfinite().all()


def test_the_conditioner_does_not_grow_with_the_bases_width(base_folders):
    """64 frames of SD 2.x tokens side by side would make a class embedding of 85 million weights."""
    model = based(base_folders["sd2", "tiny", "epsilon"], context=64)
    assert model.denoiser.unet.class_embedding.linear_1.in_features == 65 * 64


@pytest.mark.parametrize("size", [(16, 16), (24, 40), (64, 32)])
def test_frames_may_have_any_size_that_the_autoencoder_divides(base_folders, size):
    model = based(base_folders["sd1", "kl", "epsilon"], adapted=True, frame_size=size)
    cells = size[0] // 8, size[1] // 8
    assert model.latent_shape == (4, *cells)
    assert dreamed(model)[-1].shape == (2, *size, 3)
    assert model.observation_shape("latents") == (*cells, 4)
    losses = model.train().losses(windows(model))
    sum(losses.values()).backward()
    assert all(loss.isfinite() for loss in losses.values())


@pytest.mark.parametrize("variant", [None, "fp16"])
def test_a_base_kept_in_bfloat16_trains_in_float32(tmp_path, variant):
    folder = write_base(tmp_path, variant=variant)
    base = BaseConfig(str(folder), variant=variant, dtype="bfloat16")
    model = based(folder, adapted=True, base=base)
    kinds = {p.requires_grad: p.dtype for p in model.denoiser.parameters()}
    assert kinds == {True: torch.float32, False: torch.bfloat16}
    assert {p.dtype for p in model.head.parameters()} == {torch.float32}
    losses = model.train().losses(windows(model))
    sum(losses.values()).backward()
    assert all(loss.isfinite() for loss in losses.values())
    whole = based(folder, adapted=True, base=BaseConfig(str(folder), variant=variant))
    torch.testing.assert_close(dreamed(model.eval())[0], dreamed(whole)[0], atol=0.3, rtol=0)


# What is no base.


def refused(folder, message):
    """Both the early look at the settings and the loading refuse it, in the same words."""
    config = config_of(folder)
    for check in (lambda: check_base(config), lambda: make_base(config)):
        with pytest.raises(UserError, match=message):
            check()


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    for name in (tmp_path / "nowhere", "./nowhere", "no/such/folder", "nowhere"):
        refused(name, "no folder")


@pytest.mark.parametrize("part", ["unet", "vae", "scheduler"])
def test_a_missing_part_is_named(copy, part):
    shutil.rmtree(copy / part)
    # Settings beside the parts are not those of a part.
    shutil.copy(copy / "model_index.json", copy / "config.json")
    refused(copy, f"no {part}/")


def test_what_a_pipeline_has_besides_is_not_looked_at(copy):
    (copy / "text_encoder").mkdir()
    (copy / "text_encoder" / "pytorch_model.bin").write_bytes(b"no weights")
    (copy / "model_index.json").unlink()
    assert make_base(config_of(copy)).marks


@pytest.mark.parametrize(
    ("part", "changes", "message"),
    [
        ("unet", {"_class_name": "SD3Transformer2DModel"}, "SD3Transformer2DModel, not UNet2DConditionModel"),
        ("unet", {"addition_embed_type": "text_time"}, "addition_embed_type is 'text_time'"),
        ("unet", {"num_class_embeds": 1000}, "num_class_embeds is 1000"),
        ("unet", {"in_channels": 9}, "takes 9 channels and gives 4"),
        ("vae", {"latent_channels": 16}, "latents have 16"),
        ("vae", {"_class_name": "VQModel"}, "VQModel"),
        ("vae", {"in_channels": 4}, "takes 4 channels: a base needs one for colours"),
    ],
)
def test_a_base_of_another_kind_is_refused_with_the_reason(copy, part, changes, message):
    change(copy / part / "config.json", **changes)
    refused(copy, message)


def test_a_schedule_of_another_kind_is_refused(copy):
    change(copy / "scheduler" / "scheduler_config.json", prediction_type="sample")
    refused(copy, "prediction type sample")
    FlowMatchEulerDiscreteScheduler().save_pretrained(copy / "scheduler")
    refused(copy, "FlowMatchEulerDiscreteScheduler has no schedule of betas")


@pytest.mark.parametrize("part", ["unet", "vae"])
def test_pickles_are_refused_with_the_remedy(copy, part):
    (copy / part / "diffusion_pytorch_model.safetensors").unlink()
    torch.save({}, copy / part / "diffusion_pytorch_model.bin")
    with pytest.raises(UserError, match=f"{part}.*pickle.*save_pretrained"):
        make_base(config_of(copy))


@pytest.mark.parametrize("part", ["unet", "vae"])
def test_damaged_or_missing_weights_are_refused(copy, part):
    path = copy / part / "diffusion_pytorch_model.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=f"The {part} of .* cannot be read"):
        make_base(config_of(copy))
    path.unlink()
    with pytest.raises(UserError, match=f"The {part} of .* cannot be read"):
        make_base(config_of(copy))


def test_settings_that_are_no_json_are_refused(copy):
    (copy / "unet" / "config.json").write_text("{")
    refused(copy, "The unet of .* cannot be read")


def test_weights_that_do_not_fit_their_settings_are_refused(copy):
    change(copy / "unet" / "config.json", layers_per_block=2)
    with pytest.raises(UserError, match=r"The unet of .* cannot be read .*size mismatch"):
        make_base(config_of(copy))


def test_weights_that_lack_some_are_refused(copy):
    path = copy / "vae" / "diffusion_pytorch_model.safetensors"
    weights = load_file(path)
    weights.popitem()
    save_file(weights, path)
    with pytest.raises(UserError, match=r"The vae of .* lacks 1 weights"):
        make_base(config_of(copy))


def test_a_variant_that_is_not_there_is_refused(copy):
    with pytest.raises(UserError, match="cannot be read"):
        make_base(config_of(copy, base=BaseConfig(str(copy), variant="fp16")))


def test_a_hub_id_is_looked_for_in_the_cache_alone_if_so_told(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UserError, match="nobody/nothing cannot be read"):
        make_base(config_of("nobody/nothing"), local_files_only=True)


def test_frames_that_the_autoencoder_does_not_divide_are_refused(base_folders):
    for case in (("sd2", "tiny", "epsilon"), ("sd1", "kl", "epsilon")):
        config = config_of(base_folders[case], frame_size=(24, 20))
        for refuse in (check_base, lambda config: LatentWorldModel(config, SPEC)):
            with pytest.raises(UserError, match=r"24 x 20 pixels.*multiples of 8"):
                refuse(config)


def test_the_same_weights_are_the_same_base_in_half_precision_too(tmp_path):
    bases = [write_base(tmp_path / "whole"), write_base(tmp_path / "half", variant="fp16")]
    marks = [
        make_base(config_of(folder, base=BaseConfig(str(folder), variant=variant))).marks
        for folder, variant in zip(bases, (None, "fp16"), strict=True)
    ]
    assert marks[0] == marks[1] != make_base(config_of(write_base(tmp_path / "other", seed=1))).marks


def test_a_dream_on_a_base_repeats(base_folder):
    assert same(dreamed(based(base_folder, adapted=True)), dreamed(based(base_folder, adapted=True)))
