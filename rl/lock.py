"""A folder that one process at a time may write."""

import fcntl
import time
from pathlib import Path

from worldmodel.errors import UserError

LOCK = ".lock"
"""the file in the folder by which it is held"""
_SECONDS_BETWEEN_TRIES = 0.2


class FolderLock:
    """Holds a folder; the system lets go of it when the process ends, however it ends."""

    def __init__(self, folder: Path, patience: float) -> None:
        """Take the folder, waiting at most `patience` seconds for whoever has it.

        Raises:
            UserError: If it is still taken then.
        """
        self._file = (folder / LOCK).open("w")
        until = time.monotonic() + patience
        while not self._taken():
            if time.monotonic() >= until:
                raise UserError(f"{folder} is in use by another process: wait for it to end, or give another one.")
            time.sleep(_SECONDS_BETWEEN_TRIES)

    def release(self) -> None:
        """Let go of it."""
        self._file.close()

    def _taken(self) -> bool:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
