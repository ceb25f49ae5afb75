from dataclasses import fields

import numpy as np
import pytest
from counting import read
from playing import buffer_of, counted, frames_of, writer_at

from worldmodel.data.reader import BufferReader, Steps
from worldmodel.errors import UserError


def test_what_was_written_is_read(tmp_path):
    episodes = [counted(3), counted(4, 0, 5), counted(4, 5, None, "policy", 2)]
    reader = buffer_of(tmp_path, episodes[:2], episodes[2:])
    assert (reader.num_chunks, reader.num_steps, reader.num_frames) == (2, 11 + 12, 11 + 12 + 3)
    for index, (record, episode) in enumerate(zip(reader.episodes, episodes, strict=True)):
        assert np.array_equal(frames_of(reader, index), episode.frames)
        for name in (field.name for field in fields(Steps)):
            stored = getattr(reader.steps, name)[reader.table.offset[index] :][: record.length]
            assert np.array_equal(stored, getattr(episode, name))
        assert record.info == episode.info
        assert record.return_ == episode.rewards.sum()
    assert [record.ended for record in reader.episodes] == [True, False, True]


def test_all_256_values_of_a_pixel_come_back(tmp_path):
    frame = np.arange(192, dtype=np.uint8).reshape(8, 8, 3)
    episode = counted(0)
    episode.frames[:2] = frame, frame + 64
    reader = buffer_of(tmp_path, [episode])
    assert reader.frames(np.array([0, 1])).dtype == np.uint8
    assert np.array_equal(reader.frames(np.array([0, 1])), episode.frames[:2])


def test_frames_keep_the_order_and_shape_of_their_ids(tmp_path):
    reader = buffer_of(tmp_path, [counted(1)], [counted(2)], [counted(3)])
    ids = np.random.default_rng(0).integers(reader.num_frames, size=(5, 4))
    frames = reader.frames(ids)
    assert frames.shape == (5, 4, 8, 8, 3)
    assert np.array_equal(frames, reader.frames(np.arange(reader.num_frames))[ids])
    assert reader.frames(np.empty((0, 3), int)).shape == (0, 3, 8, 8, 3)


def test_a_frame_that_is_not_there_is_refused(tmp_path):
    reader = buffer_of(tmp_path, [counted(1)])
    for index in (-1, reader.end_frame_id):
        with pytest.raises(IndexError):
            reader.frames(np.array([index]))


def test_refresh_sees_what_was_appended_and_keeps_the_ids(tmp_path):
    reader = buffer_of(tmp_path, [counted(1)])
    before, generation = reader.frames(np.arange(reader.num_frames)), reader.generation
    reader.refresh()
    assert reader.generation == generation
    writer_at(tmp_path).append([counted(2)])
    reader.refresh()
    assert reader.generation != generation
    assert [record.info.seed for record in reader.episodes] == [1, 2]
    assert np.array_equal(reader.frames(np.arange(len(before))), before)


def test_ids_stay_when_older_chunks_are_evicted(tmp_path):
    writer = writer_at(tmp_path, capacity=25)
    writer.append([counted(1), counted(2)])
    reader = BufferReader(tmp_path)
    writer.append([counted(3)])
    reader.refresh()
    assert [record.info.seed for record in reader.episodes] == [3]
    for seen in (reader, BufferReader(tmp_path)):
        (record,) = seen.episodes
        assert seen.table.frame_ids(np.array(0), np.arange(2)).tolist() == [10 + 11, 10 + 12]
        assert seen.first_frame_id == 10 + 11
        assert read(frames_of(seen, 0)).count.tolist() == list(range(record.length + 1))
        assert (seen.num_frames, seen.end_frame_id, seen.table.ordinal.tolist()) == (12, 33, [2])


def test_a_reader_of_the_first_chunks_sees_no_more(tmp_path):
    buffer_of(tmp_path, [counted(1)], [counted(2)], [counted(3)])
    reader = BufferReader(tmp_path, chunks=2)
    reader.refresh()
    assert [record.info.seed for record in reader.episodes] == [1, 2]
    assert BufferReader(tmp_path, chunks=0).num_steps == 0


def test_the_first_chunks_are_counted_with_those_that_were_evicted(tmp_path):
    writer = writer_at(tmp_path, capacity=25)
    for tag in range(4):
        writer.append([counted(tag)])
    reader = BufferReader(tmp_path, chunks=3)
    assert [record.info.seed for record in reader.episodes] == [2]
    assert (reader.num_chunks, reader.first_frame_id) == (3, 9 + 10)


def test_a_damaged_chunk_is_named(tmp_path):
    buffer_of(tmp_path, [counted(1)])
    path = tmp_path / "000000.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"000000\.safetensors"):
        BufferReader(tmp_path)


def test_a_missing_chunk_is_named(tmp_path):
    buffer_of(tmp_path, [counted(1)])
    (tmp_path / "000000.safetensors").unlink()
    with pytest.raises(UserError, match=r"000000\.safetensors"):
        BufferReader(tmp_path)


def test_a_folder_without_a_buffer_is_refused(tmp_path):
    with pytest.raises(UserError, match="no buffer"):
        BufferReader(tmp_path)


def test_a_lost_life_ends_a_game_if_asked(tmp_path):
    whole = buffer_of(tmp_path, [counted(3), counted(4, 0, 5)])
    lives = BufferReader(tmp_path, lives_end=True)
    assert whole.steps.life_lost.any() and not whole.steps.terminated[whole.steps.life_lost].all()
    assert np.array_equal(lives.steps.terminated, whole.steps.terminated | whole.steps.life_lost)
    assert lives.episodes == whole.episodes
