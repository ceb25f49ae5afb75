"""DIAMOND's published files: one flat dictionary of tensors for world model and policy."""

import pickle
from dataclasses import dataclass
from pathlib import Path
from zipfile import is_zipfile

import torch
from torch import Tensor

from worldmodel.errors import UserError, in_short
from worldmodel.pixel.config import PixelConfig
from worldmodel.pixel.model import PixelWorldModel
from worldmodel.spaces import ActionSpec
from worldmodel.weights import without_prefix

_PARTS = {"denoiser.": "denoiser.", "rew_end_model.": "outcomes."}
"""How the names of the world model's parts begin, theirs and ours."""
_TABLES = {
    "denoiser.inner_model.act_emb.0.weight": "denoiser.inner_model.act_emb.lookup.weight",
    "outcomes.act_emb.weight": "outcomes.act_emb.lookup.weight",
}
"""Their tables of actions, and ours."""
_POLICY = "actor_critic."


@dataclass(frozen=True, eq=False)
class Published:
    """What a published file holds.

    Attributes:
        world_model: The world model, ready to dream.
        policy: The policy's weights by name.
    """

    world_model: PixelWorldModel
    policy: dict[str, Tensor]


def read_published(path: Path, names: tuple[str, ...] = ()) -> Published:
    """Read a published Atari model; nothing in the file is executed.

    Args:
        path: The file.
        names: What the game's actions are called; may be empty.

    Raises:
        UserError: If it cannot be read, or is no such file, or its actions are not as many as the names.
    """
    weights = _read(path)
    try:
        ours = _renamed(weights)
        actions = len(ours["outcomes.act_emb.lookup.weight"]) - 1
        # The floor is what they were trained with, though it darkens every frame by half a level.
        model = PixelWorldModel(PixelConfig(quantise="floor"), _spec(path, actions, names))
        # What is familiar to them they do not tell.
        model.denoiser.load_state_dict(without_prefix(ours, "denoiser."))
        model.outcomes.load_state_dict(without_prefix(ours, "outcomes."))
    except (KeyError, RuntimeError) as error:
        raise UserError(
            f"{path} is no Atari model as DIAMOND publishes them ({in_short(error)}): take one of atari_100k/models."
        ) from error
    return Published(model.eval(), without_prefix(weights, _POLICY))


def _spec(path: Path, actions: int, names: tuple[str, ...]) -> ActionSpec:
    if names and len(names) != actions:
        raise UserError(f"{path} has {actions} actions, the game {len(names)}: name the game that it was trained on.")
    return ActionSpec.discrete(actions, names)


def _read(path: Path) -> dict[str, Tensor]:
    try:
        # What is no archive at all torch would take for an older format, and stumble over it in many ways.
        with path.open("rb") as file:
            if not is_zipfile(file):
                raise ValueError("no archive of tensors")
        weights = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, ValueError, EOFError, pickle.UnpicklingError) as error:
        raise UserError(
            f"{path} cannot be read ({in_short(error)}): name a file of weights, such as Breakout.pt."
        ) from error
    if not isinstance(weights, dict) or not all(isinstance(value, Tensor) for value in weights.values()):
        raise UserError(f"{path} holds no plain dictionary of tensors: name a published file, not a trainer's state.")
    return weights


def _renamed(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The world model's weights by our names."""
    parts = {
        ours + name: tensor
        for theirs, ours in _PARTS.items()
        for name, tensor in without_prefix(weights, theirs).items()
    }
    for theirs, own in _TABLES.items():
        table = parts.pop(theirs)
        # They have no row for "not known": where nothing was played they were shown action 0.
        parts[own] = torch.cat([table, table[:1]])
    return parts
