"""What a latent world model begins from: fresh networks, a base of our own, or a diffusion model from elsewhere.

A model from elsewhere has the layout that diffusers gives Stable Diffusion 1.x and 2.x: the folders `unet`, `vae` and
`scheduler`. Whatever else lies beside them (text encoder, tokenizer, safety checker) is not looked at.
"""

from dataclasses import dataclass

from diffusers import UNet2DConditionModel
from torch import Tensor

from worldmodel.latent.autoencoder import Vae, build_vae
from worldmodel.latent.base_files import BaseFiles
from worldmodel.latent.config import LatentConfig, latent_size
from worldmodel.latent.denoiser import build_unet
from worldmodel.latent.origin import Marks
from worldmodel.latent.own_base import check_fixed
from worldmodel.latent.schedule import OWN_SCHEDULE, Schedule


@dataclass(frozen=True)
class Base:
    """What a world model begins from.

    Attributes:
        unet: Takes latents and tokens, and predicts noise or velocity.
        vae: Frames to latents and back.
        schedule: The noise that the U-Net was trained on.
        marks: Names of the networks, if they were trained before.
        learned: What a base of our own has learned beside its two networks; see `worldmodel.latent.own_base`.
    """

    unet: UNet2DConditionModel
    vae: Vae
    schedule: Schedule
    marks: Marks | None = None
    learned: dict[str, Tensor] | None = None


def make_base(config: LatentConfig, local_files_only: bool = False) -> Base:
    """The base that `config` names, or fresh networks of our own.

    Args:
        config: The world model's.
        local_files_only: Take a hub's model from the local cache alone; a folder is never looked for elsewhere.

    Raises:
        UserError: If the base is not there, is of another kind or for other settings, or keeps its weights as a pickle.
    """
    if config.base.name is not None:
        return _load(BaseFiles(config.base, local_files_only), config)
    vae = build_vae(config.autoencoder)
    return Base(build_unet(config), vae, Schedule(OWN_SCHEDULE))


def check_base(config: LatentConfig) -> None:
    """Refuse a folder that is no base by its settings alone; what is on the hub is checked when it is loaded.

    Raises:
        UserError: If it is not there, is of another kind or for other settings, or does not divide a frame into whole
            cells.
    """
    files = BaseFiles(config.base, local_files_only=True)
    if files.is_folder:
        _check(files, config)
        latent_size(config.frame_size, files.scale)


def _load(files: BaseFiles, config: LatentConfig) -> Base:
    _check(files, config)
    unet, vae = files.unet(), files.vae()
    return Base(unet, vae, files.schedule(), Marks.of(unet.state_dict(), vae), files.learned())


def _check(files: BaseFiles, config: LatentConfig) -> None:
    files.check()
    if files.card:
        check_fixed(files.card, config)
