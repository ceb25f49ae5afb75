"""From a Gymnasium id to a game."""

from collections.abc import Mapping
from dataclasses import fields
from difflib import get_close_matches
from importlib import import_module
from typing import Any

import gymnasium as gym
from gymnasium.envs.registration import EnvSpec

from envs.atari_config import AtariConfig
from envs.game import Game
from envs.guarded import GuardedGame
from envs.patience import time_limit
from worldmodel.errors import UserError, in_short
from worldmodel.spaces import FrameShape, FrameSize, shape_of

_ATARI = "ale_py.vector_env:AtariVectorEnv"


def open_game(
    env_id: str,
    *,
    frame_size: FrameSize,
    max_steps: int | None = None,
    kwargs: Mapping[str, Any] | None = None,
    atari: AtariConfig | None = None,
    patience: float | None = None,
) -> Game:
    """The game that `env_id` names; see `envs.make_real` for the arguments.

    Raises:
        UserError: If there is no such game, its actions can't be learned, it can't render, lacks a package, or does
            not take an option.
    """
    spec = find_spec(env_id)
    try:
        with time_limit(patience):
            game = _open(spec, shape_of(frame_size), max_steps, kwargs or {}, atari or AtariConfig())
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"{env_id} could not be opened ({in_short(error)}): mend the game, or choose another."
        ) from error
    return GuardedGame(game, env_id, patience)


def has_limit(env_id: str) -> bool:
    """Whether a game ends by itself after some number of steps, as Gymnasium knows it."""
    spec = find_spec(env_id)
    return spec.max_episode_steps is not None or spec.vector_entry_point == _ATARI


def _open(
    spec: EnvSpec, shape: FrameShape, max_steps: int | None, kwargs: Mapping[str, Any], atari: AtariConfig
) -> Game:
    if spec.vector_entry_point == _ATARI:
        if kwargs:
            raise UserError(f"{spec.id} takes no game.kwargs, here {', '.join(kwargs)}: its options are game.atari.")
        from envs.atari import AtariGame

        return AtariGame(spec.kwargs["game"], shape, max_steps, atari)
    _refuse_atari(atari, spec.id)
    from envs.rendered import RenderedGame

    return RenderedGame(spec.id, shape, max_steps, kwargs)


def _refuse_atari(config: AtariConfig, env_id: str) -> None:
    given = [field.name for field in fields(config) if getattr(config, field.name) != field.default]
    if given:
        names = ", ".join(f"game.atari.{name}" for name in given)
        raise UserError(f"{env_id} is no Atari game: leave out {names}.")


def find_spec(env_id: str) -> EnvSpec:
    """What Gymnasium knows about `env_id`, after importing the module in `module:Id`."""
    module, _, name = env_id.rpartition(":")
    if module:
        _import(module, env_id)
    elif name not in gym.registry:
        _register_atari()
    try:
        return gym.spec(name)
    except gym.error.Error as error:
        raise UserError(f"there is no game {env_id!r}{_advice(name, env_id.removesuffix(name))}") from error


def _import(module: str, env_id: str) -> None:
    try:
        import_module(module)
    except ModuleNotFoundError as error:
        raise UserError(
            f"{env_id!r} needs the module {error.name!r}: start from the folder that holds it, install it, or mend the"
            " id."
        ) from error
    except Exception as error:
        raise UserError(
            f"the module {module!r} of {env_id!r} could not be imported ({in_short(error)}): mend it."
        ) from error


def _register_atari() -> None:
    import ale_py

    gym.register_envs(ale_py)


def _advice(name: str, module: str) -> str:
    """The nearest id, by what follows a namespace if the namespace is missing."""
    names = {known.rpartition("/")[2]: known for known in gym.registry} | {known: known for known in gym.registry}
    nearest = get_close_matches(name, names, n=1)
    if nearest:
        return f": did you mean {module + names[nearest[0]]!r}?"
    return ": `gymnasium.pprint_registry()` lists those there are."
