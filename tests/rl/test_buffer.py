import subprocess
from pathlib import Path

import pytest
from disks import full_after, small_disk
from playing import FRAME_SHAPE, SPEC, counted, writer_at

from rl.buffer import BufferWriter
from worldmodel.data.chunk import read_note
from worldmodel.data.index import COPIES, read_index
from worldmodel.data.reader import BufferReader
from worldmodel.errors import UserError
from worldmodel.spaces import ActionSpec


def seeds(folder):
    return [record.info.seed for record in BufferReader(folder).episodes]


def files(folder):
    """What lies there besides the two copies of the index."""
    return sorted(path.name for path in folder.iterdir() if path.name not in COPIES)


def test_a_writer_goes_on_where_the_last_one_stopped(tmp_path):
    writer_at(tmp_path).append([counted(1)])
    writer_at(tmp_path).append([counted(2)])
    assert seeds(tmp_path) == [1, 2]
    assert BufferReader(tmp_path).action_spec == SPEC


def test_it_counts_what_it_keeps_and_what_it_ever_had(tmp_path):
    writer = writer_at(tmp_path, capacity=20)
    writer.append([counted(0), counted(1)])
    writer.append([counted(2)])
    status = writer.status()
    assert (status.chunks, status.steps, status.collected_steps) == (2, 10, 27)


def test_nothing_to_append_makes_no_chunk(tmp_path):
    writer = writer_at(tmp_path)
    writer.append([])
    assert files(tmp_path) == []


def test_over_its_capacity_the_oldest_chunks_go(tmp_path):
    writer = writer_at(tmp_path, capacity=20)
    for tag in range(4):
        writer.append([counted(tag)])
    status = writer.status()
    assert seeds(tmp_path) == [3]
    assert files(tmp_path) == ["000003.safetensors"]
    assert (status.chunks, status.steps, status.collected_steps) == (4, 11, 8 + 9 + 10 + 11)


def test_a_chunk_larger_than_the_capacity_is_kept(tmp_path):
    writer = writer_at(tmp_path, capacity=5)
    writer.append([counted(1)])
    assert seeds(tmp_path) == [1]


def test_truncated_to_a_round_it_goes_on_as_if_no_more_had_been_written(tmp_path):
    writer = writer_at(tmp_path)
    for tag in range(4):
        writer.append([counted(tag)])
    writer.truncate(2)
    assert files(tmp_path) == ["000000.safetensors", "000001.safetensors"]
    reader = BufferReader(tmp_path)
    writer.append([counted(9)])
    reader.refresh()
    assert [record.info.seed for record in reader.episodes] == seeds(tmp_path) == [0, 1, 9]


def test_truncating_counts_the_chunks_that_were_evicted(tmp_path):
    writer = writer_at(tmp_path, capacity=25)
    for tag in range(4):
        writer.append([counted(tag)])
    writer.truncate(3)
    assert seeds(tmp_path) == [2]
    assert (writer.status().chunks, writer.status().collected_steps) == (3, 8 + 9 + 10)
    writer.append([counted(9, 0, 5)])
    assert seeds(tmp_path) == [2, 9]


def test_what_a_crash_left_half_done_is_removed(tmp_path):
    writer = writer_at(tmp_path)
    writer.append([counted(1)])
    (tmp_path / "000001.safetensors").write_bytes(b"half")
    (tmp_path / "index.json.1.tmp").write_bytes(b"half")
    writer_at(tmp_path).append([counted(2)])
    assert seeds(tmp_path) == [1, 2]
    assert files(tmp_path) == ["000000.safetensors", "000001.safetensors"]


def test_a_buffer_that_was_killed_while_it_was_begun_is_begun_again(tmp_path):
    writer_at(tmp_path)
    (tmp_path / "index.json").unlink()
    writer_at(tmp_path).append([counted(2)])
    assert seeds(tmp_path) == [2]


def test_play_without_an_index_is_never_begun_anew(tmp_path):
    writer_at(tmp_path).append([counted(2)])
    (tmp_path / "index.json").unlink()
    with pytest.raises(UserError, match=r"mend\.py"):
        writer_at(tmp_path)


def test_play_of_another_game_is_refused(tmp_path):
    writer_at(tmp_path)
    BufferWriter(tmp_path, FRAME_SHAPE, ActionSpec.discrete(2), 100)  # nothing was played yet
    writer_at(tmp_path).append([counted(1)])
    with pytest.raises(UserError, match="another game"):
        BufferWriter(tmp_path, FRAME_SHAPE, ActionSpec.discrete(2), 100)
    with pytest.raises(ValueError, match="frames are"):
        BufferWriter(tmp_path / "wide", (8, 9, 3), SPEC, 100).append([counted(1)])


def test_what_is_appended_again_after_an_unknown_end_is_there_once(tmp_path):
    writer = writer_at(tmp_path)
    for tag in (1, 1, 2):
        writer.append([counted(tag)], chunk=tag - 1)
    assert seeds(tmp_path) == [1, 2]


def test_a_note_lies_beside_the_play(tmp_path):
    writer = writer_at(tmp_path)
    writer.append([counted(1)], note="so far")
    writer.append([counted(2)])
    assert [read_note(tmp_path, entry) for entry in read_index(tmp_path).chunks] == ["so far", ""]
    assert seeds(tmp_path) == [1, 2]


def check_whole(folder, tags):
    assert seeds(folder) == tags
    assert not list(folder.glob("*.tmp"))


def test_a_full_disk_costs_nothing_that_was_collected_and_play_goes_on_when_there_is_room(tmp_path):
    with small_disk(tmp_path / "disk", 256) as disk:
        writer, tags = writer_at(disk), []
        with pytest.raises(UserError, match=rf"{disk}.* disk is full"):
            for tag in range(1000):
                writer.append([counted(tag)])
                tags.append(tag)
        assert len(tags) > 5
        check_whole(disk, tags)
        assert writer.status().chunks == len(tags)
        subprocess.run(["mount", "-o", "remount,size=1m", str(disk)], check=True)
        writer.append([counted(500)])
        writer_at(disk).append([counted(501)])
        check_whole(disk, [*tags, 500, 501])


@pytest.mark.parametrize("files", range(6))
def test_a_disk_that_fills_up_at_any_file_costs_nothing(tmp_path, monkeypatch, files):
    writer_at(tmp_path).append([counted(1)])
    with monkeypatch.context() as full:
        full_after(full, files)
        with pytest.raises(UserError, match="disk is full"):
            writer_at(tmp_path).append([counted(2)])
    there = seeds(tmp_path)
    assert there in ([1], [1, 2])
    check_whole(tmp_path, there)
    writer_at(tmp_path).append([counted(3)])
    check_whole(tmp_path, [*there, 3])


def test_a_buffer_that_nobody_may_write_to_is_refused_in_a_sentence(tmp_path):
    with pytest.raises(UserError, match=r"/proc/buffer could not be written"):
        writer_at(Path("/proc/buffer"))
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="File exists"):
        writer_at(tmp_path / "file")
