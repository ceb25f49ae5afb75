"""A run's page: plots and pictures of dreams beside reality, in `report/`."""

import html
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from PIL import Image
from rich.console import Console

from experiments.plots import plot
from experiments.results import Results
from experiments.table import fidelity_curves, print_tables
from experiments.terminal import LOG_WIDTH
from rl.round_report import Film, RoundReport
from rl.run_folder import RunFolder
from rl.statistics import Evaluation
from worldmodel.files import write_whole

_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{title}</title>
<style>
 body {{ font-family: sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem }}
 pre {{ overflow-x: auto }}
 figure {{ margin: 2rem 0; overflow-x: auto }}
 .film {{ image-rendering: pixelated; height: 256px }}
</style>
<h1>{title}</h1>
{body}
</html>
"""


def save_films(folder: Path, number: int, films: Sequence[Film]) -> list[str]:
    """Write the films of round `number` as pictures: time runs right, reality above the dream. Returns their names."""
    names = [f"film-{number:03d}-{index}.png" for index in range(len(films))]
    for name, film in zip(names, films, strict=True):
        Image.fromarray(film.strip()).save(folder / name)
    return names


def write_page(run: RunFolder, references: Sequence[Results], seconds: float) -> Path:
    """Draw the plots of all finished rounds and write the page around them. Returns the page."""
    reports = run.reports()
    learning_curve(reports, references).savefig(run.report / "learning_curve.png")
    plots = ["learning_curve.png"]
    if any(report.fidelity for report in reports):
        fidelity_plot(reports).savefig(run.report / "fidelity.png")
        plots.append("fidelity.png")
    gap_plot(reports, run.settings.imagine.horizon).savefig(run.report / "imagined_and_real_return.png")
    plots.append("imagined_and_real_return.png")
    films = sorted(path.name for path in run.report.glob("film-*.png"))
    page = run.report / "index.html"
    text = _tables(run, reports, references, seconds)
    write_whole(page, html_page(run.path.name, text, plots, {name: film_caption(name) for name in films}).encode())
    return page


def html_page(title: str, text: str, plots: Sequence[str], films: Mapping[str, str]) -> str:
    """A page of tables, plots, and films by their captions; pictures lie beside it."""
    figures = [_figure(name, name.removesuffix(".png").replace("_", " "), "") for name in plots]
    figures += [_figure(name, caption, "film") for name, caption in films.items()]
    return _PAGE.format(title=html.escape(title), body="\n".join([f"<pre>{html.escape(text)}</pre>", *figures]))


def learning_curve(reports: Sequence[RoundReport], references: Sequence[Results]) -> Figure:
    """Real return against imagined steps, with 95% intervals, the random policy and the references."""
    figure, axes = plot("imagined steps", "real return")
    judged = [report.after for report in reports]
    steps = [report.imagined_steps for report in reports]
    if before := reports[0].before:
        judged, steps = [before, *judged], [0, *steps]
    axes.errorbar(steps, [player.mean for player in judged], yerr=_bars(judged), marker="o", capsize=4, label="agent")
    if random := reports[0].random:
        axes.axhline(random.mean, color="grey", linestyle=":", label="random policy")
    for results, style in zip(references, ("--", "-."), strict=False):
        axes.axhline(float(np.mean(results.final_returns())), color="grey", linestyle=style, label=results.dream)
    axes.legend()
    return figure


def fidelity_plot(reports: Sequence[RoundReport]) -> Figure:
    """PSNR against the steps dreamed, of the last round that measured it."""
    figure, axes = plot("steps dreamed", "PSNR, dB")
    fidelity = next(report.fidelity for report in reversed(reports) if report.fidelity)
    for name, curve in fidelity_curves(fidelity).items():
        axes.plot(fidelity.horizons, curve, marker="o", linestyle="--" if "changing" in name else "-", label=name)
    axes.legend(fontsize="small")
    return figure


def gap_plot(reports: Sequence[RoundReport], horizon: int) -> Figure:
    """The returns of each round's dreams beside those of its agent in the real game: do both rise?"""
    figure, axes = plot("round", "mean return")
    axes.set_title(f"dreams begin anywhere and are cut after {horizon} steps:\ncompare the courses, not the heights")
    rounds = [report.round for report in reports]
    axes.plot(rounds, [report.scalars.get("imagined/return", math.nan) for report in reports], marker="o",
              label="imagined")  # fmt: skip
    judged = [report.after for report in reports]
    axes.errorbar(rounds, [player.mean for player in judged], yerr=_bars(judged), marker="o", capsize=4, label="real")
    axes.set_xticks(rounds)
    axes.legend()
    return figure


def _bars(judged: Sequence[Evaluation]) -> list[list[float]]:
    below = [player.mean - player.interval[0] for player in judged]
    above = [player.interval[1] - player.mean for player in judged]
    return [below, above]


def _tables(run: RunFolder, reports: Sequence[RoundReport], references: Sequence[Results], seconds: float) -> str:
    text = io.StringIO()
    print_tables(Console(file=text, width=LOG_WIDTH), run.settings, reports, references, seconds)
    return text.getvalue()


def _figure(name: str, caption: str, css: str) -> str:
    return f'<figure><img class="{css}" src="{name}" alt="{caption}"><figcaption>{caption}</figcaption></figure>'


def film_caption(name: str) -> str:
    """What a film of `save_films` shows."""
    _, number, index = name.removesuffix(".png").split("-")
    return f"round {int(number)}, dream {int(index) + 1}: reality above, the dream below, the same start and actions"
