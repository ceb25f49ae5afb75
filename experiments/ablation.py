"""An ablation on disk: what runs reached in which one thing was left out or changed, by row and seed.

docs/results/ablation_<name>.json
game, command, machine
settings      every setting of the row `all`, by its dotted name
rows          by row and seed: what the last agent and the last world model of that run reached, and what it cost
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from experiments.changes import RowName
from experiments.provenance import machine
from worldmodel.errors import UserError
from worldmodel.files import write_json
from worldmodel.plain import from_plain


@dataclass(frozen=True)
class AblationResult:
    """What one run reached.

    Attributes:
        returns: Of the last agent, one a real game.
        changing: Mean PSNR (dB) of the last world model's dreams over changing pixels; None if it was not judged.
        end_precision: Its average precision for ends at their very step, in free-running dreams.
        imagined_length: Steps that the last agent's last dreams took.
        real_steps: Behind the agent.
        seconds: Wall time.
        commit: The code that ran.
    """

    returns: tuple[float, ...]
    changing: float | None
    end_precision: float | None
    imagined_length: float
    real_steps: int
    seconds: float
    commit: str

    @property
    def mean(self) -> float:
        """Mean return."""
        return sum(self.returns) / len(self.returns)


@dataclass(frozen=True)
class Ablation:
    """Rows that differ in one thing each, by seed."""

    game: str
    command: str
    machine: str
    settings: dict[str, Any]
    rows: dict[str, dict[str, AblationResult]] = field(default_factory=dict)

    def of(self, row: RowName) -> Mapping[str, AblationResult]:
        """A row's results by seed."""
        return self.rows.get(row, {})

    def added(self, row: RowName, seed: int, result: AblationResult) -> "Ablation":
        """The ablation with one more result."""
        return replace(self, rows={**self.rows, row: {**self.of(row), str(seed): result}})


def open_ablation(path: Path, game: str, settings: Mapping[str, Any], command: str) -> Ablation:
    """The ablation in the file, or a new one that is not written yet.

    Raises:
        UserError: If the file holds one of other settings; naming those.
    """
    fresh = Ablation(game, command, machine(), dict(settings))
    if not path.exists():
        return fresh
    there = read_ablation(path)
    if differing := [name for name in settings if there.settings.get(name, settings[name]) != settings[name]]:
        raise UserError(f"{path} holds an ablation of another {', '.join(differing)}; give --results another file.")
    return replace(fresh, rows=there.rows)


def read_ablation(path: Path) -> Ablation:
    """Read what `write_ablation` wrote.

    Raises:
        UserError: If it is damaged or missing.
    """
    try:
        values = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{path} holds no ablation ({error}): restore it from a copy, or give another.") from error
    return from_plain(Ablation, values, str(path))


def write_ablation(path: Path, ablation: Ablation) -> None:
    """Write it, whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, asdict(ablation))
