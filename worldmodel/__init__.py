"""The learned game itself: torch, diffusers and peft; no Ray, no RLlib, no Gymnasium.

Importing this package is cheap: torch is loaded when a name that needs it is first asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from worldmodel.base import Dream, Step, WorldModel
    from worldmodel.data.segment import Segment
    from worldmodel.errors import UserError
    from worldmodel.families import load_world_model
    from worldmodel.latent.config import LatentConfig
    from worldmodel.pixel.config import PixelConfig
    from worldmodel.spaces import ActionSpec

__all__ = [
    "ActionSpec",
    "Dream",
    "LatentConfig",
    "PixelConfig",
    "Segment",
    "Step",
    "UserError",
    "WorldModel",
    "load_world_model",
]

_HOMES = {
    "ActionSpec": "worldmodel.spaces",
    "Dream": "worldmodel.base",
    "LatentConfig": "worldmodel.latent.config",
    "PixelConfig": "worldmodel.pixel.config",
    "Segment": "worldmodel.data.segment",
    "Step": "worldmodel.base",
    "UserError": "worldmodel.errors",
    "WorldModel": "worldmodel.base",
    "load_world_model": "worldmodel.families",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'worldmodel' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
