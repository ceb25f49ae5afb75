"""Dataclasses as plain values, the kind that JSON and TOML hold, and back with every name and type checked."""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import MISSING, Field, fields, is_dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from worldmodel.errors import UserError

T = TypeVar("T")
_COMPOUNDS = {tuple: "a list", dict: "a table"}
_NOUNS = {bool: "true or false", int: "a whole number", float: "a number", str: "a text", Path: "a path"}


def to_plain(value: Any) -> Any:
    """`value`, a dataclass or any nesting of them, as dictionaries, lists, numbers and texts."""
    if is_dataclass(value):
        return {field.name: to_plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {key: to_plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [to_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def from_plain(kind: type[T], values: Any, source: str) -> T:
    """The dataclass `kind` that `to_plain` took apart.

    Args:
        kind: The dataclass.
        values: What `to_plain` gave.
        source: Where `values` come from; errors begin with it.

    Raises:
        UserError: If a name is unknown or missing, or a value has the wrong type.
    """
    converted = _checked(kind, values, source, "")
    for field in fields(kind):  # type: ignore[arg-type]
        if field.name not in converted and not _has_default(field):
            raise UserError(f"{source}: {field.name!r} is missing; write it, or take a whole file.")
    try:
        return kind(**converted)
    except ValueError as error:
        raise UserError(f"{source}: {error}.") from error


def read_plain(kind: type[T], path: Path, fault: str, remedy: str) -> T:
    """The dataclass `kind` from a JSON file.

    Args:
        kind: The dataclass.
        path: The file.
        fault: What is said of it if it cannot be read.
        remedy: What helps then.

    Raises:
        UserError: If it is damaged or missing.
    """
    try:
        values = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{path} {fault} ({error}): {remedy}.") from error
    return from_plain(kind, values, str(path))


def overlay(base: T, values: Any, source: str, prefix: str = "") -> T:
    """The dataclass `base` with those fields replaced that `values` names, at any depth.

    Raises:
        UserError: If a name is unknown (the nearest is told), or a value has the wrong type.
    """
    names = [field.name for field in fields(base) if is_dataclass(getattr(base, field.name))]  # type: ignore[arg-type]
    nested = {key: value for key, value in _mapping(values, source, prefix).items() if _spelled(key) in names}
    flat = {key: value for key, value in values.items() if key not in nested}
    changes = _checked(type(base), flat, source, prefix)
    for key, value in nested.items():
        name = _spelled(key)
        changes[name] = overlay(getattr(base, name), value, source, f"{prefix}{name}.")
    return replace(base, **changes)  # type: ignore[type-var]


def dotted(value: Any, prefix: str = "") -> dict[str, Any]:
    """Every leaf of a dataclass by its dotted name: `{"fit.steps": 300, ...}`."""
    leaves: dict[str, Any] = {}
    for field in fields(value):
        item, name = getattr(value, field.name), f"{prefix}{field.name}"
        leaves |= dotted(item, f"{name}.") if is_dataclass(item) else {name: item}
    return leaves


def nearest(name: str, names: list[str]) -> str:
    """A closing clause that names what `name` may have meant."""
    close = get_close_matches(name, names, n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else f"known are {', '.join(sorted(names))}."


def checked(kind: Any, value: Any, source: str, name: str) -> Any:
    """`value` as JSON or TOML has it, converted to the type `kind`.

    Raises:
        UserError: If it has another type; the error begins with `source` and names `name`.
    """
    origin, arguments = get_origin(kind), get_args(kind)
    if kind is Any:
        return value
    if origin in (Union, UnionType):
        return _checked_by_any(arguments, value, source, name)
    if origin is tuple and isinstance(value, list | tuple) and _fits(value, arguments):
        return tuple(checked(arguments[0], item, source, name) for item in value)
    if origin is dict and isinstance(value, Mapping):
        return {key: checked(arguments[1], item, source, name) for key, item in value.items()}
    if is_dataclass(kind):
        return from_plain(kind, value, source)  # type: ignore[arg-type]
    return _leaf(kind, value, source, name)


def _checked_by_any(kinds: tuple[Any, ...], value: Any, source: str, name: str) -> Any:
    if value is None and NoneType in kinds:
        return None
    *others, last = (kind for kind in kinds if kind is not NoneType)
    for kind in others:
        with suppress(UserError):
            return checked(kind, value, source, name)
    return checked(last, value, source, name)


def _fits(values: Sequence[Any], kinds: tuple[Any, ...]) -> bool:
    return Ellipsis in kinds or len(values) == len(kinds)


def _checked(kind: type, values: Any, source: str, prefix: str) -> dict[str, Any]:
    hints = get_type_hints(kind)
    names = [field.name for field in fields(kind)]
    converted = {}
    for key, value in _mapping(values, source, prefix).items():
        name = _spelled(key)
        if name not in names:
            raise UserError(f"{source}: {prefix + key!r} is not a setting; {nearest(name, names)}")
        converted[name] = checked(hints[name], value, source, prefix + name)
    return converted


def _mapping(values: Any, source: str, prefix: str) -> Mapping[str, Any]:
    if not isinstance(values, Mapping):
        raise UserError(f"{source}: {prefix.rstrip('.') or 'the file'} must be a table of settings, not {values!r}.")
    return values


def _leaf(kind: Any, value: Any, source: str, name: str) -> Any:
    if get_origin(kind) is Literal and value in get_args(kind):
        return value
    if kind is Path and isinstance(value, str):
        return Path(value)
    if kind is float and type(value) is int:
        return float(value)
    if isinstance(kind, type) and isinstance(value, kind) and isinstance(value, bool) == (kind is bool):
        return value
    raise UserError(f"{source}: {name} must be {_noun(kind)}, not {value!r}{_meant(kind, value)}")


def _noun(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(map(str, get_args(kind)))
    return _NOUNS.get(kind) or _COMPOUNDS.get(get_origin(kind), str(kind))


def _meant(kind: Any, value: Any) -> str:
    """How the sentence ends: with the choice that comes nearest, if one does."""
    choices = [str(choice) for choice in get_args(kind)] if get_origin(kind) is Literal else []
    close = get_close_matches(str(value), choices, n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else "."


def _spelled(key: str) -> str:
    return key.replace("-", "_")


def _has_default(field: Field[Any]) -> bool:
    return field.default is not MISSING or field.default_factory is not MISSING
