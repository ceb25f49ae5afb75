"""Figures of a round that follow from what it did anyway: how fast it went, and what its play is made of."""

from collections.abc import Mapping

from rl.phases import Spent
from worldmodel.data.episode import Source
from worldmodel.data.sources import Played

BY_THE_CLOCK = ("seconds/", "restarts/", "rate/", "gpu_mb/")
"""how the names of those figures begin that differ whenever the same round is gone through again"""
_FIT = "fit "
"""how the names of a world model's stages begin, as phases"""
_STEPS = {"collect": "real_steps", "imagine": "imagined_steps"}
"""What the other phases that have a rate count."""


def rates(spent: Mapping[str, Spent]) -> dict[str, float]:
    """Steps and updates a second by the name of the figure, of those phases that took any time."""
    figures = {f"rate/{counted}": spent[phase] for phase, counted in _STEPS.items() if phase in spent}
    stages = {f"rate/{phase}": stage for phase, stage in spent.items() if phase.startswith(_FIT)}
    figures |= stages | {"rate/updates": sum(stages.values(), Spent())}
    # A phase that an earlier try had done already takes a moment, too, and does nothing.
    return {name: phase.units / phase.seconds for name, phase in figures.items() if phase.seconds and phase.units}


def buffer_figures(played: Mapping[Source, Played], capacity: int) -> dict[str, float]:
    """How full a buffer for about `capacity` steps is, and of each kind of player its steps and its mean return."""
    figures = {"buffer/fill": sum(part.steps for part in played.values()) / capacity}
    for source, part in played.items():
        player = "agent" if source == "policy" else source
        figures[f"buffer/steps_{player}"] = float(part.steps)
        figures[f"buffer/return_{player}"] = part.mean_return
    return figures
