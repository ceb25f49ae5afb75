"""A run's page: plots and pictures of dreams beside reality, in `report/`."""

import html
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image
from rich.console import Console

from experiments.results import Results
from experiments.table import fidelity_curves, print_tables
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


def save_films(folder: Path, number: int, films: Sequence[Film]) -> None:
    """Write the films of round `number` as pictures: time runs right, reality above the dream."""
    for index, film in enumerate(films):
        Image.fromarray(film.strip()).save(folder / f"film-{number:03d}-{index}.png")


def write_page(run: RunFolder, references: Sequence[Results], seconds: float) -> Path:
    """Draw the plots of all finished rounds and write the page around them. Returns the page."""
    reports = run.reports()
    learning_curve(reports, references).savefig(run.report / "learning_curve.png")
    plots = ["learning_curve.png"]
    if any(report.fidelity for report in reports):
        fidelity_plot(reports).savefig(run.report / "fidelity.png")
        plots.append("fidelity.png")
    films = sorted(path.name for path in run.report.glob("film-*.png"))
    figures = [_figure(name, name.removesuffix(".png"), "") for name in plots]
    figures += [_figure(name, _film_caption(name), "film") for name in films]
    tables = f"<pre>{html.escape(_tables(run, reports, references, seconds))}</pre>"
    page = run.report / "index.html"
    write_whole(page, _PAGE.format(title=html.escape(run.path.name), body="\n".join([tables, *figures])).encode())
    return page


def learning_curve(reports: Sequence[RoundReport], references: Sequence[Results]) -> Figure:
    """Real return against imagined steps, with 95% intervals, the random policy and the references."""
    figure, axes = _plot("imagined steps", "real return")
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
    figure, axes = _plot("steps dreamed", "PSNR, dB")
    fidelity = next(report.fidelity for report in reversed(reports) if report.fidelity)
    for name, curve in fidelity_curves(fidelity).items():
        axes.plot(fidelity.horizons, curve, marker="o", linestyle="--" if "changing" in name else "-", label=name)
    axes.legend(fontsize="small")
    return figure


def _plot(x: str, y: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.add_subplot()
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(alpha=0.3)
    return figure, axes


def _bars(judged: Sequence[Evaluation]) -> list[list[float]]:
    below = [player.mean - player.interval[0] for player in judged]
    above = [player.interval[1] - player.mean for player in judged]
    return [below, above]


def _tables(run: RunFolder, reports: Sequence[RoundReport], references: Sequence[Results], seconds: float) -> str:
    text = io.StringIO()
    print_tables(Console(file=text, width=140), run.settings, reports, references, seconds)
    return text.getvalue()


def _figure(name: str, caption: str, css: str) -> str:
    return f'<figure><img class="{css}" src="{name}" alt="{caption}"><figcaption>{caption}</figcaption></figure>'


def _film_caption(name: str) -> str:
    _, number, index = name.removesuffix(".png").split("-")
    return f"round {int(number)}, dream {int(index) + 1}: reality above, the dream below, the same start and actions"
