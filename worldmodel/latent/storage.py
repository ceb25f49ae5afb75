"""A latent world model as a folder.

config.json               family, format, what defines the model, the actions, the base's hash, whether it is adapted
vae/, unet/, scheduler/   diffusers' own folders; the U-Net is the base, without the adapter
conditioner.safetensors   the base's action and noise embeddings
latents.safetensors       statistics of the latents
head.safetensors          reward and termination
adapter/                  peft's own folder, with the modules trained in full; it names its base by the base's hash
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from diffusers import UNet2DConditionModel
from peft import LoraConfig, PeftModel
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from worldmodel.errors import UserError
from worldmodel.files import write_json
from worldmodel.latent.adapter import base_weights
from worldmodel.latent.config import LatentConfig
from worldmodel.latent.denoiser import Denoiser
from worldmodel.latent.model import LatentWorldModel
from worldmodel.plain import from_plain, to_plain
from worldmodel.spaces import ActionSpec

FORMAT = 2

_ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")
_DAMAGE = (OSError, SafetensorError, RuntimeError, ValueError, TypeError, KeyError)
"""What reading a damaged file raises, ours or a library's."""


@dataclass(frozen=True)
class Card:
    """What `config.json` says."""

    format: int
    family: str
    config: LatentConfig
    action_spec: ActionSpec
    base: str
    adapted: bool


def save(model: LatentWorldModel, folder: Path) -> None:
    """Write the model to `folder`, which is made if it is not there."""
    folder.mkdir(parents=True, exist_ok=True)
    base = {name: tensor.contiguous() for name, tensor in base_weights(model.denoiser).items()}
    card = Card(FORMAT, "latent", model.config, model.action_spec, _hash(base), model.adapted)
    model.autoencoder.vae.save_pretrained(folder / "vae")
    _plain(model.denoiser).unet.save_config(folder / "unet")
    _save(_part(base, "unet."), folder / "unet" / "diffusion_pytorch_model.safetensors")
    model.sampler.noise.save_pretrained(folder / "scheduler")
    _save(_part(base, "conditioner."), folder / "conditioner.safetensors")
    _save(_statistics(model), folder / "latents.safetensors")
    _save(model.head.state_dict(), folder / "head.safetensors")
    if isinstance(model.denoiser, PeftModel):
        model.denoiser.peft_config["default"].base_model_name_or_path = card.base
        # Left to itself, peft asks the hub whether the base's vocabulary has grown.
        model.denoiser.save_pretrained(str(folder / "adapter"), save_embedding_layers=False)
    write_json(folder / "config.json", to_plain(card))


def load(folder: Path) -> LatentWorldModel:
    """Read what `save` wrote.

    Raises:
        UserError: If a file is missing or damaged, or the adapter belongs to another base.
    """
    try:
        card = _read_card(folder)
        model = LatentWorldModel(card.config, card.action_spec)
        _fill(model, folder)
        _check_base(folder, card.base, _hash(base_weights(model.denoiser)))
        if card.adapted:
            _wear(model, folder / "adapter", card.base)
    except _DAMAGE as error:
        raise UserError(f"{folder} is damaged ({error}): save the world model again.") from error
    return model.eval()


def _fill(model: LatentWorldModel, folder: Path) -> None:
    model.autoencoder.vae.load_state_dict(load_file(folder / "vae" / "diffusion_pytorch_model.safetensors"))
    statistics = load_file(folder / "latents.safetensors")
    denoiser = _plain(model.denoiser)
    denoiser.unet = _read_unet(folder / "unet")
    denoiser.conditioner.load_state_dict(load_file(folder / "conditioner.safetensors"))
    for name, statistic in _statistics(model).items():
        statistic.copy_(statistics[name])
    model.head.load_state_dict(load_file(folder / "head.safetensors"))


def _read_unet(folder: Path) -> UNet2DConditionModel:
    # Never from the hub, never a pickle; `low_cpu_mem_usage` would need accelerate, and warn where it is not installed.
    return UNet2DConditionModel.from_pretrained(
        folder, local_files_only=True, use_safetensors=True, low_cpu_mem_usage=False
    )


def _wear(model: LatentWorldModel, folder: Path, base: str) -> None:
    for name in _ADAPTER_FILES:
        if not (folder / name).is_file():  # peft would look for it on the hub, or for a pickle
            raise FileNotFoundError(f"{folder / name} is missing")
    _check_base(folder, LoraConfig.from_pretrained(str(folder)).base_model_name_or_path, base)
    model.denoiser = PeftModel.from_pretrained(model.denoiser, str(folder), is_trainable=True)


def _check_base(folder: Path, belongs_to: str | None, found: str) -> None:
    if belongs_to != found:
        raise UserError(f"{folder} belongs to the base {belongs_to}, but this base is {found}: restore that base.")


def _read_card(folder: Path) -> Card:
    path = folder / "config.json"
    values = json.loads(path.read_text())
    if not isinstance(values, dict):
        raise UserError(f"{path} is no world model's: name a folder that `save_pretrained` wrote.")
    if values.get("format") != FORMAT:
        raise UserError(f"{path} has format {values.get('format')}, this version reads {FORMAT}: save it again.")
    return from_plain(Card, values, str(path))


def _plain(denoiser: nn.Module) -> Denoiser:
    return cast(Denoiser, denoiser.get_base_model() if isinstance(denoiser, PeftModel) else denoiser)


def _statistics(model: LatentWorldModel) -> dict[str, Tensor]:
    return dict(model.autoencoder.named_buffers(recurse=False))


def _part(weights: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in weights.items() if name.startswith(prefix)}


def _save(tensors: dict[str, Tensor], path: Path) -> None:
    save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, path)


def _hash(weights: dict[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(weights.items()):
        digest.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
