"""Bounds of a configuration's numbers, which stand beside them.

    shift: Share = 0.5
    steps: Annotated[int, Interval(ge=1, le=8)] = 2

A number beside which nothing stands must be more than 0.
"""

import math
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Annotated, Any, TypeAlias, get_args, get_origin, get_type_hints

from annotated_types import Interval

from worldmodel.errors import UserError

Share: TypeAlias = Annotated[float, Interval(ge=0, le=1)]
NotNegative: TypeAlias = Annotated[float, Interval(ge=0)]
Count: TypeAlias = Annotated[int, Interval(ge=0)]
"""of what there may be none"""
Unbounded: TypeAlias = Annotated[float, Interval()]
_POSITIVE = Interval(gt=0)


def check_bounds(config: Any, prefix: str = "") -> None:
    """Refuse numbers of a dataclass, and of those in it, that lie beyond what is written beside them.

    Args:
        config: The dataclass.
        prefix: What stands before the names of its fields.

    Raises:
        UserError: Naming the number and what it may be.
    """
    hints = get_type_hints(type(config), include_extras=True)
    for field in fields(config):
        value, name = getattr(config, field.name), prefix + field.name
        if is_dataclass(value):
            check_bounds(value, f"{name}.")
        for number in value if isinstance(value, tuple) else (value,):
            if isinstance(number, int | float) and not isinstance(number, bool):
                _check(name, number, next(_intervals(hints[field.name]), _POSITIVE))


def _intervals(hint: Any) -> Iterator[Interval]:
    """Those that a type is annotated with, or a part of it."""
    if get_origin(hint) is Annotated:
        yield from (note for note in get_args(hint)[1:] if isinstance(note, Interval))
    for part in get_args(hint):
        yield from _intervals(part)


def _check(name: str, number: float, interval: Interval) -> None:
    if not math.isfinite(number):
        raise UserError(f"{name} must be a finite number, not {number}.")
    above = interval.gt is None or number > interval.gt  # type: ignore[operator]
    least = interval.ge is None or number >= interval.ge  # type: ignore[operator]
    most = interval.le is None or number <= interval.le  # type: ignore[operator]
    if not (above and least and most):
        raise UserError(f"{name} must be {_in_words(interval)}, not {number}.")


def _in_words(interval: Interval) -> str:
    if interval.le is not None:
        return f"from {interval.ge} to {interval.le}"
    return f"more than {interval.gt}" if interval.ge is None else f"at least {interval.ge}"
