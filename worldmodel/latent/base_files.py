"""A base's files: read through diffusers, from a folder or the hub, and refused if they are of another kind."""

import logging
import re
from collections.abc import Mapping
from functools import cached_property
from typing import Any, TypeVar

from diffusers import AutoencoderKL, AutoencoderTiny, DDIMScheduler, UNet2DConditionModel
from safetensors import SafetensorError
from torch import Tensor, nn

from worldmodel.errors import UserError, in_short
from worldmodel.latent.autoencoder import Vae, patch_size_of, scale_of
from worldmodel.latent.config import BaseConfig
from worldmodel.latent.own_base import CARD, BaseCard, base_folder, read_card, read_learned, shipped_bases
from worldmodel.latent.schedule import Schedule

_HUB_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*")
# diffusers writes this setting of its `AutoencoderTiny`, and on reading warns that nobody expects it.
logging.getLogger("diffusers.configuration_utils").addFilter(
    lambda record: "block_out_channels" not in record.getMessage()
)
Network = TypeVar("Network", bound=nn.Module)
_VAES: dict[str, type[Vae]] = {"AutoencoderKL": AutoencoderKL, "AutoencoderTiny": AutoencoderTiny}
_MORE_THAN_TEXT = ("addition_embed_type", "class_embed_type", "num_class_embeds", "encoder_hid_dim")
"""Settings of a U-Net that asks for more than a text: SDXL's sizes, an upscaler's noise level, an image's embedding."""
_UNREADABLE = (OSError, ValueError, TypeError, RuntimeError, SafetensorError)


class BaseFiles:
    """The parts of one base.

    Attributes:
        is_folder: Whether it lies here; if not, it is looked for on the hub.
    """

    def __init__(self, config: BaseConfig, local_files_only: bool) -> None:
        """Files that are not yet looked at.

        Raises:
            UserError: If the name can be neither a folder nor a hub id.
        """
        assert config.name is not None
        self._name, self._variant = config.name, config.variant
        self._folder = base_folder(config.name)
        self.is_folder = self._folder.is_dir()
        if not self.is_folder and not _HUB_ID.fullmatch(config.name):
            raise UserError(
                f"There is no folder {config.name}: give --base a folder in diffusers' layout, a hub id, or the name of"
                f" a base that comes with the project ({', '.join(shipped_bases()) or 'there is none'})."
            )
        self._place = str(self._folder) if self.is_folder else config.name
        self._options = {"revision": config.revision, "local_files_only": self.is_folder or local_files_only}

    def check(self) -> None:
        """Look at the settings of all parts, at no weights.

        Raises:
            UserError: If a part is missing or of another kind.
        """
        unet, vae = self._unet_settings, self._vae_settings
        _check_vae(vae, self._name)
        if not self.card:
            _check_unet(unet, vae["latent_channels"], self._name)
        self.schedule()

    @cached_property
    def card(self) -> BaseCard | None:
        """What it says of itself, if it is a base of our own."""
        return read_card(self._folder) if self.is_folder and (self._folder / CARD).is_file() else None

    def learned(self) -> dict[str, Tensor] | None:
        """What a base of our own has learned beside its two networks."""
        return read_learned(self._folder) if self.card else None

    @property
    def scale(self) -> int:
        """Pixels on a side of a latent's cell."""
        return scale_of(self._vae_settings)

    def schedule(self) -> Schedule:
        """The noise that the U-Net was trained on."""
        return Schedule(self._settings(DDIMScheduler, "scheduler"))

    def unet(self) -> UNet2DConditionModel:
        """The U-Net, in float32."""
        return self._network(UNet2DConditionModel, "unet")

    def vae(self) -> Vae:
        """The autoencoder, in float32."""
        return self._network(_VAES[self._vae_settings["_class_name"]], "vae")

    @cached_property
    def _unet_settings(self) -> Mapping[str, Any]:
        return self._settings(UNet2DConditionModel, "unet")

    @cached_property
    def _vae_settings(self) -> Mapping[str, Any]:
        return self._settings(AutoencoderKL, "vae")

    def _settings(self, reader: Any, part: str) -> Mapping[str, Any]:
        if self.is_folder and not (self._folder / part / reader.config_name).is_file():
            # diffusers would take the folder's own config for that of the part.
            raise UserError(f"{self._name} is no base, it has no {part}/{reader.config_name}: {_WANTED}.")
        try:
            settings: Mapping[str, Any] = reader.load_config(self._place, subfolder=part, **self._options)
        except _UNREADABLE as error:
            raise self._unreadable(part, error) from error
        return settings

    def _network(self, kind: Any, part: str) -> Any:
        try:
            network, found = kind.from_pretrained(
                self._place, subfolder=part, variant=self._variant, use_safetensors=True, low_cpu_mem_usage=False,
                output_loading_info=True, **self._options,
            )  # fmt: skip
        except _UNREADABLE as error:
            self._refuse_pickles(part)
            raise self._unreadable(part, error) from error
        if found["missing_keys"]:
            raise UserError(f"The {part} of {self._name} lacks {len(found['missing_keys'])} weights: get it anew.")
        return aligned(network)

    def _refuse_pickles(self, part: str) -> None:
        if self.is_folder and any((self._folder / part).glob("*.bin")):
            raise UserError(
                f"The {part} of {self._name} is kept as a pickle, which may run foreign code and is not read:"
                " save it as safetensors with `save_pretrained`, or get such a copy."
            )

    def _unreadable(self, part: str, error: Exception) -> UserError:
        remedy = _WANTED if self.is_folder else f"check the id, the revision and the connection, or {_WANTED}"
        return UserError(f"The {part} of {self._name} cannot be read ({in_short(error)}): {remedy}.")


def aligned(network: Network) -> Network:
    """Let each weight begin where torch would have it begin, not wherever it lay in the file that it is mapped from.

    Some CPUs sum what lies otherwise in another order, and a model that was read would dream otherwise by the last bit.
    """
    for weight in (*network.parameters(), *network.buffers()):
        weight.data = weight.data.clone()
    return network


_WANTED = "give --base a folder or hub id with unet, vae and scheduler in safetensors, as diffusers saves them"


def _check_vae(vae: Mapping[str, Any], name: str) -> None:
    if vae.get("_class_name") not in _VAES:
        raise UserError(f"The vae of {name} is {vae.get('_class_name')}: a base needs one of {', '.join(_VAES)}.")
    if not patch_size_of(vae):
        raise UserError(
            f"The vae of {name} takes {vae['in_channels']} channels: a base needs one for colours, which takes 3, or 3"
            " for each pixel of a square."
        )


def _check_unet(unet: Mapping[str, Any], channels: int, name: str) -> None:
    wanted = "a base must be like Stable Diffusion 1.x or 2.x"
    if unet.get("_class_name") != "UNet2DConditionModel":
        raise UserError(f"The unet of {name} is {unet.get('_class_name')}, not UNet2DConditionModel: {wanted}.")
    more = next((key for key in _MORE_THAN_TEXT if unet.get(key) is not None), None)
    if more:
        raise UserError(f"The unet of {name} asks for more than a text ({more} is {unet[more]!r}): {wanted}.")
    taken = unet["in_channels"], unet["out_channels"]
    if taken != (channels, channels):
        raise UserError(
            f"The unet of {name} takes {taken[0]} channels and gives {taken[1]}, but its vae's latents have {channels}:"
            " a base must turn noisy latents into latents of the same kind."
        )
