import re

import pytest
import torch
from peft.tuners.lora import LoraLayer
from safetensors import safe_open
from tiny import begun, dreamed, stir, tiny

from worldmodel.errors import UserError
from worldmodel.latent.adapter import base_weights, is_attached
from worldmodel.latent.config import AdapterConfig

IN_FULL = AdapterConfig().modules_to_save


def trained(model):
    return {name for name, parameter in model.denoiser.named_parameters() if parameter.requires_grad}


def assert_same_dream(one, other, **tolerance):
    for ours, theirs in zip(one, other, strict=True):
        torch.testing.assert_close(ours, theirs, **(tolerance or {"atol": 0, "rtol": 0}))


def test_a_new_adapter_changes_nothing():
    model = tiny()
    before = dreamed(model)
    model.adapt()
    assert model.adapted
    assert_same_dream(dreamed(model.eval()), before)


def test_adapting_twice_keeps_the_adapter():
    model = tiny(adapted=True)
    before = dreamed(model)
    model.adapt()
    assert_same_dream(dreamed(model), before)


def test_with_the_adapter_off_it_dreams_as_its_base():
    base, model = dreamed(tiny()), tiny(adapted=True)
    adapted = dreamed(model)
    with model.adapter_off():
        assert_same_dream(dreamed(model), base)
    assert_same_dream(dreamed(model), adapted)
    assert not torch.allclose(adapted[-5], base[-5], atol=1e-2)


def test_the_adapter_comes_on_again_after_an_error():
    model = tiny(adapted=True)
    adapted = dreamed(model)
    with pytest.raises(ZeroDivisionError), model.adapter_off():
        raise ZeroDivisionError
    assert_same_dream(dreamed(model), adapted)


def test_without_an_adapter_there_is_nothing_to_turn_off():
    model = tiny()
    with model.adapter_off():
        assert_same_dream(dreamed(model), dreamed(tiny()))


def test_only_the_adapter_and_what_goes_with_it_is_trained():
    model = tiny(adapted=True)
    names = trained(model)
    assert all("lora_" in name or "modules_to_save.default" in name for name in names)
    for part in IN_FULL:
        assert any(part in name and "modules_to_save" in name for name in names), part
    for layer in ("to_q", "to_k", "to_v", "to_out.0", "conv1", "conv2"):
        assert any(f".{layer}.lora_A" in name for name in names), layer
    assert sum(parameter.numel() for parameter in model.denoiser.parameters() if not parameter.requires_grad) > 0


def test_what_is_adapted_and_what_is_trained_in_full_can_be_chosen():
    chosen = AdapterConfig(rank=2, targets=("to_q", "conv_in"), modules_to_save=("conv_norm_out", "action"))
    names = trained(tiny(adapted=True, adapter=chosen))
    assert all("lora_" in name or "modules_to_save" in name for name in names)
    adapted = {name.partition(".lora_")[0].rpartition(".")[2] for name in names if "lora_" in name}
    whole = {name.partition(".modules_to_save")[0].rpartition(".")[2] for name in names if "modules_to_save" in name}
    assert adapted == {"to_q", "conv_in"}
    assert whole == {"conv_norm_out", "action"}


def test_nothing_has_to_be_trained_in_full():
    assert all("lora_" in name for name in trained(tiny(adapted=True, adapter=AdapterConfig(modules_to_save=()))))


@pytest.mark.parametrize("alpha", [4, 8])
def test_rslora_scales_by_the_root_of_the_rank(alpha):
    plain, stabilised = (
        tiny(adapted=True, adapter=AdapterConfig(rank=4, alpha=alpha, rslora=rslora)) for rslora in (False, True)
    )
    scales = [
        next(module.scaling["default"] for module in model.denoiser.modules() if isinstance(module, LoraLayer))
        for model in (plain, stabilised)
    ]
    assert scales == [alpha / 4, alpha / 2]
    adapted, fused = dreamed(stabilised), dreamed(stabilised.fuse())
    assert_same_dream(fused[-5:-4], adapted[-5:-4], atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"targets": ("to_q", "to_vv")}, "targets: no layer ends with 'to_vv'; did you mean 'to_v'?"),
        ({"targets": ("attn1",)}, "targets: no layer ends with 'attn1'; "),
        ({"targets": ("to_out",)}, "targets: no layer ends with 'to_out'; did you mean 'to_out.0'?"),
        ({"modules_to_save": ("norms",)}, "modules_to_save: no part ends with 'norms'; did you mean 'norm"),
        ({"targets": ("to_q", "conv_in")}, "targets: unet.conv_in is in modules_to_save already; leave 'conv_in' out"),
        ({"targets": ("linear_1",)}, "linear_1 is in modules_to_save already; leave 'linear_1' out of one."),
    ],
)
def test_names_that_there_are_not_are_refused_when_the_model_is_made(wrong, told):
    with pytest.raises(UserError, match=re.escape(told)):
        tiny(adapter=AdapterConfig(**wrong))


def test_the_saved_keys_are_the_trained_keys(tmp_path):
    model = tiny(adapted=True)
    model.save_pretrained(tmp_path)
    with safe_open(tmp_path / "adapter" / "adapter_model.safetensors", "pt") as file:
        saved = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    expected = {
        name.replace("modules_to_save.default.", "").replace(".default", ""): parameter
        for name, parameter in model.denoiser.named_parameters()
        if parameter.requires_grad
    }
    assert set(saved) == set(expected)
    assert all(torch.equal(saved[name], expected[name]) for name in saved)


def test_fused_it_dreams_the_same():
    model = tiny(adapted=True)
    adapted = dreamed(model)
    fused = model.fuse()
    assert not is_attached(fused.denoiser)
    assert not fused.adapted
    assert not fused.training
    assert not any(module.training for module in fused.modules())
    assert_same_dream(dreamed(fused)[0:2], adapted[0:2], atol=1e-4, rtol=1e-4)
    assert_same_dream(dreamed(fused)[-5:-4], adapted[-5:-4], atol=1e-3, rtol=1e-3)


def test_the_fused_state_fits_a_model_without_an_adapter():
    model, plain = tiny(adapted=True), tiny(seed=5)
    plain.load_state_dict(model.fused_state())
    assert_same_dream(dreamed(plain)[-5:-4], dreamed(model)[-5:-4], atol=1e-3, rtol=1e-3)
    assert plain.encoder_hash() == model.encoder_hash()


def test_fusing_a_copy_leaves_the_base_and_the_adapter_untouched():
    model = tiny(adapted=True)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for _ in range(3):
        model.fused_state()
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_the_weights_under_the_adapter_are_the_bases():
    base, model = tiny(), tiny(adapted=True)
    weights = base_weights(model.denoiser)
    assert set(weights) == set(base.denoiser.state_dict())
    assert all(torch.equal(weights[name], tensor) for name, tensor in base.denoiser.state_dict().items())


def test_fusing_without_an_adapter_changes_nothing():
    model = tiny()
    denoiser = model.denoiser
    assert model.fuse().denoiser is denoiser
    assert_same_dream(dreamed(model), dreamed(tiny()))


def test_the_parts_trained_in_full_are_used():
    """A module saved beside the adapter must be the one that the forward pass goes through."""
    model = tiny(adapted=True)
    told = begun(model)
    history = torch.zeros(len(told), model.context, dtype=torch.long)

    def dream():
        return model.imagine(told.latents, history, torch.Generator().manual_seed(0))

    for part in IN_FULL:
        before = dream()
        names = [name for name in trained(model) if part in name and "modules_to_save" in name]
        for name in names:
            stir(model, 3, only=f"denoiser.{name}")
        assert not torch.allclose(dream(), before, atol=1e-4), part
