"""Settings from a TOML or JSON file."""

import json
import tomllib
from pathlib import Path
from typing import Any

from rl.settings import Settings
from worldmodel.errors import UserError
from worldmodel.plain import overlay


def read_config(path: Path, base: Settings) -> Settings:
    """`base` with what the file says in its place: tables and keys are named like the options.

    Raises:
        UserError: If the file cannot be read, names a setting that there isn't, or gives one a wrong type.
    """
    return overlay(base, _parse(path), str(path))


def _parse(path: Path) -> Any:
    if path.suffix not in (".toml", ".json"):
        raise UserError(f"{path} must end in .toml or .json, so that it is known how to read it.")
    try:
        text = path.read_text()
        return tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); give --config an existing file.") from error
    except ValueError as error:
        raise UserError(f"{path} is not valid {path.suffix[1:].upper()}: {error}; mend it there.") from error
