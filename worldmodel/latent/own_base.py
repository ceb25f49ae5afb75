"""A base of our own: a small latent diffusion model that has seen many games, so that a new one needs little more.

base.json                 format, the settings that it fixes, the games that it has seen
unet/, vae/, scheduler/   diffusers' own folders; the U-Net takes the context already
base.safetensors          what a world model has beside the two networks and no game decides: positions and noise level
                          of the conditioner, statistics of the latents, trunk of the head
README.md                 data, command, seeds, metrics, licence

The embeddings of actions and the outputs of the head belong to a game and begin anew.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from worldmodel.errors import UserError, in_short
from worldmodel.files import write_json, writing
from worldmodel.latent.config import LatentConfig
from worldmodel.plain import from_plain, to_plain

FORMAT = 1
CARD, WEIGHTS = "base.json", "base.safetensors"
SHIPPED = Path(__file__).parents[1] / "bases"
"""Where the bases lie that come with the project, each by its short name."""


@dataclass(frozen=True)
class BaseCard:
    """What `base.json` says.

    Attributes:
        fixed: The settings of `model` that a world model on this base cannot choose.
        games: Gymnasium ids of all games whose frames it has seen.
    """

    format: int
    fixed: dict[str, Any]
    games: tuple[str, ...]


def shipped_bases() -> tuple[str, ...]:
    """The short names of the bases that come with the project."""
    return tuple(sorted(card.parent.name for card in SHIPPED.glob(f"*/{CARD}")))


def base_folder(name: str) -> Path:
    """The folder that `name` means: one that is there, else a base that comes with the project."""
    folder = Path(name).expanduser()
    return SHIPPED / name if not folder.is_dir() and name in shipped_bases() else folder


def read_card(folder: Path) -> BaseCard:
    """What the base in `folder` says of itself.

    Raises:
        UserError: If it cannot be read, or is of another format.
    """
    path = folder / CARD
    try:
        values = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({in_short(error)}): get the base anew.") from error
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise UserError(f"{path} is not of format {FORMAT}, which this version reads: pre-train the base again.")
    return from_plain(BaseCard, values, str(path))


def check_fixed(card: BaseCard, config: LatentConfig) -> None:
    """Refuse settings that the base was not trained with.

    Raises:
        UserError: Naming the first of them.
    """
    chosen = _fixed_by(config)
    for name, fixed in card.fixed.items():
        if chosen.get(name) != fixed:
            raise UserError(
                f"model.{name} is {_shown(chosen.get(name))}, but the base {config.base.name} was trained with"
                f" {_shown(fixed)}: set it to that, begin from nothing (--base none), or pre-train a base of your own."
            )


def read_learned(folder: Path) -> dict[str, Tensor]:
    """The base's weights beside its two networks, by their names in a world model.

    Raises:
        UserError: If they cannot be read.
    """
    try:
        return load_file(folder / WEIGHTS)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{folder / WEIGHTS} cannot be read ({in_short(error)}): get the base anew.") from error


def adopt(model: nn.Module, learned: Mapping[str, Tensor]) -> None:
    """Take over what a base has learned; a head of another shape than the base's begins anew as a whole.

    Raises:
        UserError: If anything else does not suit the model.
    """
    own = model.state_dict()
    strange = {name for name, tensor in learned.items() if name not in own or own[name].shape != tensor.shape}
    if beyond := [name for name in strange if not name.startswith("head.")]:
        raise UserError(f"The base's {min(beyond)} does not suit this world model: get the base anew.")
    taken = {name: tensor for name, tensor in learned.items() if not (strange and name.startswith("head."))}
    model.load_state_dict(taken, strict=False)


def save_base(model: Any, folder: Path, games: tuple[str, ...]) -> None:
    """Write what a trained `LatentWorldModel` without an adapter has learned, but for its own game.

    Raises:
        UserError: If the disk is full, or nobody may write there.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        model.denoiser.unet.save_pretrained(folder / "unet")
        model.autoencoder.vae.save_pretrained(folder / "vae")
        model.scheduler.save_pretrained(folder / "scheduler")
        learned = {name: tensor for name, tensor in model.state_dict().items() if _is_learned(name)}
        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in learned.items()}, folder / WEIGHTS)
        write_json(folder / CARD, to_plain(BaseCard(FORMAT, _fixed_by(model.config), games)))


def belongs_to_game(name: str) -> bool:
    """Whether what a world model keeps under this name is decided by one game's actions or outcomes."""
    measured = name == "left_out" or name.startswith("familiarity.")
    paid = name.startswith("head.") and (".out." in name or name.startswith("head.rewards."))
    return ".action." in name or paid or measured


def _is_learned(name: str) -> bool:
    networks = ("denoiser.unet.", "autoencoder.vae.")
    return not (name.startswith(networks) or belongs_to_game(name))


def _fixed_by(config: LatentConfig) -> dict[str, Any]:
    return {
        "frame_size": list(config.frame_shape[:2]),
        "context": config.context,
        "noise_levels": config.noise_levels,
        "residual": config.residual is not False,
        "autoencoder.latent_channels": config.autoencoder.latent_channels,
        "denoiser.action_dim": config.denoiser.action_dim,
    }


def _shown(value: Any) -> str:
    return " x ".join(map(str, value)) if isinstance(value, list) else str(value)
