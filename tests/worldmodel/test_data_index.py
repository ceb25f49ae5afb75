import json

import pytest
from playing import buffer_of, counted

from worldmodel.data.index import COPIES, FORMAT, read_index
from worldmodel.data.reader import BufferReader
from worldmodel.errors import UserError


@pytest.fixture
def folder(tmp_path):
    buffer_of(tmp_path, [counted(1)], [counted(2), counted(3)])
    return tmp_path


def refused(folder):
    """The sentence with which a reader refuses `folder`; "" if it reads all that was written."""
    try:
        reader = BufferReader(folder)
    except UserError as error:
        return str(error)
    assert [record.info.seed for record in reader.episodes] == [1, 2, 3]
    return ""


def test_an_index_is_kept_twice(folder):
    assert read_index(folder) == read_index(folder, COPIES[1])


def test_an_index_cut_anywhere_is_refused_by_name(folder):
    path = folder / "index.json"
    whole = path.read_bytes()
    for length in range(0, len(whole), 37):
        path.write_bytes(whole[:length])
        assert f"{path} is damaged" in refused(folder), length


def test_an_index_with_any_bit_turned_is_refused_or_reads_the_same(folder):
    path = folder / "index.json"
    whole = path.read_bytes()
    for place in range(0, len(whole), 11):
        for bit in (0, 5, 7):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << bit]) + whole[place + 1 :])
            sentence = refused(folder)
            assert not sentence or ("index.json" in sentence and "\n" not in sentence), (place, bit)


def test_a_changed_number_in_the_index_is_refused(folder):
    path = folder / "index.json"
    path.write_text(path.read_text().replace('"length": 9', '"length": 8'))
    assert "checksum" in refused(folder)
    assert "experiments/mend.py" in refused(folder)


def test_a_missing_index_is_refused_where_there_are_chunks(folder):
    (folder / "index.json").unlink()
    assert f"{folder / 'index.json'} is missing" in refused(folder)
    for name in COPIES:
        (folder / name).unlink(missing_ok=True)
    assert "index.json is missing" in refused(folder)


@pytest.mark.parametrize("version", [1, 99, "3", None, [FORMAT]])
def test_another_version_is_refused_by_both_numbers(folder, version):
    path = folder / "index.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": version}))
    assert f"format {version}, this version reads {FORMAT}" in refused(folder)


@pytest.mark.parametrize("text", ["", "[]", "null", "3", '"index"', "{}", "\x00"])
def test_another_file_is_no_index(folder, text):
    (folder / "index.json").write_text(text)
    assert "index.json is damaged" in refused(folder)
