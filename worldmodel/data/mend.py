"""Mending a damaged buffer: what can't be read is set aside, never deleted, and all else stays."""

from dataclasses import replace
from pathlib import Path

from worldmodel.data.chunk import ChunkEntry, Kinds, map_chunk
from worldmodel.data.index import COPIES, is_whole, read_index, write_index
from worldmodel.errors import UserError
from worldmodel.files import writing

ASIDE = "damaged"
"""folder beside the chunks that damaged files are moved to"""


def mend(folder: Path) -> list[str]:
    """Set the damaged files of the buffer in `folder` aside, and go on without them; nobody may be writing to it.

    Returns:
        What was wrong, a sentence each; nothing if nothing was.

    Raises:
        UserError: If no copy of its index is whole, or it is of another version.
    """
    spoiled = [name for name in COPIES if not is_whole(folder / name)]
    if len(spoiled) == len(COPIES):
        raise UserError(
            f"{folder} has no index that is whole: restore {COPIES[0]} from a copy, or start a new run folder."
        )
    index = read_index(folder, next(name for name in COPIES if name not in spoiled))
    lost = [entry for entry in index.there if not _readable(folder, entry, index.kinds)]
    found = [_told(folder / name, "written anew from its copy") for name in spoiled]
    found += [_told(folder / entry.file, f"{entry.steps} steps are lost") for entry in lost]
    for name in (*spoiled, *(entry.file for entry in lost)):
        _set_aside(folder / name)
    if found:
        chunks = tuple(replace(entry, lost=True) if entry in lost else entry for entry in index.chunks)
        write_index(folder, replace(index, chunks=chunks))
    return found


def _readable(folder: Path, entry: ChunkEntry, kinds: Kinds) -> bool:
    try:
        map_chunk(folder, entry, kinds)
    except (UserError, FileNotFoundError):
        return False
    return True


def _told(path: Path, outcome: str) -> str:
    if path.exists():
        return f"{path} was damaged and is now in {ASIDE}/: {outcome}."
    return f"{path} was missing: {outcome}."


def _set_aside(path: Path) -> None:
    if not path.exists():
        return
    aside = path.parent / ASIDE
    with writing(aside):
        aside.mkdir(exist_ok=True)
        free = next(n for n in range(1, 10_000) if not (aside / f"{path.name}.{n}").exists())
        path.rename(aside / f"{path.name}.{free}")
