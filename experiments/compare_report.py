"""A comparison's tables and plots."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import StrMethodFormatter
from rich.console import Console
from rich.table import Table

from experiments.aggregate import Estimate, improvement, interquartile_mean
from experiments.atari100k import reference, track
from experiments.comparison import CompareSettings, Comparison, Point, RowName
from experiments.plots import plot
from experiments.table import new_table
from rl.settings import Settings
from rl.statistics import bootstrap_interval

_RIVALS: tuple[RowName, ...] = ("random", "model_free", "model_free_more")
_WHOLE = StrMethodFormatter("{x:,.0f}")


def print_comparison(
    console: Console,
    comparison: Comparison,
    settings: Settings,
    compare: CompareSettings,
    others: Sequence[Comparison] = (),
) -> None:
    """Print everything that the comparison says.

    Args:
        console: Where to.
        comparison: The comparison.
        settings: The settings of its runs.
        compare: What was compared.
        others: Comparisons in other Atari games, to be aggregated with it.
    """
    names = names_of(comparison, compare)
    tables = [_returns_table(comparison, names, settings, compare), _seeds_table(comparison, names)]
    if others:
        tables.append(_games_table([comparison, *others], names))
    for table in tables:
        console.print()
        console.print(table)
    for sentence in _verdicts(comparison, names):
        console.print(sentence, highlight=False)


def names_of(comparison: Comparison, compare: CompareSettings) -> dict[RowName, str]:
    """What a person calls the rows that are there, in the order of the table."""
    names: dict[RowName, str] = {
        "random": "random policy",
        "model_free": "model-free PPO, same real steps",
        "model_free_more": f"model-free PPO, {compare.times} times as many",
        "imagination": "imagination alone",
        "fine_tuned": "imagination, then the real game",
        "ceiling": "ceiling: the real game as the dream",
        "fresh_rllib": "frozen model, fresh agent (RLlib)",
        "fresh_torch": "frozen model, fresh agent (plain torch)",
    }
    return {row: name for row, name in names.items() if comparison.of(row)}


def draw(comparison: Comparison, compare: CompareSettings, path: Path) -> list[Path]:
    """Plot real return against real steps and against wall time, beside the JSON file at `path`. Returns the plots."""
    drawn = {
        "steps": ("real steps", lambda point: point.real_steps),
        "time": ("wall time without judging, s", lambda point: point.seconds),
    }
    pictures = []
    for suffix, (label, where) in drawn.items():
        picture = path.with_name(f"{path.stem}_{suffix}.png")
        learning_curves(comparison, names_of(comparison, compare), label, where).savefig(picture)
        pictures.append(picture)
    return pictures


def learning_curves(
    comparison: Comparison, names: dict[RowName, str], label: str, where: Callable[[Point], float]
) -> Figure:
    """Real return, mean over seeds with 95% intervals, against what `where` says of a point."""
    figure, axes = plot(label, "real return")
    for row, name in names.items():
        _draw_row(axes, comparison, row, name, where)
    lowest, highest = axes.dataLim.intervalx
    # Within a decade hardly a place of a logarithmic axis would bear a number.
    if highest > 10 * max(lowest, 1):
        axes.set_xscale("symlog", linthresh=100, subs=(2, 5))
        axes.xaxis.set_minor_formatter(_WHOLE)
    axes.xaxis.set_major_formatter(_WHOLE)
    axes.legend(fontsize="small")
    return figure


def _draw_row(axes: Axes, comparison: Comparison, row: RowName, name: str, where: Callable[[Point], float]) -> None:
    ways = [result.points for result in comparison.of(row).values()]
    places = [float(np.mean([where(point) for point in points])) for points in zip(*ways, strict=True)]
    means = [[point.mean for point in points] for points in zip(*ways, strict=True)]
    middle = [float(np.mean(column)) for column in means]
    bars = np.abs(np.transpose([bootstrap_interval(column) for column in means]) - np.array(middle))
    if row == "random":
        axes.axhline(middle[-1], color="grey", linestyle=":", label=name)
    else:
        axes.errorbar(places, middle, yerr=bars, marker="o", capsize=3, label=name)


def _returns_table(
    comparison: Comparison, names: dict[RowName, str], settings: Settings, compare: CompareSettings
) -> Table:
    table = new_table(f"Real return in {comparison.game}, the last agent of every seed", "player")
    scores = reference(comparison.game)
    for column in ("seeds", "real steps", "imagined", "minutes", "mean", "IQM", "95% interval"):
        table.add_column(column, justify="right", no_wrap=True)
    if scores:
        table.add_column("human-normalised", justify="right", no_wrap=True)
        table.add_column("track")
    for row, name in names.items():
        cells = [name, *_costs(comparison, row), *_judged(comparison, row)]
        if scores:
            cells += [f"{scores.normalised(interquartile_mean([comparison.scores(row)]).value):.3f}"]
            cells += [_track(comparison, row, settings, compare)]
        table.add_row(*cells)
    table.caption = (
        f"{_games(comparison)} real games a seed, the same for every player. Real steps are all behind the agent: its"
        " own, the world model's, the expert's. IQM of the seeds' means; interval by stratified bootstrap. Who learns"
        " without a model has the PPO and the network of imagination, and sees frames."
    )
    return table


def _costs(comparison: Comparison, row: RowName) -> list[str]:
    results = list(comparison.of(row).values())
    steps = np.mean([result.final.real_steps for result in results])
    imagined = np.mean([result.imagined_steps for result in results])
    minutes = np.mean([result.final.seconds for result in results]) / 60
    return [str(len(results)), f"{steps:,.0f}", f"{imagined:,.0f}", f"{minutes:.1f}"]


def _judged(comparison: Comparison, row: RowName) -> list[str]:
    scores = comparison.scores(row)
    found = interquartile_mean([scores])
    return [f"{np.mean(scores):.1f}", f"{found.value:.1f}", _interval(found, ".1f")]


def _track(comparison: Comparison, row: RowName, settings: Settings, compare: CompareSettings) -> str:
    results = comparison.of(row).values()
    judged = min(len(result.final.returns) for result in results)
    return track(settings, judged, max(result.final.real_steps for result in results))


def _seeds_table(comparison: Comparison, names: dict[RowName, str]) -> Table:
    table = new_table("Mean real return by seed", "player")
    seeds = sorted({seed for row in names for seed in comparison.of(row)}, key=int)
    for seed in seeds:
        table.add_column(seed, justify="right", no_wrap=True)
    for row, name in names.items():
        results = comparison.of(row)
        table.add_row(name, *(f"{results[seed].final.mean:.1f}" if seed in results else "" for seed in seeds))
    return table


def _games_table(comparisons: Sequence[Comparison], names: dict[RowName, str]) -> Table:
    """The rows that all of the comparisons have, on the scale that random play and the human tester make."""
    table = new_table(f"Human-normalised, {len(comparisons)} games", "player")
    for column in ("IQM", "95% interval"):
        table.add_column(column, justify="right", no_wrap=True)
    for row, name in names.items():
        if all(comparison.of(row) for comparison in comparisons):
            found = interquartile_mean([_normalised(comparison, row) for comparison in comparisons])
            table.add_row(name, f"{found.value:.3f}", _interval(found, ".3f"))
    return table


def _normalised(comparison: Comparison, row: RowName) -> list[float]:
    scores = reference(comparison.game)
    assert scores is not None
    return [scores.normalised(score) for score in comparison.scores(row)]


def _verdicts(comparison: Comparison, names: dict[RowName, str]) -> list[str]:
    """How imagination stands to those without a model, and to its ceiling, in sentences."""
    if "imagination" not in names:
        return []
    sentences = [_against(comparison, row, names[row]) for row in _RIVALS if row in names]
    if pairs := _pairs(comparison, "ceiling"):
        dreamed, perfect = (float(np.mean(returns)) for returns in zip(*pairs, strict=True))
        # A share means something where returns are above 0.
        share = f"{dreamed / perfect:.0%}" if min(dreamed, perfect) > 0 else f"{dreamed:.1f}, beside the {perfect:.1f}"
        sentences.append(f"Imagination reaches {share} of its ceiling, over {len(pairs)} of the seeds.")
    return sentences


def _pairs(comparison: Comparison, row: RowName) -> list[tuple[float, float]]:
    """Mean returns of imagination and of another row, for every seed that has both."""
    ours, theirs = comparison.of("imagination"), comparison.of(row)
    return [(ours[seed].final.mean, theirs[seed].final.mean) for seed in ours if seed in theirs]


def _against(comparison: Comparison, row: RowName, name: str) -> str:
    pairs = _pairs(comparison, row)
    above = sum(ours > theirs for ours, theirs in pairs)
    found = improvement([comparison.scores("imagination")], [comparison.scores(row)])
    interval = "" if math.isnan(found.low) else f" ({_interval(found, '.2f')})"
    return (
        f"Imagination is better than {name} with a probability of {found.value:.2f}{interval}; on {above} of"
        f" {len(pairs)} seeds."
    )


def _games(comparison: Comparison) -> str:
    counts = {len(result.final.returns) for found in comparison.rows.values() for result in found.values()}
    return " or ".join(map(str, sorted(counts)))


def _interval(found: Estimate, form: str) -> str:
    return "" if math.isnan(found.low) else f"{found.low:{form}} to {found.high:{form}}"
