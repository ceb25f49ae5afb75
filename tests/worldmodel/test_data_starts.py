from dataclasses import replace

import numpy as np
import pytest
import torch
from counting import CountingWorldModel, length_of, read
from damage import spoiled
from playing import SIZE, buffer_of, counted, writer_at
from safetensors.numpy import save

from worldmodel.data.reader import BufferReader
from worldmodel.data.starts import StartMix, draw_starts, load_starts, save_starts
from worldmodel.errors import UserError

CONTEXT = 4
NEAR_END, BEGINNING, NEAR_REWARD = (StartMix(*shares) for shares in ((0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1)))


@pytest.fixture
def reader(tmp_path):
    return buffer_of(tmp_path, [counted(tag) for tag in range(10, 22)], [counted(30, 0, 6), counted(30, 6, 9)])


def draw(reader, mix=None, count=600):
    return draw_starts(reader, count, CONTEXT, np.random.default_rng(0), mix)


def test_a_start_is_one_game_that_the_model_can_go_on_from(reader):
    starts = draw(reader)
    begin = torch.from_numpy(starts.frames), torch.from_numpy(starts.actions), torch.from_numpy(starts.mask)
    dream = CountingWorldModel(CONTEXT, SIZE).begin(*begin)
    told = [(reader.episodes[e].info.seed, reader.episodes[e].info.start + s)
            for e, s in zip(starts.episode, starts.step, strict=True)]  # fmt: skip
    assert list(zip(dream.tag.tolist(), dream.count.tolist(), strict=True)) == told
    assert all(step < reader.episodes[e].length for e, step in zip(starts.episode, starts.step, strict=True))


def test_starts_near_the_end_are_5_to_20_steps_before_it(reader):
    seen = read(draw(reader, NEAR_END).frames[:, -1])
    left = length_of(seen.tag) - seen.count
    assert set(left.tolist()) == set(range(5, 21))
    assert 30 not in seen.tag


def test_a_lost_life_is_an_end_for_who_is_shown_it_as_one(tmp_path):
    lost = np.zeros(32, np.bool_)
    lost[15] = True
    buffer_of(tmp_path, [replace(counted(24), life_lost=lost)])
    for lives_end in (False, True):
        count = read(draw(BufferReader(tmp_path, lives_end=lives_end), NEAR_END).frames[:, -1]).count
        assert set(count[count > 11].tolist()) == set(range(12, 28))
        assert set(count[count <= 11].tolist()) == (set(range(12)) if lives_end else set())


def test_starts_at_the_beginning_are_first_frames(reader):
    starts = draw(reader, BEGINNING)
    assert not read(starts.frames).count.any()
    assert (starts.mask == [False, False, False, True]).all()
    assert not starts.actions.any()


def test_the_kinds_have_their_shares(reader):
    starts = draw(reader, count=6000)
    assert (starts.step == 0).mean() == pytest.approx(0.3 + 0.4 * len(reader.episodes) / reader.num_steps, abs=0.04)


def test_starts_near_a_reward_are_1_to_20_steps_before_a_rare_one(tmp_path):
    rewards = np.zeros(32, np.float32)
    rewards[[25, 26]] = 1.0, -2.0
    rare, other = replace(counted(24), rewards=rewards), replace(counted(12), rewards=rewards[:20])
    starts = draw(buffer_of(tmp_path, [other, rare]), NEAR_REWARD)
    assert set(starts.episode.tolist()) == {1}
    assert set(starts.step.tolist()) == set(range(25 + 1 - 20, 26 + 1))


def test_recent_starts_are_any_of_the_newest_round(tmp_path):
    reader = buffer_of(tmp_path, [counted(tag) for tag in range(12)], [counted(tag, number=2) for tag in (20, 21)])
    starts = draw(reader, StartMix(0, 0, 0, 0, 1))
    told = {(e, s) for e, s in zip(starts.episode.tolist(), starts.step.tolist(), strict=True)}
    assert told == {(e, s) for e in (12, 13) for s in range(reader.episodes[e].length)}


def test_a_kind_that_is_missing_is_drawn_uniformly(tmp_path):
    reader = buffer_of(tmp_path, [counted(30, 6, 9)])
    for mix in (NEAR_END, BEGINNING, NEAR_REWARD):
        assert set(draw(reader, mix).step.tolist()) == {0, 1, 2}


def test_saved_starts_come_back(tmp_path, reader):
    starts = draw(reader, count=20)
    save_starts(tmp_path / "starts.safetensors", starts)
    loaded = load_starts(tmp_path / "starts.safetensors")
    assert len(loaded) == 20
    for name in ("frames", "actions", "mask"):
        assert np.array_equal(getattr(loaded, name), getattr(starts, name))
        assert getattr(loaded, name).dtype == getattr(starts, name).dtype


def test_without_play_there_is_no_start(tmp_path):
    writer_at(tmp_path / "empty")
    with pytest.raises(UserError, match="empty"):
        draw(BufferReader(tmp_path / "empty"))
    with pytest.raises(UserError, match="missing"):
        load_starts(tmp_path / "starts.safetensors")


def test_damaged_starts_are_refused_or_have_their_shape(tmp_path, reader):
    path = tmp_path / "starts.safetensors"
    save_starts(path, draw(reader, count=20))
    whole = path.read_bytes()
    for told, data in spoiled(whole, cuts=20, flips=300):
        path.write_bytes(data)
        try:
            loaded = load_starts(path)
        except UserError as error:
            assert f"{path} is damaged" in str(error), told
            assert "\n" not in str(error), told
        else:
            assert loaded.frames.shape[:2] == loaded.mask.shape, told


def test_other_arrays_are_no_starts(tmp_path, reader):
    path = tmp_path / "starts.safetensors"
    starts = draw(reader, count=4)
    whole = {"frames": starts.frames, "actions": starts.actions, "mask": starts.mask}
    for name in whole:
        for change in (whole[name][:2], whole[name].astype(np.float64), whole[name][0]):
            path.write_bytes(save({**whole, name: np.ascontiguousarray(change)}))
            with pytest.raises(UserError, match=f"{path} is damaged"):
                load_starts(path)
