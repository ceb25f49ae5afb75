"""How a run of Dyna is configured, in RLlib's manner."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from rl.imagination import ImaginationPPO, ImaginationPPOConfig
from rl.settings import Settings
from worldmodel.plain import overlay


class DynaConfig(ImaginationPPOConfig):
    """All that a run of Dyna is told; `settings` holds it, and RLlib's own fields follow from that."""

    def __init__(
        self,
        settings: Settings | None = None,
        folder: Path | None = None,
        algo_class: type[ImaginationPPO] | None = None,
    ) -> None:
        """Configure a run.

        Args:
            settings: What to do.
            folder: Where the run keeps its buffer; None: in the algorithm's own log folder.
            algo_class: The algorithm; None: `Dyna`.
        """
        from rl.dyna import Dyna

        super().__init__(algo_class=algo_class or Dyna)
        self.folder = folder
        self.tuned: dict[str, Any] = {}
        self.dyna(settings or Settings())

    def dyna(self, settings: Settings) -> Self:
        """Take all settings at once."""
        self.settings = self._taken = settings
        return self.debugging(seed=settings.seed).agent(settings.imagine).training(lr=_learning_rate(settings))

    def tune(self, changes: Mapping[str, Any]) -> Self:
        """Change settings by their dotted names: to values, or to search spaces of Ray Tune."""
        self.tuned = dict(changes)
        return self

    def resolved(self) -> Self:
        """This config with what was tuned worked into its settings; what RLlib was told since they were taken stays.

        Raises:
            UserError: If a name is not a setting.
        """
        settings = overlay(self.settings, _nested(self.tuned), "tune")
        return self if settings == self._taken else self.dyna(settings)


def _learning_rate(settings: Settings) -> float | list[list[float]]:
    """The agent's learning rate, or its schedule over the imagined steps of its life, as RLlib takes it."""
    imagine = settings.imagine
    if imagine.learning_rate_end is None:
        return imagine.learning_rate
    steps = imagine.steps if imagine.afresh else settings.rounds * imagine.steps
    return [[0, imagine.learning_rate], [steps, imagine.learning_rate_end]]


def _nested(overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted names as nested tables."""
    tables: dict[str, Any] = {}
    for name, value in overrides.items():
        *path, last = name.split(".")
        table = tables
        for part in path:
            table = table.setdefault(part, {})
        table[last] = value
    return tables
