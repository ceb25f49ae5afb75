"""Disks that are full."""

import errno
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def small_disk(folder: Path, kilobytes: int) -> Iterator[Path]:
    """A real file system of its own at `folder`; skips where nobody may mount one."""
    if os.geteuid() or not shutil.which("mount"):
        pytest.skip("only root may mount a small disk")
    folder.mkdir()
    size = f"size={kilobytes}k"
    if subprocess.run(["mount", "-t", "tmpfs", "-o", size, "full", str(folder)], capture_output=True).returncode:
        pytest.skip("no small disk can be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path, leave: int = 0) -> Path:
    """Write until the disk is full, but for `leave` bytes. Returns the file to remove to make room."""
    ballast = folder / "ballast"
    free = shutil.disk_usage(folder).free
    ballast.write_bytes(bytes(max(free - leave, 0)))
    return ballast


def full_after(monkeypatch: pytest.MonkeyPatch, files: int, code: int = errno.ENOSPC) -> None:
    """Let `files` more files be flushed, and no other: for those who can't mount a disk."""
    flush: Callable[[int], None] = os.fsync
    left = files

    def flush_or_fail(descriptor: int) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise OSError(code, os.strerror(code))
        flush(descriptor)

    monkeypatch.setattr(os, "fsync", flush_or_fail)
