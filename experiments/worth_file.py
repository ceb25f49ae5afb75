"""The recorded results of `experiments/base_worth.py`.

base, command, machine, commit
settings      every setting by its dotted name
results       one for each game, arm, seed and number of seconds
"""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from experiments.base_arms import ArmResult
from experiments.provenance import commit, machine
from experiments.recorded import read_record
from worldmodel.errors import UserError
from worldmodel.files import write_json
from worldmodel.plain import dotted, to_plain

_MAY_DIFFER = ("games", "seconds", "seeds", "threads", "runs_dir", "record")


@dataclass(frozen=True)
class WorthRecord:
    """What the file holds."""

    base: str
    command: str
    machine: str
    commit: str
    settings: dict[str, Any]
    results: tuple[ArmResult, ...] = ()


class WorthFile:
    """Results that grow, arm by arm."""

    def __init__(self, path: Path, options: Any, command: str) -> None:
        """Go on with the file at `path`, or begin one.

        Raises:
            UserError: If it holds the results of other settings.
        """
        self._path = path
        settings = to_plain(dotted(options))
        self._record = WorthRecord(options.base, command, machine(), commit(), settings)
        if path.exists():
            self._record = replace(self._record, results=self._read(settings))

    @property
    def results(self) -> list[ArmResult]:
        """All of them."""
        return list(self._record.results)

    def has(self, game: str, arm: str, seed: int, seconds: float) -> bool:
        """Whether this arm's result is there."""
        return any((r.game, r.arm, r.seed, r.seconds) == (game, arm, seed, seconds) for r in self._record.results)

    def add(self, result: ArmResult) -> None:
        """Add a result, and write the file."""
        self._record = replace(self._record, results=(*self._record.results, result))
        self._path.parent.mkdir(parents=True, exist_ok=True)
        write_json(self._path, asdict(self._record))

    def _read(self, settings: dict[str, Any]) -> tuple[ArmResult, ...]:
        stored = read_record(WorthRecord, self._path, "results")
        for name, value in stored.settings.items():
            if name not in _MAY_DIFFER and settings.get(name, value) != value:
                raise UserError(f"{self._path} holds results of another {name}; give --record another file.")
        return stored.results
