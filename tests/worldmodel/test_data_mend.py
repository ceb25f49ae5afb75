import numpy as np
import pytest
from playing import buffer_of, counted, frames_of, writer_at

from worldmodel.data.index import COPIES
from worldmodel.data.mend import mend
from worldmodel.data.reader import BufferReader
from worldmodel.errors import UserError


@pytest.fixture
def folder(tmp_path):
    buffer_of(tmp_path, [counted(1)], [counted(2), counted(3)], [counted(4)])
    return tmp_path


def spoil(path):
    path.write_bytes(path.read_bytes()[:-1])


def seeds(folder):
    return [record.info.seed for record in BufferReader(folder).episodes]


def check_frames(reader):
    for index, record in enumerate(reader.episodes):
        assert np.array_equal(frames_of(reader, index), counted(record.info.seed).frames)


def test_nothing_is_mended_where_nothing_is_wrong(folder):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert mend(folder) == []
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_damaged_chunk_is_set_aside_and_the_others_stay(folder):
    spoil(folder / "000001.safetensors")
    before = (folder / "000001.safetensors").read_bytes()
    (sentence,) = mend(folder)
    assert "000001.safetensors was damaged" in sentence
    assert "21 steps are lost" in sentence
    assert (folder / "damaged" / "000001.safetensors.1").read_bytes() == before
    assert seeds(folder) == [1, 4]
    assert mend(folder) == []


def test_what_stays_keeps_its_number_and_its_pictures(folder):
    spoil(folder / "000001.safetensors")
    mend(folder)
    reader = BufferReader(folder)
    check_frames(reader)
    assert reader.table.ordinal.tolist() == [0, 3]
    assert reader.num_chunks == 3
    assert (reader.num_steps, reader.num_frames) == (9 + 12, 9 + 12 + 2)


def test_play_goes_on_after_mending_and_overwrites_nothing(folder):
    spoil(folder / "000001.safetensors")
    mend(folder)
    writer = writer_at(folder)
    writer.append([counted(5)])
    assert seeds(folder) == [1, 4, 5]
    assert writer.status().steps == writer.status().collected_steps == 9 + 12 + 13
    check_frames(BufferReader(folder))
    assert (folder / "damaged" / "000001.safetensors.1").exists()


def test_a_lost_chunk_is_evicted_like_any_other_while_a_reader_looks_on(folder):
    spoil(folder / "000001.safetensors")
    mend(folder)
    reader, writer = BufferReader(folder), writer_at(folder, capacity=26)
    for tag in (5, 6):
        writer.append([counted(tag)])
        reader.refresh()
        check_frames(reader)
        check_frames(BufferReader(folder))
    assert seeds(folder) == [6]
    assert reader.table.ordinal.tolist() == [5]


def test_a_missing_chunk_is_lost_and_no_other(folder):
    (folder / "000000.safetensors").unlink()
    (sentence,) = mend(folder)
    assert "was missing: 9 steps are lost" in sentence
    assert seeds(folder) == [2, 3, 4]


@pytest.mark.parametrize("name", COPIES)
@pytest.mark.parametrize("damage", [spoil, lambda path: path.unlink()])
def test_an_index_is_mended_from_its_copy(folder, name, damage):
    damage(folder / name)
    assert len(mend(folder)) == 1
    assert seeds(folder) == [1, 2, 3, 4]
    assert (folder / COPIES[0]).read_bytes() == (folder / COPIES[1]).read_bytes()


def test_a_writer_without_an_index_touches_no_chunk(folder):
    (folder / "index.json").unlink()
    before = sorted(folder.iterdir())
    for _ in range(2):
        with pytest.raises(UserError, match=r"index\.json is missing"):
            writer_at(folder)
        assert sorted(folder.iterdir()) == before
        (folder / "index.backup.json").unlink(missing_ok=True)
        before = sorted(folder.iterdir())


def test_without_any_index_nothing_can_be_mended(folder):
    for name in COPIES:
        spoil(folder / name)
    with pytest.raises(UserError, match=r"no index that is whole: restore index\.json"):
        mend(folder)


def test_a_second_damage_is_kept_beside_the_first(folder):
    for _ in range(2):
        spoil(folder / "index.json")
        mend(folder)
    assert sorted(path.name for path in (folder / "damaged").iterdir()) == ["index.json.1", "index.json.2"]


def test_a_folder_without_a_buffer_is_refused(tmp_path):
    with pytest.raises(UserError):
        mend(tmp_path / "nowhere")
