"""Which trials of a sweep are given up before their last round."""

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Interval

from worldmodel.bounds import check_bounds
from worldmodel.errors import UserError


@dataclass(frozen=True)
class EarlyStopping:
    """Asynchronous successive halving (ASHA: Li et al., 2020).

    After `grace` rounds, and again whenever it has gone through `reduction` times as many, a trial ends that is not
    among the best of those that have come so far; the share that goes on is one in `reduction`. No trial waits for
    others, so the first to come somewhere goes on.
    """

    grace: int = 1
    """rounds that every trial is given"""
    reduction: Annotated[float, Interval(gt=1)] = 3.0
    """of so many trials one goes on"""

    def check(self, rounds: int) -> None:
        """Refuse what would stop nothing in trials of `rounds` rounds.

        Raises:
            UserError: Naming the number and what it may be.
        """
        check_bounds(self)
        if self.grace >= rounds:
            raise UserError(
                f"grace is {self.grace} and rounds is {rounds}, so no trial could be stopped before its end: raise"
                " rounds, lower grace, or stop nothing early."
            )
