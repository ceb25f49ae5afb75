"""Which world model to dream in, however it is given."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from worldmodel.base import WorldModel

ModelSource = WorldModel | str | Path
"""A world model, or the folder of one."""
WeightSource = ModelSource | Mapping[str, Tensor]
"""The same, or the state dict of a model of the same shape."""


def open_model(source: ModelSource, device: torch.device) -> WorldModel:
    """The world model, on `device` and ready to dream."""
    if isinstance(source, WorldModel):
        return source.to(device).eval()
    from worldmodel.families import load_world_model

    return load_world_model(source).to(device).eval()


def renew_model(model: WorldModel | None, source: WeightSource, device: torch.device) -> WorldModel:
    """`model` with other weights, or another model in its place."""
    if not isinstance(source, Mapping):
        return open_model(source, device)
    if model is None:
        raise ValueError("a state dict needs a model to go into")
    model.load_state_dict(source)
    return model
