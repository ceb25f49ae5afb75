"""Telling whether a folder is still what was written."""

import hashlib
import json
from pathlib import Path
from typing import Any

from worldmodel.files import write_json

FORMAT = 1
_FILE = "checksums.json"


def write_checksums(folder: Path) -> None:
    """Write down what `folder` holds, in a file of its own in it."""
    files = {name: _checksum(folder / name) for name in _names(folder)}
    write_json(folder / _FILE, {"format": FORMAT, "files": files})


def other_format(folder: Path) -> Any:
    """The format that another version of this project wrote `folder` in; None if it was this one, or can't be told."""
    try:
        found = json.loads((folder / _FILE).read_text())["format"]
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return None if found == FORMAT else found


def damage(folder: Path) -> str | None:
    """What is no longer as it was when `write_checksums` saw it, in a few words; None if all is."""
    try:
        known = json.loads((folder / _FILE).read_text())["files"]
        for name, checksum in known.items():
            if _checksum(folder / name) != checksum:
                return f"{name} has changed"
    except FileNotFoundError as error:
        return f"{Path(error.filename).name} is missing"
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        return f"{_FILE} can't be read: {error}"
    return None


def _names(folder: Path) -> list[str]:
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != _FILE)
    return sorted(path.relative_to(folder).as_posix() for path in files)


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
