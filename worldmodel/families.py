"""The families of world models, chosen by what a saved model says of itself."""

import json
from pathlib import Path

from worldmodel.base import WorldModel
from worldmodel.errors import UserError


def load_world_model(folder: str | Path) -> WorldModel:
    """The world model saved in `folder`, ready to dream: whatever adapter it has is worked into its weights.

    Raises:
        UserError: If there is none, or it is damaged.
    """
    from worldmodel.latent.model import LatentWorldModel

    path = Path(folder) / "config.json"
    try:
        family = json.loads(path.read_text())["family"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{folder} holds no world model: name a folder that `save_pretrained` wrote.") from error
    if family != "latent":
        raise UserError(f"{path} names the family {family!r}, but known is only 'latent'.")
    return LatentWorldModel.from_pretrained(folder).fuse()
