"""The families of world models, chosen by what a saved model says of itself."""

import json
from pathlib import Path
from typing import Literal, get_args

from worldmodel.base import WorldModel
from worldmodel.errors import UserError

Family = Literal["latent", "pixel"]
FAMILIES: tuple[Family, ...] = get_args(Family)


def load_world_model(folder: str | Path) -> WorldModel:
    """The world model saved in `folder`, ready to dream: whatever adapter it has is worked into its weights.

    Raises:
        UserError: If there is none, or it is damaged.
    """
    family = _family(folder)
    if family == "pixel":
        from worldmodel.pixel.model import PixelWorldModel

        return PixelWorldModel.from_pretrained(folder)
    from worldmodel.latent.model import LatentWorldModel

    return LatentWorldModel.from_pretrained(folder).fuse()


def _family(folder: str | Path) -> Family:
    path = Path(folder) / "config.json"
    try:
        family = json.loads(path.read_text())["family"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{folder} holds no world model: name a folder that `save_pretrained` wrote.") from error
    if family not in FAMILIES:
        raise UserError(f"{path} names the family {family!r}, but known are only {', '.join(FAMILIES)}.")
    return family
