"""The families of world models: chosen by the settings of a new model, or by what a saved one says of itself."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from worldmodel.errors import UserError
from worldmodel.fitting import FitConfig, Fitter
from worldmodel.latent.config import LatentConfig
from worldmodel.pixel.config import PixelConfig
from worldmodel.spaces import ActionSpec

if TYPE_CHECKING:
    import torch

    from worldmodel.base import WorldModel
    from worldmodel.data.reader import BufferReader

Family = Literal["latent", "pixel"]
FAMILIES: tuple[Family, ...] = get_args(Family)
ModelConfig = LatentConfig | PixelConfig
"""What defines a world model; its type is the family."""


def new_world_model(config: ModelConfig, action_spec: ActionSpec) -> "WorldModel":
    """A model that knows no game yet."""
    if isinstance(config, PixelConfig):
        from worldmodel.pixel.model import PixelWorldModel

        return PixelWorldModel(config, action_spec)
    from worldmodel.latent.model import LatentWorldModel

    return LatentWorldModel(config, action_spec)


def read_world_model(folder: str | Path) -> "WorldModel":
    """The world model saved in `folder`, to be fitted further: an adapter stays apart.

    Raises:
        UserError: If there is none, or it is damaged.
    """
    if _family(folder) == "pixel":
        from worldmodel.pixel.model import PixelWorldModel

        return PixelWorldModel.from_pretrained(folder)
    from worldmodel.latent.model import LatentWorldModel

    return LatentWorldModel.from_pretrained(folder)


def load_world_model(source: str | Path) -> "WorldModel":
    """The world model saved in a folder, ready to dream: whatever adapter it has is worked into its weights.

    Args:
        source: The folder, or a single file as DIAMOND publishes them; see `worldmodel.pixel.published`.

    Raises:
        UserError: If there is none, or it is damaged.
    """
    if Path(source).is_file():
        from worldmodel.pixel.published import read_published

        return read_published(Path(source)).world_model
    return read_world_model(source).fuse()


def fitter_of(
    model: "WorldModel", config: FitConfig, reader: "BufferReader", device: "torch.device", failures: Path
) -> Fitter:
    """Who fits `model` to what `reader` reads; a batch that spoils a fit is kept in the folder `failures`.

    Raises:
        UserError: If the optimiser needs a package that is not installed.
    """
    from worldmodel.pixel.model import PixelWorldModel

    if isinstance(model, PixelWorldModel):
        from worldmodel.pixel.fitter import PixelFitter

        return PixelFitter(model, config, reader, device, failures)
    from worldmodel.latent.fitter import LatentFitter
    from worldmodel.latent.model import LatentWorldModel

    assert isinstance(model, LatentWorldModel)
    return LatentFitter(model, config, reader, device, failures)


def _family(folder: str | Path) -> Family:
    path = Path(folder) / "config.json"
    try:
        family = json.loads(path.read_text())["family"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{folder} holds no world model: name a folder that `save_pretrained` wrote.") from error
    if family not in FAMILIES:
        raise UserError(f"{path} names the family {family!r}, but known are only {', '.join(FAMILIES)}.")
    return family
