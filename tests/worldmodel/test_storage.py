import json
import shutil
from dataclasses import replace

import pytest
import torch
from damage import check_refusals
from disks import small_disk
from safetensors.torch import load_file, save_file
from tiny import CONFIG, dreamed, stir, tiny

from worldmodel.errors import UserError
from worldmodel.families import load_world_model
from worldmodel.latent import storage
from worldmodel.latent.config import SamplerConfig
from worldmodel.latent.model import LatentWorldModel

FILES = (
    "config.json",
    "vae/diffusion_pytorch_model.safetensors",
    "unet/config.json",
    "unet/diffusion_pytorch_model.safetensors",
    "conditioner.safetensors",
    "latents.safetensors",
    "head.safetensors",
    "adapter/adapter_config.json",
    "adapter/adapter_model.safetensors",
)


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """An adapted model's folder, not to be written to."""
    folder = tmp_path_factory.mktemp("stored")
    tiny(adapted=True).save_pretrained(folder)
    return folder


@pytest.fixture
def folder(stored, tmp_path):
    """A copy of it to spoil."""
    return shutil.copytree(stored, tmp_path / "model")


PATCHES = replace(CONFIG.autoencoder, channels=(16, 16), patch_size=2)


@pytest.mark.parametrize("changes", [{}, {"adapted": True}, {"autoencoder": PATCHES}])
def test_a_loaded_model_dreams_the_same_dream(tmp_path, changes):
    model = tiny(**changes)
    model.save_pretrained(tmp_path)
    loaded = LatentWorldModel.from_pretrained(tmp_path)
    assert loaded.adapted == model.adapted
    assert not loaded.training
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(dreamed(loaded), dreamed(model), strict=True))
    assert loaded.encoder_hash() == model.encoder_hash()
    assert (loaded.config, loaded.action_spec) == (model.config, model.action_spec)


def test_an_adapter_is_trained_on_where_it_was(stored):
    def trained(model):
        return {name for name, parameter in model.named_parameters() if parameter.requires_grad}

    loaded, model = LatentWorldModel.from_pretrained(stored), tiny(adapted=True)
    assert trained(loaded) == trained(model)


def test_saving_again_writes_the_same(stored, tmp_path):
    LatentWorldModel.from_pretrained(stored).save_pretrained(tmp_path)
    for name in ("config.json", *(name for name in FILES if name.endswith("safetensors"))):
        assert (tmp_path / name).read_bytes() == (stored / name).read_bytes(), name


def test_a_model_without_an_adapter_may_be_saved_over_one_with(folder):
    model = tiny(seed=3)
    model.save_pretrained(folder)
    loaded = LatentWorldModel.from_pretrained(folder)
    assert not loaded.adapted
    assert torch.equal(dreamed(loaded)[-5], dreamed(model)[-5])


def test_saving_changes_nothing(tmp_path):
    model = tiny(adapted=True)
    before = dreamed(model)
    model.save_pretrained(tmp_path)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(dreamed(model), before, strict=True))


def test_the_base_is_saved_apart_from_the_adapter(stored, tmp_path):
    tiny().save_pretrained(tmp_path)
    for name in ("unet/diffusion_pytorch_model.safetensors", "conditioner.safetensors"):
        assert (tmp_path / name).read_bytes() == (stored / name).read_bytes(), name


def test_by_its_folder_a_model_is_loaded_fused(stored):
    loaded = load_world_model(stored)
    assert isinstance(loaded, LatentWorldModel)
    assert not loaded.adapted
    assert not any(module.training for module in loaded.modules())
    torch.testing.assert_close(dreamed(loaded)[-5], dreamed(tiny(adapted=True))[-5], atol=1e-3, rtol=1e-3)


def test_the_settings_are_kept(tmp_path):
    config = replace(CONFIG, sampler=SamplerConfig("dpm", 3), residual=False, context_noise=0.1)
    tiny(sampler=config.sampler, residual=False, context_noise=0.1).save_pretrained(tmp_path)
    assert LatentWorldModel.from_pretrained(tmp_path).config == config


def test_an_adapter_of_another_base_is_refused_by_both_names(folder, tmp_path):
    other = tmp_path / "other"
    tiny(adapted=True, seed=7).save_pretrained(other)
    bases = [json.loads((place / "config.json").read_text())["base"] for place in (folder, other)]
    shutil.rmtree(folder / "adapter")
    shutil.copytree(other / "adapter", folder / "adapter")
    with pytest.raises(UserError, match=f"{bases[1]}.*{bases[0]}"):
        LatentWorldModel.from_pretrained(folder)


def test_a_base_that_was_exchanged_is_refused_by_both_names(folder, tmp_path):
    other = tmp_path / "other"
    tiny(seed=7).save_pretrained(other)
    bases = [json.loads((place / "config.json").read_text())["base"] for place in (folder, other)]
    weights = "unet/diffusion_pytorch_model.safetensors"
    shutil.copy(other / weights, folder / weights)
    shutil.copy(other / "conditioner.safetensors", folder / "conditioner.safetensors")
    with pytest.raises(UserError, match=f"{bases[0]}.*{bases[1]}"):
        LatentWorldModel.from_pretrained(folder)


@pytest.mark.parametrize("load", [LatentWorldModel.from_pretrained, load_world_model])
@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(folder, name, load):
    (folder / name).unlink()
    with pytest.raises(UserError, match=str(folder)):
        load(folder)


@pytest.mark.parametrize("name", FILES)
def test_a_truncated_file_is_refused(folder, name):
    whole = (folder / name).read_bytes()
    (folder / name).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=str(folder)):
        LatentWorldModel.from_pretrained(folder)


@pytest.mark.parametrize("name", ["unet", "vae", "adapter"])
def test_a_missing_folder_is_not_looked_for_elsewhere(folder, name, monkeypatch):
    shutil.rmtree(folder / name)
    monkeypatch.chdir(folder.parent)
    with pytest.raises(UserError, match="model"):
        LatentWorldModel.from_pretrained("model")


def test_pickles_are_never_read(folder):
    weights = load_file(folder / "vae" / "diffusion_pytorch_model.safetensors")
    (folder / "vae" / "diffusion_pytorch_model.safetensors").unlink()
    torch.save(weights, folder / "vae" / "diffusion_pytorch_model.bin")
    with pytest.raises(UserError):
        LatentWorldModel.from_pretrained(folder)


def test_saving_that_was_cut_off_leaves_no_mixture_of_two_models(folder, monkeypatch):
    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(storage, "_statistics", killed)
    with pytest.raises(KeyboardInterrupt):
        tiny(seed=7).save_pretrained(folder)
    with pytest.raises(UserError, match="holds no world model"):
        load_world_model(folder)


def test_missing_weights_are_refused(folder):
    for name in (name for name in FILES if name.startswith(("vae/d", "unet/d", "head", "conditioner"))):
        spoiled = shutil.copytree(folder, folder.parent / "spoiled", dirs_exist_ok=True)
        weights = load_file(spoiled / name)
        weights.popitem()
        save_file(weights, spoiled / name)
        with pytest.raises(UserError, match="spoiled"):
            LatentWorldModel.from_pretrained(spoiled)
        shutil.rmtree(spoiled)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 99}, "format 99"),
        ({"family": "dreamer"}, "dreamer"),
        ({"base": 3}, "base"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_another_format_is_refused(folder, change, message):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(UserError, match=message):
        load_world_model(folder)


@pytest.mark.parametrize("text", ["", "[]", "3", "{}", '"latent"', "null"])
def test_another_file_is_no_world_model(folder, text):
    (folder / "config.json").write_text(text)
    for load in (LatentWorldModel.from_pretrained, load_world_model):
        with pytest.raises(UserError):
            load(folder)


def test_a_folder_that_is_not_there_is_no_world_model(tmp_path):
    for load in (LatentWorldModel.from_pretrained, load_world_model):
        with pytest.raises(UserError, match="nowhere"):
            load(tmp_path / "nowhere")


def test_the_base_keeps_its_name_while_the_adapter_learns(stored, tmp_path):
    model = LatentWorldModel.from_pretrained(stored)
    model.fused_state()
    stir(model, 4, only="lora_A")
    model.save_pretrained(tmp_path)
    cards = [json.loads((place / "config.json").read_text()) for place in (stored, tmp_path)]
    assert cards[0]["base"] == cards[1]["base"]


@pytest.mark.parametrize("name", [*FILES, "scheduler/scheduler_config.json", "vae/config.json"])
def test_a_damaged_file_is_refused_in_a_sentence_or_harms_nothing(folder, name):
    check_refusals(folder, name)


def test_a_full_disk_is_told_by_the_folder(tmp_path):
    with small_disk(tmp_path / "disk", 1024) as disk, pytest.raises(UserError, match=f"{disk / 'm'}.* disk is full"):
        tiny(adapted=True).save_pretrained(disk / "m")
