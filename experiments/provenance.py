"""Where a result comes from: the settings, the machine and the code that ran."""

import os
import platform
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from experiments.cluster import packages_root
from worldmodel.plain import dotted, to_plain

_APART = ("seed", "cluster.")


def leaves(settings: Any) -> dict[str, Any]:
    """Every setting by its dotted name, as JSON has it."""
    plain: dict[str, Any] = to_plain(dotted(settings))
    return plain


def shared(named: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the named settings in which the runs of one file must be equal."""
    return {name: value for name, value in named.items() if not name.startswith(_APART)}


def differing(stored: Mapping[str, Any], ours: Mapping[str, Any], defaults: Mapping[str, Any]) -> list[str]:
    """Names of those settings in which the runs of one file must be equal, and these are not.

    Args:
        stored: What a file says. It was written before those settings that it does not name, with their defaults.
        ours: What is to be added to it.
        defaults: The default of every setting.
    """
    return [name for name, value in shared(ours).items() if stored.get(name, defaults.get(name)) != value]


def machine() -> str:
    """This machine, in words."""
    return f"{platform.machine()}, {os.cpu_count()} CPU cores"


def hardware() -> dict[str, Any]:
    """This machine and what it computes with, for figures of speed."""
    import ray
    import torch

    cpu_info = Path("/proc/cpuinfo")
    names = [line for line in cpu_info.read_text().splitlines() if "model name" in line] if cpu_info.exists() else []
    return {
        "cpu": names[0].split(": ")[1] if names else platform.processor(),
        "cores": os.cpu_count(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "ray": ray.__version__,
    }


def commits(of_rounds: Iterable[str]) -> str:
    """The code that ran a run, by that of its rounds: one commit, or several where it was changed on the way."""
    return ", ".join(dict.fromkeys(filter(None, of_rounds)))


def commit() -> str:
    """The commit of the code, marked where files differ from it; empty outside a checkout, or where git is missing."""
    git = shutil.which("git")
    if git is None:
        return ""
    described = subprocess.run(
        [git, "describe", "--always", "--abbrev=12", "--dirty"], cwd=packages_root(), capture_output=True, text=True
    )
    return described.stdout.strip()
