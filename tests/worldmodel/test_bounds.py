from dataclasses import dataclass, field
from typing import Annotated

import pytest
from annotated_types import Interval

from worldmodel.bounds import Count, NotNegative, Share, Unbounded, check_bounds
from worldmodel.errors import UserError


@dataclass
class Inner:
    share: Share = 0.5
    shares: tuple[Share, ...] = (0.0, 1.0)
    calls: Annotated[int, Interval(ge=1, le=8)] = 2


@dataclass
class Outer:
    steps: int = 1
    rate: float | None = None
    updates: Count | None = None
    noise: NotNegative = 0.0
    mean: Unbounded = -3.0
    full: bool = False
    name: str = ""
    inner: Inner = field(default_factory=Inner)


def refusal(config):
    try:
        check_bounds(config, "mine.")
    except UserError as error:
        return str(error)
    return ""


def test_what_lies_within_passes():
    assert refusal(Outer()) == ""
    assert refusal(Outer(steps=1, rate=0.1, updates=0, noise=7.0, mean=0.0, inner=Inner(1.0, (), 8))) == ""


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        (Outer(steps=0), "mine.steps must be more than 0, not 0."),
        (Outer(rate=-0.5), "mine.rate must be more than 0, not -0.5."),
        (Outer(rate=float("nan")), "mine.rate must be a finite number, not nan."),
        (Outer(mean=float("-inf")), "mine.mean must be a finite number, not -inf."),
        (Outer(updates=-1), "mine.updates must be at least 0, not -1."),
        (Outer(noise=-1e-9), "mine.noise must be at least 0, not -1e-09."),
        (Outer(inner=Inner(share=1.01)), "mine.inner.share must be from 0 to 1, not 1.01."),
        (Outer(inner=Inner(shares=(0.5, -0.5))), "mine.inner.shares must be from 0 to 1, not -0.5."),
        (Outer(inner=Inner(calls=0)), "mine.inner.calls must be from 1 to 8, not 0."),
        (Outer(inner=Inner(calls=9)), "mine.inner.calls must be from 1 to 8, not 9."),
    ],
)
def test_what_lies_beyond_is_refused_by_name(config, sentence):
    assert refusal(config) == sentence
