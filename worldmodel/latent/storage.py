"""A latent world model as a folder.

config.json               family, format, what defines the model, the actions, the base's names, which networks lie here
vae/, unet/               diffusers' own folders: the networks that are our own; the U-Net is the one under the adapter
scheduler/                diffusers' own folder
conditioner.safetensors   what the base was given: embeddings of actions, noise level and position
latents.safetensors       statistics of the latents, and of what predictions of them leave out
head.safetensors          reward and termination
familiarity.safetensors   what real play looks like, and how far it hardly ever strays
adapter/                  peft's own folder, with the modules trained in full; it names its base by the base's hash

A network of a base from elsewhere is not copied as long as nothing in it was trained in full: it is found again by the
name in config.json and told by its hash. The U-Net is written once it was trained whole, the autoencoder once its
decoder was.
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers import SchedulerMixin, UNet2DConditionModel
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from worldmodel.errors import UserError, in_short
from worldmodel.files import write_json, writing
from worldmodel.latent.adapter import base_weights
from worldmodel.latent.base_files import aligned
from worldmodel.latent.bases import Base, make_base
from worldmodel.latent.config import BaseConfig, LatentConfig
from worldmodel.latent.denoiser import Denoiser, is_addition, plain_denoiser
from worldmodel.latent.fingerprint import fingerprint
from worldmodel.latent.model import LatentWorldModel
from worldmodel.latent.origin import Marks
from worldmodel.plain import from_plain, to_plain
from worldmodel.spaces import ActionSpec
from worldmodel.weights import without_prefix

FORMAT = 6

_ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")
_DAMAGE = (OSError, SafetensorError, RuntimeError, ValueError, TypeError, KeyError, AttributeError)
"""What reading a damaged file raises, ours or a library's."""


@dataclass(frozen=True)
class Card:
    """What `config.json` says.

    Attributes:
        base: The name that the adapter knows its base by.
        marks: The names of the networks that the model began from, if they came from elsewhere.
        own: Which of them are not what they were, and so lie here.
    """

    format: int
    family: str
    config: LatentConfig
    action_spec: ActionSpec
    base: str
    adapted: bool
    marks: Marks | None = None
    own: tuple[str, ...] = ("unet", "vae")


@dataclass(frozen=True)
class Loading:
    """How a model is read; see `LatentWorldModel.from_pretrained`."""

    dtype: torch.dtype | None = None
    variant: str | None = None
    revision: str | None = None
    base: str | None = None
    local_files_only: bool = False

    def base_of(self, config: BaseConfig) -> BaseConfig:
        """Where to look for the base."""
        return replace(
            config,
            name=config.name and (self.base or config.name),
            variant=self.variant or config.variant,
            revision=self.revision or config.revision,
        )


def save(model: LatentWorldModel, folder: Path, variant: str | None = None) -> None:
    """Write the model to `folder`, which is made if it is not there.

    Raises:
        UserError: If the disk is full, or nobody may write there.
    """
    with writing(folder):
        _save_parts(model, folder, variant)


def _save_parts(model: LatentWorldModel, folder: Path, variant: str | None) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    # Written last: a folder in which two models are mixed is no model.
    (folder / "config.json").unlink(missing_ok=True)
    base = {name: tensor.contiguous() for name, tensor in base_weights(model.denoiser).items()}
    own, marks = model.own_networks(), model.origin.marks if model.origin else None
    card = Card(FORMAT, "latent", model.config, model.action_spec, _name(model, base, own), model.adapted, marks, own)
    if "vae" in own:
        model.autoencoder.vae.save_pretrained(folder / "vae", variant=variant)
    if "unet" in own:
        plain_denoiser(model.denoiser).unet.save_config(folder / "unet")
        _save(without_prefix(base, "unet."), _weights(folder / "unet", variant))
    model.scheduler.save_pretrained(folder / "scheduler")
    _save({name: tensor for name, tensor in base.items() if is_addition(name)}, folder / "conditioner.safetensors")
    _save(_statistics(model), folder / "latents.safetensors")
    _save(model.head.state_dict(), folder / "head.safetensors")
    _save(model.familiarity.state_dict(), folder / "familiarity.safetensors")
    if isinstance(model.denoiser, PeftModel):
        model.denoiser.peft_config["default"].base_model_name_or_path = card.base
        # Left to itself, peft asks the hub whether the base's vocabulary has grown.
        model.denoiser.save_pretrained(str(folder / "adapter"), save_embedding_layers=False)
    write_json(folder / "config.json", to_plain(card))


def load(folder: Path, how: Loading) -> LatentWorldModel:
    """Read what `save` wrote.

    Raises:
        UserError: If a file is missing or damaged, the base is not there, or it or the adapter is another one.
    """
    try:
        card = _read_card(folder)
        config = replace(card.config, base=how.base_of(card.config.base))
        model = _built(folder, config, card.action_spec, _base(folder, card, config, how))
        _fill(model, folder, card.own, how.variant)
        _check_base(folder, card.base, _name(model, base_weights(model.denoiser), card.own))
        if card.adapted:
            _wear(model, folder / "adapter", card.base)
    except _DAMAGE as error:
        raise UserError(f"{folder} is damaged ({in_short(error)}): save the world model again.") from error
    if how.dtype:
        model.cast(how.dtype)
    return model.eval()


def _built(folder: Path, config: LatentConfig, spec: ActionSpec, base: Base) -> LatentWorldModel:
    try:
        return LatentWorldModel(config, spec, base)
    except UserError as error:
        raise UserError(f"{folder / 'config.json'} describes no world model: {error}") from error


def load_adapter(model: LatentWorldModel, folder: Path) -> None:
    """Put the adapter that lies in `folder` on the model.

    Raises:
        UserError: If it is missing or damaged, or belongs to another base.
    """
    try:
        _wear(model, folder, _name(model, base_weights(model.denoiser), model.own_networks()))
    except _DAMAGE as error:
        raise UserError(
            f"{folder} is no adapter for this denoiser ({in_short(error)}): take one that peft saved for it."
        ) from error


def _wear(model: LatentWorldModel, folder: Path, base: str) -> None:
    for name in _ADAPTER_FILES:
        if not (folder / name).is_file():  # peft would look for it on the hub, or for a pickle
            raise FileNotFoundError(f"{folder / name} is missing")
    lora = LoraConfig.from_pretrained(str(folder))
    if lora.base_model_name_or_path:  # peft by itself knows no name for the denoiser
        _check_base(folder, lora.base_model_name_or_path, base)
    lora.base_model_name_or_path, lora.inference_mode = None, False
    denoiser = get_peft_model(plain_denoiser(model.denoiser), lora)
    # Before the weights come: what the adapter trains may not be rounded to what the base is kept in.
    model.wear(denoiser)
    found = denoiser.load_adapter(str(folder), "default", is_trainable=True)
    trained = {name for name, parameter in denoiser.named_parameters() if parameter.requires_grad}
    if lacking := trained.intersection(found.missing_keys):
        raise KeyError(f"{folder} lacks {min(lacking)}")


def _base(folder: Path, card: Card, config: LatentConfig, how: Loading) -> Base:
    try:
        base = make_base(config, how.local_files_only)
    except UserError as error:
        raise UserError(f"The base of {folder} cannot be had: {error}") from error
    for part in ("unet", "vae"):
        wanted, found = getattr(card.marks, part, None), getattr(base.marks, part, None)
        if part not in card.own and wanted != found:
            raise UserError(
                f"{folder} belongs to the base {card.config.base.name} with the {part} {wanted}, but that of"
                f" {config.base.name} is {found}: restore the old one, or say with `base` where it is."
            )
    return base


def _name(model: LatentWorldModel, base: dict[str, Tensor], own: tuple[str, ...]) -> str:
    return fingerprint(base) if model.origin is None or "unet" in own else model.origin.marks.unet


def _fill(model: LatentWorldModel, folder: Path, own: tuple[str, ...], variant: str | None) -> None:
    denoiser = plain_denoiser(model.denoiser)
    if "vae" in own:
        model.autoencoder.vae.load_state_dict(load_file(_weights(folder / "vae", variant)))
    if "unet" in own:
        denoiser.take(_read_unet(folder / "unet", variant, denoiser.dtype))
    _add(denoiser, load_file(folder / "conditioner.safetensors"))
    statistics = load_file(folder / "latents.safetensors")
    for name, statistic in _statistics(model).items():
        statistic.copy_(statistics[name])
    model.head.load_state_dict(load_file(folder / "head.safetensors"))
    model.familiarity.load_state_dict(load_file(folder / "familiarity.safetensors"))
    try:
        model.scheduler = _read_scheduler(folder / "scheduler")
    except UserError as error:
        raise UserError(f"{folder / 'scheduler'} was changed: {error}") from error


def _add(denoiser: Denoiser, additions: dict[str, Tensor]) -> None:
    wanted = {name for name in denoiser.state_dict() if is_addition(name)}
    if wanted != set(additions):
        raise KeyError(f"conditioner.safetensors lacks {', '.join(sorted(wanted - set(additions)))}")
    denoiser.load_state_dict(additions, strict=False)


def _read_unet(folder: Path, variant: str | None, dtype: torch.dtype) -> UNet2DConditionModel:
    # Never from the hub, never a pickle; `low_cpu_mem_usage` would need accelerate, and warn where it is not installed.
    network: UNet2DConditionModel = UNet2DConditionModel.from_pretrained(
        folder,
        variant=variant,
        torch_dtype=dtype,
        local_files_only=True,
        use_safetensors=True,
        low_cpu_mem_usage=False,
    )
    return aligned(network)


def _read_scheduler(folder: Path) -> SchedulerMixin:
    settings: dict[str, Any] = json.loads((folder / "scheduler_config.json").read_text())
    kind = getattr(diffusers, settings["_class_name"])
    if not issubclass(kind, SchedulerMixin):
        raise TypeError(f"{settings['_class_name']} is no scheduler")
    return kind.from_config(settings)


def _weights(folder: Path, variant: str | None) -> Path:
    return folder / ("diffusion_pytorch_model" + (f".{variant}" if variant else "") + ".safetensors")


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


def _statistics(model: LatentWorldModel) -> dict[str, Tensor]:
    return dict(model.autoencoder.named_buffers(recurse=False)) | {"left_out": model.left_out}


def _save(tensors: dict[str, Tensor], path: Path) -> None:
    save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, path)
