"""Between a game's action space and the `ActionSpec` that its actions are stored and dreamed by."""

from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from worldmodel.errors import UserError
from worldmodel.spaces import ActionSpec


def spec_of(space: gym.Space[Any] | None, game: str) -> ActionSpec:
    """The actions of a game's space: choices are numbered from 0, whatever the space's shape is becomes one vector.

    Raises:
        UserError: If actions of this space can't be learned; `game` is named.
    """
    match space:
        case gym.spaces.Discrete():
            return ActionSpec.discrete(int(space.n))
        case gym.spaces.MultiDiscrete():
            return ActionSpec.multi_discrete(space.nvec.ravel().tolist())
        case gym.spaces.MultiBinary():
            return ActionSpec.multi_binary(int(np.prod(space.shape)))
        case gym.spaces.Box() if np.issubdtype(space.dtype, np.floating) and _bounded(space):
            return ActionSpec.box(space.low.ravel().tolist(), space.high.ravel().tolist())
    raise UserError(
        f"{game} has the action space {space}: wrap the game in gymnasium.wrappers.TransformAction to give it Discrete,"
        " MultiDiscrete or MultiBinary actions, or a Box of floats with finite bounds."
    )


def space_of(spec: ActionSpec) -> gym.Space[Any]:
    """The space of such actions, in its plainest form."""
    if spec.kind == "box":
        return gym.spaces.Box(np.array(spec.low, np.float32), np.array(spec.high, np.float32))
    spaces: dict[str, gym.Space[Any]] = {
        "discrete": gym.spaces.Discrete(spec.sizes[0]),
        "multi_discrete": gym.spaces.MultiDiscrete(list(spec.sizes)),
        "multi_binary": gym.spaces.MultiBinary(len(spec)),
    }
    return spaces[spec.kind]


def as_stored(spec: ActionSpec, actions: NDArray[Any]) -> NDArray[Any]:
    """Actions that somebody gives, (n, *spec.shape), as a dream takes them; numbers are clipped to their bounds.

    Raises:
        UserError: If a choice is none of the game's, or a number is not finite: both would be dreamed all the same.
    """
    fits = np.isfinite(actions) if spec.kind == "box" else _are_choices(spec, actions)
    fitting = fits.reshape(len(actions), -1).all(1)
    if not fitting.all():
        raise UserError(
            f"{actions[fitting.argmin()].tolist()} is no action of the game, which has {spec}: take one of the"
            " environment's action_space."
        )
    return (actions.clip(spec.low, spec.high) if spec.kind == "box" else actions).astype(spec.dtype)


def native(space: gym.Space[Any], action: Any) -> Any:
    """One action, as stored, in the form that the game with this space takes."""
    match space:
        case gym.spaces.Discrete():
            return int(action) + int(space.start)
        case gym.spaces.MultiDiscrete():
            return (np.reshape(action, space.shape) + space.start).astype(space.dtype)
        case gym.spaces.Box():
            # A float32 may lie just past a float64 bound.
            return np.reshape(action, space.shape).astype(space.dtype).clip(space.low, space.high)
    return np.reshape(action, space.shape or ()).astype(space.dtype)


def _are_choices(spec: ActionSpec, values: NDArray[Any]) -> NDArray[np.bool_]:
    return (values >= 0) & (values < np.reshape(spec.sizes, spec.shape))


def _bounded(space: gym.spaces.Box) -> bool:
    with np.errstate(over="ignore"):
        return bool(np.isfinite(space.high.astype(np.float32) - space.low.astype(np.float32)).all())
