import json
import shutil

import pytest
import torch
from based import based, config_of, dreamed, same, windows
from bases import write_base
from diffusers import UNet2DConditionModel
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tiny import SPEC, stir, tiny
from tiny import dreamed as dreamed_small

from worldmodel.errors import UserError
from worldmodel.families import load_world_model
from worldmodel.latent.config import BaseConfig
from worldmodel.latent.model import LatentWorldModel

load = LatentWorldModel.from_pretrained


@pytest.fixture
def base(base_folders, tmp_path):
    """A base that may be moved and spoiled."""
    return shutil.copytree(base_folders["sd2", "kl", "v_prediction"], tmp_path / "base")


@pytest.fixture
def saved(base, tmp_path):
    """An adapted model's folder on that base."""
    based(base, adapted=True).save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def files(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


@torch.no_grad()
def shake_decoder(model):
    model.autoencoder.vae.decoder.conv_out.weight.add_(0.1)


@pytest.mark.parametrize("adapted", [False, True])
@pytest.mark.parametrize("read", [load, load_world_model])
def test_a_loaded_model_dreams_the_same_dream(base_folder, tmp_path, adapted, read):
    model = based(base_folder, adapted=adapted)
    model.save_pretrained(tmp_path)
    loaded, expected = read(tmp_path), dreamed(model)
    if read is load:
        assert same(dreamed(loaded), expected)
        assert loaded.adapted == adapted
    torch.testing.assert_close(dreamed(loaded)[0], expected[0], atol=1e-3, rtol=1e-3)
    assert loaded.encoder_hash() == model.encoder_hash()
    assert not any(module.training for module in loaded.modules())


def test_a_bases_networks_are_not_copied(saved):
    model = based(json.loads((saved / "config.json").read_text())["config"]["base"]["name"], adapted=True)
    assert files(saved) == {
        "adapter/README.md",
        "adapter/adapter_config.json",
        "adapter/adapter_model.safetensors",
        "conditioner.safetensors",
        "config.json",
        "familiarity.safetensors",
        "head.safetensors",
        "latents.safetensors",
        "scheduler/scheduler_config.json",
    }
    with safe_open(saved / "conditioner.safetensors", "pt") as kept:
        assert not any("block" in name or "conv" in name for name in kept.keys())  # noqa: SIM118
    card = json.loads((saved / "config.json").read_text())
    assert card["own"] == []
    assert card["marks"] == {"unet": model.origin.marks.unet, "vae": model.origin.marks.vae}
    assert card["base"] == card["marks"]["unet"]


def test_the_saved_keys_are_the_trained_keys(saved, base):
    model = based(base, adapted=True)
    with safe_open(saved / "adapter" / "adapter_model.safetensors", "pt") as file:
        found = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    trained = {
        name.replace("modules_to_save.default.", "").replace(".default", ""): parameter
        for name, parameter in model.denoiser.named_parameters()
        if parameter.requires_grad
    }
    assert set(found) == set(trained)
    assert all(torch.equal(found[name], trained[name]) for name in found)


@pytest.mark.parametrize("adapted", [False, True])
def test_what_is_read_lies_as_what_was_made(base, tmp_path, adapted):
    """Mapped from a file, weights may begin anywhere, and some CPUs then sum in another order."""
    model = based(base, adapted)
    model.save_pretrained(tmp_path / "model")
    for read in (model, load(tmp_path / "model")):
        assert all(weight.data_ptr() % 64 == 0 for weight in read.state_dict().values())


def test_a_model_trained_in_full_keeps_its_whole_u_net(base, tmp_path):
    model = based(base)
    stir(model.denoiser, 1)
    model.save_pretrained(tmp_path / "model")
    assert {"unet/config.json", "unet/diffusion_pytorch_model.safetensors"} <= files(tmp_path / "model")
    assert not (tmp_path / "model" / "vae").exists()
    loaded = load(tmp_path / "model")
    assert same(dreamed(loaded), dreamed(model))
    # And an adapter on top of it, in a later round.
    for one in (model, loaded):
        torch.manual_seed(0)
        one.adapt()
        stir(one, 2, only="lora_B")
    model.eval().save_pretrained(tmp_path / "further")
    assert same(dreamed(load(tmp_path / "further")), dreamed(loaded.eval()))


def test_a_fitted_decoder_is_kept_with_its_autoencoder(base, tmp_path):
    model = based(base, adapted=True)
    shake_decoder(model)
    model.save_pretrained(tmp_path / "model")
    assert {"vae/config.json", "vae/diffusion_pytorch_model.safetensors"} <= files(tmp_path / "model")
    assert not (tmp_path / "model" / "unet").exists()
    loaded = load(tmp_path / "model")
    assert same(dreamed(loaded), dreamed(model))
    assert not same(dreamed(loaded), dreamed(based(base, adapted=True)))
    # Fitted or not, what it encodes is the same.
    assert loaded.encoder_hash() == based(base).encoder_hash()


def test_saving_again_writes_the_same(saved, tmp_path):
    load(saved).save_pretrained(tmp_path / "again")
    assert files(tmp_path / "again") == files(saved)
    for name in files(saved) - {"adapter/README.md"}:
        assert (tmp_path / "again" / name).read_bytes() == (saved / name).read_bytes(), name


def test_a_round_of_training_later_it_is_still_the_same_base(saved, tmp_path):
    model = load(saved).train()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], 1e-3)
    sum(model.losses(windows(model)).values()).backward()
    optimizer.step()
    model.eval().save_pretrained(tmp_path / "later")
    assert not (tmp_path / "later" / "unet").exists()
    assert same(dreamed(load(tmp_path / "later")), dreamed(model))
    assert not same(dreamed(model), dreamed(load(saved)))


def test_another_base_in_its_place_is_refused_by_both_names(saved, base):
    shutil.rmtree(base)
    write_base(base, seed=1)
    there = based(base).origin.marks.unet
    belongs = json.loads((saved / "config.json").read_text())["marks"]["unet"]
    for read in (load, load_world_model):
        with pytest.raises(UserError, match=f"{base} with the unet {belongs}.*{there}"):
            read(saved)


def test_another_autoencoder_in_its_place_is_refused(saved, base, base_folders):
    shutil.rmtree(base / "vae")
    shutil.copytree(base_folders["sd2", "tiny", "epsilon"] / "vae", base / "vae")
    with pytest.raises(UserError, match="with the vae"):
        load(saved)


def test_a_base_that_is_gone_is_named_and_may_lie_elsewhere(saved, base):
    expected = dreamed(load(saved))
    moved = base.rename(base.parent / "moved")
    with pytest.raises(UserError, match=f"The base of {saved} cannot be had.*no folder {base}"):
        load(saved)
    assert same(dreamed(load(saved, base=str(moved))), expected)


def test_an_adapter_of_another_base_is_refused_by_both_names(saved, tmp_path):
    other = write_base(tmp_path / "other", seed=1)
    based(other, adapted=True).save_pretrained(tmp_path / "stranger")
    names = [json.loads((f / "config.json").read_text())["base"] for f in (saved, tmp_path / "stranger")]
    shutil.rmtree(saved / "adapter")
    shutil.copytree(tmp_path / "stranger" / "adapter", saved / "adapter")
    with pytest.raises(UserError, match=f"{names[1]}.*{names[0]}"):
        load(saved)


@pytest.mark.parametrize(
    ("name", "weight"),
    [
        ("conditioner.safetensors", "conditioner.position"),
        ("head.safetensors", "members.0.out.bias"),
        ("latents.safetensors", "mean"),
        ("adapter/adapter_model.safetensors", "lora_A.weight"),
        ("adapter/adapter_model.safetensors", "conv_in.weight"),
    ],
)
def test_a_file_that_lacks_a_weight_is_refused(saved, name, weight):
    weights = load_file(saved / name)
    del weights[next(key for key in weights if key.endswith(weight))]
    save_file(weights, saved / name)
    with pytest.raises(UserError, match="model is damaged"):
        load(saved)


# Arguments that diffusers' users know.


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_it_may_be_loaded_in_half_precision(saved, dtype):
    model, whole = load(saved, torch_dtype=dtype), load(saved)
    halved = [*model.denoiser.parameters(), *model.autoencoder.parameters()]
    assert {p.dtype for p in halved} == {dtype}
    assert {p.dtype for p in model.head.parameters()} == {torch.float32}
    torch.testing.assert_close(dreamed(model)[0], dreamed(whole)[0], atol=0.3, rtol=0)
    fused = model.fuse()
    assert {p.dtype for p in fused.denoiser.parameters()} == {dtype}
    torch.testing.assert_close(dreamed(fused)[0], dreamed(whole)[0], atol=0.3, rtol=0)
    state = whole.fused_state()
    assert {t.dtype for t in state.values() if t.is_floating_point()} == {torch.float32}
    fused.load_state_dict(state)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_loaded_in_half_precision_it_is_still_on_its_base(saved, tmp_path, dtype):
    load(saved, torch_dtype=dtype).save_pretrained(tmp_path / "half")
    assert json.loads((tmp_path / "half" / "config.json").read_text())["own"] == []
    assert dreamed(load(tmp_path / "half"))[0].isfinite().all()


def test_a_base_kept_in_bfloat16_loses_nothing_of_what_was_trained(base, tmp_path):
    model = based(base, adapted=True, base=BaseConfig(str(base), dtype="bfloat16"))
    model.save_pretrained(tmp_path / "model")
    loaded = load(tmp_path / "model")
    assert {p.requires_grad: p.dtype for p in loaded.denoiser.parameters()} == {
        True: torch.float32,
        False: torch.bfloat16,
    }
    assert same(dreamed(loaded), dreamed(model))
    trained = {name: p for name, p in loaded.denoiser.named_parameters() if p.requires_grad}
    assert all(torch.equal(p, trained[name]) for name, p in model.denoiser.named_parameters() if p.requires_grad)


def test_a_variant_of_the_base_may_take_its_place(base, tmp_path):
    based(base, adapted=True).save_pretrained(tmp_path / "model")
    half = write_base(tmp_path / "half", variant="fp16")
    model = load(tmp_path / "model", base=str(half), variant="fp16")
    assert model.config.base == BaseConfig(str(half), variant="fp16")
    torch.testing.assert_close(dreamed(model)[0], dreamed(load(tmp_path / "model"))[0], atol=0.1, rtol=0)
    with pytest.raises(UserError, match="cannot be had"):
        load(tmp_path / "model", variant="fp16")


def test_a_whole_model_is_saved_as_a_variant_too(tmp_path):
    tiny().save_pretrained(tmp_path, variant="fp16")
    assert {"unet/diffusion_pytorch_model.fp16.safetensors", "vae/diffusion_pytorch_model.fp16.safetensors"} <= files(
        tmp_path
    )
    assert torch.equal(dreamed_small(load(tmp_path, variant="fp16"))[1], dreamed_small(tiny())[1])
    with pytest.raises(UserError):
        load(tmp_path)


# Adapters, and peft without us.


def plain_denoiser(base):
    return based(base).denoiser


def test_peft_alone_wears_our_adapter(saved, base):
    model = load(saved)
    alone = PeftModel.from_pretrained(load_additions(saved, base), str(saved / "adapter")).eval()
    torch.manual_seed(0)
    told = (
        torch.randn(2, *model.latent_shape), torch.tensor([3, 900]), torch.randn(2, 4, *model.latent_shape),
        torch.zeros(2, 4, dtype=torch.long), torch.zeros(2, dtype=torch.long),
    )  # fmt: skip
    assert torch.equal(alone(*told), model.denoiser(*told))


def load_additions(saved, base):
    """The same denoiser as under the adapter."""
    denoiser = LatentWorldModel(config_of(base), SPEC).denoiser
    denoiser.load_state_dict(load_file(saved / "conditioner.safetensors"), strict=False)
    return denoiser


def test_a_lora_that_peft_saved_is_worn(base, tmp_path):
    theirs = get_peft_model(plain_denoiser(base), LoraConfig(r=3, target_modules=["to_q", "to_v"]))
    stir(theirs, 0, only="lora_B")
    theirs.save_pretrained(str(tmp_path / "lora"), save_embedding_layers=False)
    model = based(base)
    model.load_adapter(tmp_path / "lora")
    assert model.adapted
    for (name, ours), other in zip(model.denoiser.named_parameters(), theirs.parameters(), strict=True):
        assert torch.equal(ours, other), name
    assert not same(dreamed(model), dreamed(based(base)))
    model.save_pretrained(tmp_path / "model")
    assert same(dreamed(load(tmp_path / "model")), dreamed(model))


def test_an_adapter_that_cannot_be_worn_is_refused(saved, base, tmp_path):
    with pytest.raises(UserError, match="another one there"):
        load(saved).load_adapter(saved / "adapter")
    with pytest.raises(UserError, match="no adapter for this denoiser"):
        based(base).load_adapter(tmp_path)
    stranger = get_peft_model(torch.nn.Sequential(torch.nn.Linear(2, 2)), LoraConfig(target_modules=["0"]))
    stranger.save_pretrained(str(tmp_path / "stranger"))
    with pytest.raises(UserError, match="no adapter for this denoiser"):
        based(base).load_adapter(tmp_path / "stranger")


def test_diffusers_alone_reads_a_u_net_that_was_trained_in_full(base, tmp_path):
    model = based(base)
    stir(model.denoiser, 1)
    model.save_pretrained(tmp_path)
    unet = UNet2DConditionModel.from_pretrained(tmp_path, subfolder="unet", low_cpu_mem_usage=False)
    ours, theirs = model.denoiser.unet.state_dict(), unet.state_dict()
    assert set(ours) == set(theirs)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
