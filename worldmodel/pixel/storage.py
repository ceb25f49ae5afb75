"""A pixel world model as a folder.

config.json         family, format, what defines the model, the actions
model.safetensors   all weights
"""

import json
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load
from safetensors.torch import save as packed

from worldmodel.errors import UserError, in_short
from worldmodel.files import write_json, write_whole, writing
from worldmodel.pixel.config import PixelConfig
from worldmodel.pixel.model import PixelWorldModel
from worldmodel.plain import from_plain, to_plain
from worldmodel.spaces import ActionSpec

FORMAT = 2
_WEIGHTS = "model.safetensors"


@dataclass(frozen=True)
class Card:
    """What `config.json` says."""

    format: int
    family: str
    config: PixelConfig
    action_spec: ActionSpec


def save(model: PixelWorldModel, folder: Path) -> None:
    """Write the model to `folder`, which is made if it is not there.

    Raises:
        UserError: If the disk is full, or nobody may write there.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    write_whole(folder / _WEIGHTS, packed(weights))
    write_json(folder / "config.json", to_plain(Card(FORMAT, "pixel", model.config, model.action_spec)))


def load_model(folder: Path) -> PixelWorldModel:
    """Read what `save` wrote.

    Raises:
        UserError: If a file is missing or damaged.
    """
    try:
        card = _read_card(folder / "config.json")
        model = PixelWorldModel(card.config, card.action_spec)
        model.load_state_dict(load((folder / _WEIGHTS).read_bytes()))
    except (OSError, SafetensorError, RuntimeError, ValueError) as error:
        raise UserError(f"{folder} is damaged ({in_short(error)}): save the world model again.") from error
    return model.eval()


def _read_card(path: Path) -> Card:
    values = json.loads(path.read_text())
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise UserError(f"{path} is no pixel world model's of format {FORMAT}: save it again with this version.")
    return from_plain(Card, values, str(path))
