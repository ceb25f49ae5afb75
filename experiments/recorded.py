"""Results by row and seed in one JSON file, which grows as runs come to their end."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Generic, Self, TypeVar

from experiments.provenance import differing, machine, shared
from worldmodel.errors import UserError
from worldmodel.files import write_json
from worldmodel.plain import read_plain

R = TypeVar("R")
T = TypeVar("T")


def read_record(kind: type[T], path: Path, noun: str) -> T:
    """The dataclass `kind` in a JSON file; `noun` says what it holds, for people.

    Raises:
        UserError: If it is damaged or missing.
    """
    return read_plain(kind, path, f"holds no {noun}", "restore it from a copy, or give another file")


@dataclass(frozen=True)
class Judged:
    """What an agent reached.

    Attributes:
        returns: In the real game, one a game.
    """

    returns: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Mean real return."""
        return sum(self.returns) / len(self.returns)


def beside(results: Mapping[str, Judged], others: Mapping[str, Judged]) -> str:
    """By how much the agents do better than the others of the same seeds, in the mean; empty where there are none."""
    apart = [result.mean - others[seed].mean for seed, result in results.items() if seed in others]
    return f"{sum(apart) / len(apart):+.1f}" if apart else ""


@dataclass(frozen=True)
class Recorded(Generic[R]):
    """Rows that differ in one thing each, by seed; a subclass says what a result is.

    Attributes:
        NOUN: What such a file holds, for people.
    """

    NOUN: ClassVar[str] = "results"

    game: str
    command: str
    machine: str
    settings: dict[str, Any]
    rows: dict[str, dict[str, R]] = field(default_factory=dict)

    @classmethod
    def opened(
        cls, path: Path, game: str, settings: Mapping[str, Any], defaults: Mapping[str, Any], command: str
    ) -> Self:
        """What the file holds, or a beginning that is not written yet.

        Raises:
            UserError: If the file holds results of other settings; naming those.
        """
        fresh = cls(game, command, machine(), shared(settings))
        if not path.exists():
            return fresh
        there = cls.read(path)
        if names := differing(there.settings, settings, defaults):
            raise UserError(f"{path} holds the results of another {', '.join(names)}; give --results another file.")
        return replace(fresh, rows=there.rows)

    @classmethod
    def read(cls, path: Path) -> Self:
        """What `write` wrote.

        Raises:
            UserError: If it is damaged or missing.
        """
        return read_record(cls, path, cls.NOUN)

    def write(self, path: Path) -> None:
        """Write it, whole."""
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, asdict(self))

    def reopened(self, path: Path) -> Self:
        """The same with the rows that are in its file by now: others may add seeds to it."""
        return replace(self, rows=self.read(path).rows) if path.exists() else self

    def of(self, row: str) -> Mapping[str, R]:
        """A row's results by seed."""
        return self.rows.get(row, {})

    def added(self, row: str, seed: int, result: R) -> Self:
        """The same with one more result."""
        return replace(self, rows={**self.rows, row: {**self.of(row), str(seed): result}})
