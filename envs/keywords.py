"""Keyword arguments for an environment of somebody else's, checked by its signature."""

import inspect
from collections.abc import Callable, Mapping
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from worldmodel.errors import UserError
from worldmodel.plain import checked, nearest

_OURS = "render_mode"
"""what a real game is always made with"""
_PLAIN = (bool, int, float, str, NoneType, Ellipsis)
_COMPOUND = (Union, UnionType, tuple)


def checked_keywords(maker: Callable[..., Any], keywords: Mapping[str, Any], env_id: str) -> dict[str, Any]:
    """The keywords as `maker`, the environment's class or a function that makes it, takes them.

    A value is checked where the parameter is annotated with a plain type, such as `int` or `tuple[int, int]`.

    Raises:
        UserError: Naming a keyword that it does not take, and the nearest one, or the type that a value must have.
    """
    parameters = inspect.signature(maker).parameters
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    known = [name for name in parameters if name not in (_OURS, "kwargs")]
    for name in keywords:
        if name == _OURS or not (name in known or takes_any):
            raise UserError(
                f"game.kwargs: {env_id} takes no {name!r}; {nearest(name, known) if known else 'leave it out.'}"
            )
    hints = _hints(maker)
    return {name: checked(hints.get(name, Any), value, "game.kwargs", name) for name, value in keywords.items()}


def _hints(maker: Callable[..., Any]) -> dict[str, Any]:
    """The types of its parameters, as far as they are plain."""
    try:
        hints = get_type_hints(maker.__init__ if inspect.isclass(maker) else maker)
    except (NameError, TypeError):
        return {}
    return {name: kind for name, kind in hints.items() if _is_plain(kind)}


def _is_plain(kind: Any) -> bool:
    if get_origin(kind) in _COMPOUND:
        return all(_is_plain(argument) for argument in get_args(kind))
    return kind in _PLAIN or get_origin(kind) is Literal
