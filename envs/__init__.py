"""Games as Gymnasium environments: the real ones as pixels, and the learned one.

Importing this package registers `NeuralEnv-v0` and is cheap: torch and the games are loaded when first needed, so
`gym.make("envs:NeuralEnv-v0", world_model=...)` needs no import before it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

import gymnasium as gym

if TYPE_CHECKING:
    from envs.atari_config import AtariConfig
    from envs.encoded import EncodeObservation, StackObservation
    from envs.neural import NeuralEnv
    from envs.neural_vector import NeuralVectorEnv
    from envs.real import RealVectorEnv, action_spec, make_real
    from envs.real_dreams import RealDreams
    from envs.real_games import RealGames
    from envs.replay import Replay, find_replays
    from envs.stack import stack_context, stack_push, stack_start

_HOMES = {
    "AtariConfig": "envs.atari_config",
    "EncodeObservation": "envs.encoded",
    "NeuralEnv": "envs.neural",
    "NeuralVectorEnv": "envs.neural_vector",
    "RealDreams": "envs.real_dreams",
    "RealGames": "envs.real_games",
    "RealVectorEnv": "envs.real",
    "Replay": "envs.replay",
    "StackObservation": "envs.encoded",
    "action_spec": "envs.real",
    "find_replays": "envs.replay",
    "make_real": "envs.real",
    "stack_context": "envs.stack",
    "stack_push": "envs.stack",
    "stack_start": "envs.stack",
}

__all__ = [
    "AtariConfig",
    "EncodeObservation",
    "NeuralEnv",
    "NeuralVectorEnv",
    "RealDreams",
    "RealGames",
    "RealVectorEnv",
    "Replay",
    "StackObservation",
    "action_spec",
    "find_replays",
    "make_real",
    "stack_context",
    "stack_push",
    "stack_start",
]

gym.register(
    "NeuralEnv-v0",
    entry_point="envs.neural:NeuralEnv",
    vector_entry_point="envs.neural_vector:NeuralVectorEnv",
    nondeterministic=False,
)
gym.register("RealDreams-v0", vector_entry_point="envs.real_dreams:RealDreams")
gym.register("RealGames-v0", vector_entry_point="envs.real_games:RealGames")


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'envs' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
