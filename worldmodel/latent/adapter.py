"""LoRA on the denoiser (Hu et al., 2021), with the parts that adapters alone do not carry.

Low-rank updates on attention and convolutions cannot teach a frozen U-Net a new game: its input layer, the embeddings
of time and action, the norms inside its blocks and the output layer are trained in full beside them and saved with the
adapter.
"""

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from worldmodel.latent.config import AdapterConfig
from worldmodel.latent.denoiser import Denoiser

TRAINED_IN_FULL = ("conditioner", "conv_in", "conv_out", "time_embedding", "class_embedding", "time_emb_proj", "norm")
"""Modules of the denoiser that are trained and saved whole; a name stands for all modules that end with it."""


def attach(denoiser: Denoiser, config: AdapterConfig) -> PeftModel:
    """Freeze the denoiser and put an adapter on it that changes nothing yet."""
    lora = LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,
        target_modules=list(config.targets),
        modules_to_save=[name for name, _ in denoiser.named_modules() if _in_full(name)],
    )
    return get_peft_model(denoiser, lora)


def _in_full(name: str) -> bool:
    last = name.rpartition(".")[2]
    return last.rstrip("0123456789").endswith(TRAINED_IN_FULL)


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
    skipped, taken = ("original_module.", "modules_to_save.default.")[:: 1 if adapted else -1]
    return {
        name.replace(taken, "").replace("base_layer.", ""): tensor
        for name, tensor in denoiser.get_base_model().state_dict().items()
        if skipped not in name and "lora_" not in name
    }
