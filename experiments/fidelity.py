"""Measure how faithful the dream of a finished run is."""

import io
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro
from rich.console import Console

from experiments.cli import run_main
from experiments.terminal import LOG_WIDTH, as_typed, make_console
from rl.run_folder import check_is_run
from worldmodel.bounds import Count, check_bounds
from worldmodel.errors import UserError

if TYPE_CHECKING:
    from experiments.fidelity_measures import Measured

PROGRAM = "python experiments/fidelity.py"


@dataclass(frozen=True)
class Options:
    """Measure how faithful a run's dream is: its pictures, ends, rewards and obedience, and the returns of players.

    What is measured on recorded play is measured on episodes that the world model never learned from.
    """

    run: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN")]
    """the run's folder"""
    round: int | None = None
    """the round whose world model is judged; None: the best by its score on held-out play"""
    horizon: int = 256
    """steps to dream at most, and to play where returns are compared"""
    dreams: int = 32
    """dreams whose pictures are judged; memory grows with this and with the horizon"""
    steps: int = 2000
    """held-out steps at most on which ends and rewards are judged"""
    games: Count = 20
    """games that each player plays in the dream, and as many in the real game; 0: leave returns out"""
    control_horizon: int = 4
    """steps after which random actions are compared with those that were played"""
    lpips: Annotated[str | None, tyro.conf.arg(metavar="NETWORK")] = None
    """add LPIPS by this network of two batches of pictures: a TorchScript file, or module:name of one's own"""
    fid: Annotated[str | None, tyro.conf.arg(metavar="NETWORK")] = None
    """add FID by this network of pictures (n, 3, height, width)"""
    fvd: Annotated[str | None, tyro.conf.arg(metavar="NETWORK")] = None
    """add FVD by this network of clips (n, 3, time, height, width)"""
    clip: int = 16
    """frames of a clip"""
    seed: Count = 0
    """seeds every random choice"""
    output: Annotated[Path | None, tyro.conf.arg(metavar="FOLDER")] = None
    """where the results go; None: report/fidelity in the run's folder"""

    @property
    def folder(self) -> Path:
        """Where the results go."""
        return (self.output or self.run / "report" / "fidelity").absolute()


def main(arguments: Sequence[str]) -> int:
    """Measure as the command line says. Returns the exit status."""
    options = tyro.cli(Options, args=arguments, prog=PROGRAM)
    _check(options)
    console = make_console()
    console.print(f"{options.run}: how faithful is its dream? Into {options.folder}", soft_wrap=True, markup=False)
    # Imported here, because it takes seconds: the first line and the errors above come at once.
    from experiments.fidelity_measures import measure
    from experiments.fidelity_tables import print_results

    measured = measure(options, as_typed(PROGRAM, arguments), console)
    print_results(console, measured.results)
    console.print(f"Page: {_write(options.folder, measured)}", soft_wrap=True, markup=False)
    return 0


def _check(options: Options) -> None:
    check_is_run(options.run)
    check_bounds(options)
    if options.fvd and options.clip > options.horizon:
        raise UserError(f"a clip of {options.clip} frames does not fit into {options.horizon} steps: lower --clip.")


def _write(folder: Path, measured: "Measured") -> Path:
    """Write numbers, plots, films and a page around them. Returns the page."""
    from experiments.fidelity_plots import save_plots
    from experiments.fidelity_tables import print_results
    from experiments.report import film_caption, html_page, save_films
    from worldmodel.files import write_json, write_whole, writing
    from worldmodel.plain import to_plain

    results = measured.results
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        plots = save_plots(folder, results)
        films = save_films(folder, results.round, measured.films)
    write_json(folder / "fidelity.json", to_plain(results))
    text = io.StringIO()
    print_results(Console(file=text, width=LOG_WIDTH), results)
    page = html_page(f"{results.run}: how faithful is its dream?", text.getvalue(), plots,
                     {name: film_caption(name) for name in films})  # fmt: skip
    write_whole(folder / "index.html", page.encode())
    return folder / "index.html"


if __name__ == "__main__":
    sys.exit(run_main(main, sys.argv[1:]))
