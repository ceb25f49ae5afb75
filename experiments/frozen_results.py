"""Agents in frozen world models, on disk.

docs/results/frozen_<game>.json
game, command, machine
settings      every setting of the runs, by its dotted name
rows          by row and by the seed of the run in whose world model an agent learned: what it reached, and what it cost
"""

from dataclasses import dataclass, field

from experiments.recorded import Judged, Recorded


@dataclass(frozen=True)
class FrozenResult(Judged):
    """What one agent reached.

    Attributes:
        imagined_return: Mean of its last dreams, cut where dreams are.
        imagined_length: Mean steps of those.
        imagined_steps: It learned from.
        seconds: To learn.
        commit: The code that ran.
    """

    imagined_return: float
    imagined_length: float
    imagined_steps: int
    seconds: float
    commit: str


@dataclass(frozen=True)
class Frozen(Recorded[FrozenResult]):
    """Rows in which one thing each was otherwise as an agent learned."""

    NOUN = "results of frozen world models"

    rows: dict[str, dict[str, FrozenResult]] = field(default_factory=dict)
