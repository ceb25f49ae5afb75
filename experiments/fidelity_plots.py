"""The plots of `experiments/fidelity.py`."""

import math
from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.fidelity_results import FidelityResults
from experiments.plots import plot
from rl.ranking import Standing
from rl.statistics import Evaluation
from worldmodel.metrics.outcomes import OutcomeScores
from worldmodel.metrics.pictures import PictureScores

_STYLES = {"dream": "-", "last frame copied": ":", "autoencoder (ceiling)": "--"}


def save_plots(folder: Path, results: FidelityResults) -> list[str]:
    """Draw all plots into `folder`. Returns their files' names."""
    figures = {
        "free_running.png": picture_plot(results.free),
        "teacher_forced.png": picture_plot(results.forced),
        "reliability.png": reliability_plot(results.outcomes),
    }
    if results.standings:
        figures["returns.png"] = returns_plot(results.standings)
    for name, figure in figures.items():
        figure.savefig(folder / name)
    return list(figures)


def picture_plot(scores: PictureScores) -> Figure:
    """A row a metric: over all pixels on the left, over those that change on the right."""
    metrics = list(dict.fromkeys(curve.metric for curve in scores.curves))
    figure = Figure(figsize=(10, 3.2 * len(metrics)), layout="constrained")
    panels = figure.subplots(len(metrics), 2, squeeze=False, sharex=True)
    for row, metric in zip(panels, metrics, strict=True):
        for axes, pixels in zip(row, ("all", "changing"), strict=True):
            for curve in scores.curves:
                if (curve.metric, curve.pixels) == (metric, pixels):
                    values = [math.nan if value is None else value for value in curve.values]
                    axes.plot(scores.horizons, values, _STYLES[curve.prediction], marker=".", label=curve.prediction)
            axes.set(xscale="log", xlabel="steps dreamed", ylabel=metric, title=f"{pixels} pixels")
            axes.set_xticks(scores.horizons, [str(horizon) for horizon in scores.horizons])
            axes.minorticks_off()
            axes.grid(alpha=0.3)
    panels[0, 0].legend(fontsize="small")
    return figure


def reliability_plot(outcomes: Sequence[OutcomeScores]) -> Figure:
    """How often it happened against how probable it was told, a panel an event; the larger a dot the more steps."""
    events = [told.event for told in outcomes[0].events]
    figure = Figure(figsize=(4 * len(events), 4.2), layout="constrained")
    panels = figure.subplots(1, len(events), squeeze=False)[0]
    for index, (axes, event) in enumerate(zip(panels, events, strict=True)):
        _reliability(axes, outcomes, index)
        axes.set(title=event, xlabel="told probability", ylabel="share in which it happened")
    panels[0].legend(fontsize="small")
    return figure


def returns_plot(standings: Sequence[Standing]) -> Figure:
    """Dreamed against real mean returns, with 95% intervals; a true dream lies on the diagonal."""
    figure, axes = plot("mean return in the real game", "mean return in the dream")
    for standing in standings:
        x, y = standing.real, standing.dreamed
        axes.errorbar(x.mean, y.mean, xerr=_bars(x), yerr=_bars(y), marker="o", capsize=3, label=standing.name)
    _diagonal(axes)
    axes.legend(fontsize="small")
    return figure


def _reliability(axes: Axes, outcomes: Sequence[OutcomeScores], index: int) -> None:
    for scores in outcomes:
        bins = scores.events[index].scores.reliability
        told, happened = [b.told for b in bins], [b.happened for b in bins]
        (line,) = axes.plot(told, happened, label=scores.source)
        sizes = [12 * b.steps**0.5 for b in bins]
        axes.scatter(told, happened, s=sizes, color=line.get_color(), alpha=0.5)
    axes.plot((0, 1), (0, 1), color="grey", linestyle=":", label="as told")
    axes.grid(alpha=0.3)


def _diagonal(axes: Axes) -> None:
    low = min(axes.get_xlim()[0], axes.get_ylim()[0])
    high = max(axes.get_xlim()[1], axes.get_ylim()[1])
    axes.plot((low, high), (low, high), color="grey", linestyle=":", label="the same in both")


def _bars(judged: Evaluation) -> list[list[float]]:
    low, high = judged.interval
    return [[judged.mean - low], [high - judged.mean]]
