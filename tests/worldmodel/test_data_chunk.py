import hashlib
from dataclasses import replace

import numpy as np
import pytest
from playing import buffer_of, counted
from safetensors.numpy import load, save

from worldmodel.data.index import read_index, write_index
from worldmodel.data.reader import BufferReader
from worldmodel.errors import UserError

CHUNK = "000000.safetensors"


@pytest.fixture
def folder(tmp_path):
    buffer_of(tmp_path, [counted(1)], [counted(2), counted(3)])
    return tmp_path


def check_refused(folder, reason=""):
    with pytest.raises(UserError, match=rf"{CHUNK} is damaged \({reason}.*experiments/mend\.py {folder}"):
        BufferReader(folder)


def test_a_chunk_cut_anywhere_is_refused_by_name(folder):
    whole = (folder / CHUNK).read_bytes()
    for length in range(0, len(whole), 97):
        (folder / CHUNK).write_bytes(whole[:length])
        check_refused(folder)


def test_a_chunk_with_any_bit_turned_is_refused_by_name(folder):
    whole = (folder / CHUNK).read_bytes()
    for place in range(0, len(whole), 53):
        spoiled = bytearray(whole)
        spoiled[place] ^= 1 << place % 8
        (folder / CHUNK).write_bytes(spoiled)
        check_refused(folder, "its checksum differs")


def vouch_for(folder, data):
    """Put other data in the chunk's place, with a checksum that holds."""
    (folder / CHUNK).write_bytes(data)
    index = read_index(folder)
    first = replace(index.chunks[0], sha256=hashlib.sha256(data).hexdigest())
    write_index(folder, replace(index, chunks=(first, *index.chunks[1:])))


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("frames", lambda array: array.astype(np.float32)),
        ("frames", lambda array: array[:-1]),
        ("frames", lambda array: array[..., 0]),
        ("frames", lambda array: array[:, :4]),
        ("rewards", lambda array: array.astype(np.int64)),
        ("rewards", lambda array: array[:-1]),
        ("terminated", lambda array: array.astype(np.uint8)),
        ("actions", lambda array: array[:-1]),
        ("actions", lambda array: array.astype(np.float32)),
        ("truncated", lambda array: None),
    ],
)
def test_arrays_of_another_type_or_length_are_refused(folder, name, change):
    arrays = load((folder / CHUNK).read_bytes())
    changed = change(arrays.pop(name))
    vouch_for(folder, save(arrays if changed is None else {**arrays, name: np.ascontiguousarray(changed)}))
    check_refused(folder)


@pytest.mark.parametrize("data", [b"", b"1234567", b"not a chunk at all", bytes(64), b"\x08" + bytes(7) + b"[1,2,3] "])
def test_another_file_is_no_chunk(folder, data):
    vouch_for(folder, data)
    check_refused(folder)


def test_what_else_lies_in_the_folder_is_left_alone(folder):
    for stray in ("notes.txt", "mine.safetensors"):
        (folder / stray).write_text("mine")
    buffer_of(folder, [counted(4)])
    assert (folder / "notes.txt").exists()
    assert (folder / "mine.safetensors").exists()
