"""Telling whether a folder is still what was written."""

import hashlib
import json
from pathlib import Path

from worldmodel.files import write_json

_FILE = "checksums.json"


def write_checksums(folder: Path) -> None:
    """Write down what `folder` holds, in a file of its own in it."""
    write_json(folder / _FILE, {name: _checksum(folder / name) for name in _names(folder)})


def damage(folder: Path) -> str | None:
    """What is no longer as it was when `write_checksums` saw it, in a few words; None if all is."""
    try:
        known = json.loads((folder / _FILE).read_text())
        for name, checksum in known.items():
            if _checksum(folder / name) != checksum:
                return f"{name} has changed"
    except FileNotFoundError as error:
        return f"{Path(error.filename).name} is missing"
    except (OSError, ValueError, AttributeError) as error:
        return f"{_FILE} can't be read: {error}"
    return None


def _names(folder: Path) -> list[str]:
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != _FILE)
    return sorted(path.relative_to(folder).as_posix() for path in files)


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
