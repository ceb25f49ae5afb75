"""The agent's side, on Ray: collectors, shared buffer, learners, imagination PPO, Dyna, real evaluation.

Importing this package is cheap: Ray and torch are loaded when a name that needs them is first asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rl.dyna import Dyna
    from rl.dyna_config import DynaConfig
    from rl.imagination import ImaginationPPO, ImaginationPPOConfig
    from rl.module import PixelModule, PixelModuleConfig
    from rl.pixel_ppo import PixelPPOConfig
    from rl.policies import ModulePolicy, PolicySnapshot, PolicySpec, load_policy, save_policy
    from rl.settings import Settings

_HOMES = {
    "Dyna": "rl.dyna",
    "DynaConfig": "rl.dyna_config",
    "ImaginationPPO": "rl.imagination",
    "ImaginationPPOConfig": "rl.imagination",
    "ModulePolicy": "rl.policies",
    "PixelModule": "rl.module",
    "PixelModuleConfig": "rl.module",
    "PixelPPOConfig": "rl.pixel_ppo",
    "PolicySnapshot": "rl.policies",
    "PolicySpec": "rl.policies",
    "Settings": "rl.settings",
    "load_policy": "rl.policies",
    "save_policy": "rl.policies",
}

__all__ = [
    "Dyna",
    "DynaConfig",
    "ImaginationPPO",
    "ImaginationPPOConfig",
    "ModulePolicy",
    "PixelModule",
    "PixelModuleConfig",
    "PixelPPOConfig",
    "PolicySnapshot",
    "PolicySpec",
    "Settings",
    "load_policy",
    "save_policy",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'rl' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
