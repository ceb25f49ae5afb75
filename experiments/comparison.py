"""A comparison on disk: what every kind of agent reached with every seed, in one JSON file.

docs/results/compare_<name>.json
game, command, machine
settings      every setting by its dotted name
rows          by row and seed: the agent's way, with the return of every game that judged it, and what it cost
"""

from dataclasses import dataclass, field
from typing import Literal, cast

from experiments.recorded import Recorded
from rl.settings import RealPlaySettings

RowName = Literal[
    "imagination", "random", "model_free", "model_free_more", "fine_tuned", "ceiling", "fresh_rllib", "fresh_torch"
]


@dataclass(frozen=True, kw_only=True)
class CompareSettings:
    """What is compared beside a run of Dyna."""

    times: int = 10
    """the row `model_free_more` learns from so many times the real steps of imagination"""
    points: int = 5
    """how often an agent that learns in the real game is judged on its way"""
    episodes: int | None = None
    """real games that judge every finished agent; None: as `evaluate.episodes`"""
    play: RealPlaySettings = field(default_factory=RealPlaySettings)
    fine_tune: RealPlaySettings = field(default_factory=lambda: RealPlaySettings(learning_rate=1e-4))
    fine_tune_steps: int = 5000
    """real steps by which the row `fine_tuned` goes on from imagination"""


@dataclass(frozen=True)
class Point:
    """An agent that was judged, perhaps on its way.

    Attributes:
        real_steps: All real steps behind it: its own, the world model's and the expert's.
        seconds: Wall time behind it, without that of judging.
        returns: One a real game.
    """

    real_steps: int
    seconds: float
    returns: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Mean return."""
        return sum(self.returns) / len(self.returns)


@dataclass(frozen=True)
class RowResult:
    """What one kind of agent reached with one seed.

    Attributes:
        points: Its way; the last is the finished agent, never the best.
        imagined_steps: Imagined steps behind it: those that it learned from, and those of the agents whose play made
            its world model.
        expert_steps: How many of its real steps trained an expert.
        commit: The code that ran.
    """

    points: tuple[Point, ...]
    imagined_steps: int = 0
    expert_steps: int = 0
    commit: str = ""

    @property
    def final(self) -> Point:
        """The finished agent."""
        return self.points[-1]


@dataclass(frozen=True)
class Comparison(Recorded[RowResult]):
    """Rows that differ in how the agent learns."""

    NOUN = "comparison"

    rows: dict[str, dict[str, RowResult]] = field(default_factory=dict)

    def by_seed(self, seed: int) -> dict[RowName, RowResult]:
        """A seed's results by row."""
        return {cast(RowName, row): found[str(seed)] for row, found in self.rows.items() if str(seed) in found}

    def scores(self, row: RowName) -> list[float]:
        """The mean return of each seed's finished agent."""
        return [result.final.mean for result in self.of(row).values()]
