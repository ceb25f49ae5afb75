"""Set aside what is damaged of a run, so that it can go on without that."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from experiments.cli import run_main
from rl.lock import FolderLock
from rl.run_folder import mend_rounds
from worldmodel.data.index import holds_play
from worldmodel.data.mend import mend
from worldmodel.errors import UserError
from worldmodel.files import writing


@dataclass(frozen=True)
class Options:
    """Set aside what is damaged of a run: files of its buffer, whole rounds. All else stays, nothing is deleted.

    The run must have been stopped.
    """

    run: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN")]
    """the run's folder, or its buffer's"""


def main(arguments: Sequence[str]) -> int:
    """Mend the buffer that the command line names. Returns the exit status."""
    folder = tyro.cli(Options, args=arguments, prog="python experiments/mend.py").run
    buffer = folder / "buffer" if (folder / "buffer").is_dir() else folder
    if not holds_play(buffer):
        raise UserError(f"{folder} holds no buffer: name the folder of a run.")
    with writing(buffer):
        lock = FolderLock(buffer, patience=0)
        found = mend(buffer) + mend_rounds(folder)
    lock.release()
    print("\n".join(found) if found else f"{folder} is whole.")
    return 0


if __name__ == "__main__":
    sys.exit(run_main(main, sys.argv[1:]))
