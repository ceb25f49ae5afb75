"""LoRA on the denoiser (Hu et al., 2021), with the parts that adapters alone do not carry.

Low-rank updates on attention and convolutions cannot teach a frozen U-Net a new game: its input layer, the embeddings
of time and action, the norms inside its blocks and the output layer are trained in full beside them and saved with the
adapter.
"""

import torch
from diffusers import UNet2DConditionModel
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from worldmodel.errors import UserError
from worldmodel.latent.config import AdapterConfig
from worldmodel.latent.denoiser import Denoiser
from worldmodel.plain import nearest

_ADAPTABLE = (nn.Linear, nn.Conv2d)


def attach(denoiser: Denoiser, config: AdapterConfig) -> PeftModel:
    """Freeze the denoiser and put an adapter on it that changes nothing yet.

    Raises:
        UserError: See `check_adapter`.
    """
    check_adapter(denoiser, config)
    lora = LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,
        target_modules=list(config.targets),
        modules_to_save=_saved(denoiser, config),
        use_rslora=config.rslora,
    )
    return get_peft_model(denoiser, lora)


def check_adapter(denoiser: Denoiser, config: AdapterConfig) -> None:
    """Refuse an adapter that names what the denoiser has not, or what it would train twice.

    Raises:
        UserError: Naming the nearest that there is.
    """
    layers = [name for name, module in denoiser.named_modules() if isinstance(module, _ADAPTABLE)]
    for target in config.targets:
        meant = [name for name in layers if f".{name}".endswith(f".{target}")]
        if not meant:
            raise UserError(f"model.adapter.targets: no layer ends with {target!r}; {nearest(target, _ends(layers))}")
        if twice := next((name for name in meant for saved in _saved(denoiser, config) if _within(name, saved)), None):
            raise UserError(
                f"model.adapter.targets: {twice} is in modules_to_save already; leave {target!r} out of one."
            )
    modules = [name for name, _ in denoiser.named_modules() if name]
    for saved in config.modules_to_save:
        if not any(_in_full(name, (saved,)) for name in modules):
            raise UserError(
                f"model.adapter.modules_to_save: no part ends with {saved!r}; {nearest(saved, _ends(modules))}"
            )


def _saved(denoiser: Denoiser, config: AdapterConfig) -> list[str]:
    return [name for name, _ in denoiser.named_modules() if _in_full(name, config.modules_to_save)]


def _in_full(name: str, saved: tuple[str, ...]) -> bool:
    last = name.rpartition(".")[2]
    return last.rstrip("0123456789").endswith(saved)


def _within(name: str, part: str) -> bool:
    return f"{name}.".startswith(f"{part}.")


def _ends(names: list[str]) -> list[str]:
    """The last words of the names, with what precedes them where they are mere numbers."""
    split = (name.split(".") for name in names)
    return sorted({".".join(words[-2:] if words[-1].isdigit() else words[-1:]) for words in split})


def recompute_activations(denoiser: nn.Module, recompute: bool) -> None:
    """Whether to forget activations in the forward pass and compute them again in the backward pass (Chen, 2016)."""
    for module in denoiser.modules():
        if isinstance(module, UNet2DConditionModel):
            module.enable_gradient_checkpointing() if recompute else module.disable_gradient_checkpointing()


def is_attached(denoiser: nn.Module) -> bool:
    """Whether the denoiser wears an adapter."""
    return isinstance(denoiser, PeftModel)


@torch.no_grad()
def fused_weights(denoiser: nn.Module) -> dict[str, Tensor]:
    """The plain denoiser's weights with the adapter worked in, by the names they have without one."""
    if not isinstance(denoiser, PeftModel):
        return denoiser.state_dict()
    weights = _plain(denoiser, adapted=True)
    # Not peft's merge and unmerge: rounding would leave the base a little different each time.
    for name, module in denoiser.get_base_model().named_modules():
        if isinstance(module, LoraLayer):
            weights[f"{name}.weight"] = module.get_base_layer().weight + module.get_delta_weight("default")
    return weights


def base_weights(denoiser: nn.Module) -> dict[str, Tensor]:
    """The weights under the adapter, by the names they have without one."""
    return _plain(denoiser, adapted=False) if isinstance(denoiser, PeftModel) else denoiser.state_dict()


def _plain(denoiser: PeftModel, adapted: bool) -> dict[str, Tensor]:
    base, saved = "original_module.", "modules_to_save.default."
    skipped, taken = (base, saved) if adapted else (saved, base)
    return {
        name.replace(taken, "").replace("base_layer.", ""): tensor
        for name, tensor in denoiser.get_base_model().state_dict().items()
        if skipped not in name and "lora_" not in name
    }
