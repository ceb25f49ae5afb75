"""Writing files whole: what is there under its name is complete, whenever the machine stops."""

import errno
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from worldmodel.errors import UserError


def write_whole(path: Path, data: bytes) -> None:
    """Write `data` to `path` so that nobody ever sees half of it: a temporary file, flushed, then renamed.

    Raises:
        UserError: If the disk is full, or nobody may write there; what was at `path` stays as it was.
    """
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    with writing(path):
        try:
            _write(temporary, data)
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        flush(path.parent)


def write_json(path: Path, value: Any) -> None:
    """Write `value` to `path` as JSON, whole."""
    write_whole(path, json.dumps(value, indent=1).encode())


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Within, `path` is written, by whomever: that it cannot be is told in one sentence.

    Raises:
        UserError: If the disk is full, or nobody may write there.
    """
    try:
        yield
    except (OSError, SafetensorError) as error:
        if not (is_full_disk(error) or _is_of_files(error)):
            raise
        raise UserError(_sentence(path, error)) from error


def is_full_disk(error: BaseException) -> bool:
    """Whether `error` came of a full disk; safetensors and Ray keep that as text alone."""
    full = (errno.ENOSPC, errno.EDQUOT)
    return getattr(error, "errno", None) in full or any(os.strerror(code) in str(error) for code in full)


def free_space(path: Path) -> int:
    """Bytes that are free where `path` is, or will be."""
    return shutil.disk_usage(next(there for there in (path, *path.absolute().parents) if there.exists())).free


def _is_of_files(error: BaseException) -> bool:
    """Whether a file or a folder is at fault, not a connection."""
    if isinstance(error, OSError):
        return error.errno is not None and not isinstance(error, ConnectionError | TimeoutError)
    return True


def _sentence(path: Path, error: BaseException) -> str:
    if is_full_disk(error):
        return (
            f"{path} could not be written, because the disk is full ({free_space(path) / 1e6:.1f} MB free): make room"
            " there and give the same command again; all that was written before is whole."
        )
    reason = getattr(error, "strerror", None) or error
    return f"{path} could not be written ({reason}): choose a folder that you may write to."


def _write(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def flush(path: Path) -> None:
    """Bring a file, or the names in a folder, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
