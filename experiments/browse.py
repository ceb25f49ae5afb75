"""What was played: a table of the episodes in a buffer, and each of them as a film or in one picture."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro
from rich.console import Console

from experiments.cli import run_main
from experiments.terminal import make_console
from worldmodel.data.index import holds_play
from worldmodel.errors import UserError
from worldmodel.files import write_whole

if TYPE_CHECKING:
    from worldmodel.data.reader import BufferReader

PROGRAM = "python experiments/browse.py"


@dataclass(frozen=True)
class Options:
    """Show what was played: the episodes in a buffer and what they come to, or one of them in pictures.

    The buffer is only read; a run may go on with it meanwhile.
    """

    buffer: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="FOLDER")]
    """a buffer's folder, such as runs/cartpole-seed0/buffer, or that of its run"""
    episode: Annotated[int | None, tyro.conf.arg(metavar="NUMBER")] = None
    """show this episode alone, by its number in the table"""
    film: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """write the episode to this file, as an animated GIF"""
    strip: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """write the episode to this file, as a PNG of 32 frames at most, with what was done and paid under each"""


def main(arguments: Sequence[str]) -> int:
    """Show what the command line asks for. Returns the exit status."""
    options = tyro.cli(Options, args=arguments, prog=PROGRAM)
    if options.episode is None and (options.film or options.strip):
        raise UserError("--film and --strip show one episode: name it by --episode NUMBER.")
    folder = _buffer_in(options.buffer)
    # Imported here, because it takes seconds: the errors above come at once.
    from worldmodel.data.reader import BufferReader

    reader = BufferReader(folder)
    if not reader.episodes:
        raise UserError(f"{folder} is empty: collect some play into it first.")
    if options.episode is None:
        _print_all(make_console(), reader)
    else:
        _show(options, options.episode, reader)
    return 0


def _buffer_in(folder: Path) -> Path:
    buffer = folder / "buffer" if (folder / "buffer").is_dir() else folder
    if not holds_play(buffer):
        raise UserError(f"{folder} holds no buffer: name the folder of a run, or its buffer's.")
    return buffer


def _print_all(console: Console, reader: "BufferReader") -> None:
    from experiments.played import episodes_table, totals_table

    console.print(episodes_table(reader, range(len(reader.episodes))))
    console.print(totals_table(reader))


def _show(options: Options, number: int, reader: "BufferReader") -> None:
    from experiments.played import episode_of, episodes_table

    if not 1 <= number <= len(reader.episodes):
        raise UserError(f"there is no episode {number} in {options.buffer}: it has 1 to {len(reader.episodes)}.")
    make_console().print(episodes_table(reader, [number - 1]))
    episode = episode_of(reader, number - 1)
    if options.film:
        from rl.reporting import gif

        write_whole(options.film, gif(episode.frames))
    if options.strip:
        from experiments.strip import film_strip, png

        write_whole(options.strip, png(film_strip(episode, reader.action_spec)))


if __name__ == "__main__":
    sys.exit(run_main(main, sys.argv[1:]))
