"""Games that came in pieces are whole again for whoever reads them."""

from dataclasses import replace

import numpy as np
import pytest
from counting import length_of, read
from playing import buffer_of, counted, frames_of, writer_at

from worldmodel.data import pieces
from worldmodel.data.reader import BufferReader
from worldmodel.data.starts import StartMix, draw_starts
from worldmodel.data.windows import WindowSampler, in_split

CONTEXT, HORIZON = 4, 3


def in_pieces(tag, *cuts, number=1):
    """The game `tag`, cut at these steps."""
    return [counted(tag, begin, end, number=number) for begin, end in zip((0, *cuts), (*cuts, None), strict=True)]


@pytest.fixture
def reader(tmp_path):
    """Two games, dealt out over chunks side by side, as collectors deliver them."""
    return buffer_of(tmp_path, *zip(in_pieces(24, 3, 9, 10), in_pieces(22, 5, 8, 20), strict=True))


def test_a_game_reads_as_if_it_had_never_been_cut(reader):
    assert [record.info.seed for record in reader.episodes] == [24, 22]
    for index, record in enumerate(reader.episodes):
        game = counted(record.info.seed)
        assert np.array_equal(frames_of(reader, index), game.frames)
        begin = reader.table.offset[index]
        for name in ("actions", "rewards", "terminated", "truncated", "life_lost"):
            assert np.array_equal(getattr(reader.steps, name)[begin:][: len(game)], getattr(game, name)), name
        assert (record.length, record.ended) == (len(game), True)
        assert record.return_ == game.rewards.sum()


def test_only_the_beginning_of_a_game_is_padded(reader):
    sampler = WindowSampler(reader, CONTEXT, HORIZON, "all")
    windows = sampler.at(np.arange(sampler.num_steps))
    played = read(reader.frames(windows.frame_ids[:, CONTEXT - 1])).count
    expected = np.minimum(played, CONTEXT - 1)
    assert np.array_equal(windows.mask[:, : CONTEXT - 1].sum(1), expected)
    starts = draw_starts(reader, 500, CONTEXT, np.random.default_rng(0), StartMix(1.0, 0.0, 0.0))
    begun = read(starts.frames[:, -1]).count
    assert np.array_equal(starts.mask[:, :-1].sum(1), np.minimum(begun, CONTEXT - 1))


def test_only_the_end_of_a_game_cuts_a_window_short(reader):
    sampler = WindowSampler(reader, CONTEXT, HORIZON, "all")
    windows = sampler.at(np.arange(sampler.num_steps))
    now = read(reader.frames(windows.frame_ids[:, CONTEXT - 1]))
    left = length_of(now.tag) - now.count
    assert np.array_equal(windows.mask[:, CONTEXT:].sum(1), np.minimum(left, HORIZON))


def test_dreams_that_begin_near_an_end_begin_as_far_from_it_as_they_should(reader):
    seen = read(draw_starts(reader, 500, CONTEXT, np.random.default_rng(0), StartMix(0.0, 1.0, 0.0)).frames[:, -1])
    assert set((length_of(seen.tag) - seen.count).tolist()) == set(range(5, 21))


def test_a_game_goes_on_when_the_buffer_grows(tmp_path):
    first, second = in_pieces(30, 12)
    reader = buffer_of(tmp_path, [first])
    assert not reader.episodes[0].ended
    writer_at(tmp_path).append([second])
    reader.refresh()
    (record,) = reader.episodes
    assert record.ended and record.length == length_of(np.array(30))


@pytest.mark.parametrize(
    "change", [{"round": 2}, {"collector": 1}, {"seed": 7}, {"start": 13}], ids=lambda change: next(iter(change))
)
def test_what_is_not_the_next_piece_of_the_same_game_stays_apart(tmp_path, change):
    first, second = in_pieces(30, 12)
    reader = buffer_of(tmp_path, [first], [replace(second, info=replace(second.info, **change))])
    assert [record.length for record in reader.episodes] == [len(first), len(second)]


def test_games_without_a_seed_cannot_be_told_apart_and_stay_in_pieces(tmp_path):
    cut = [replace(piece, info=replace(piece.info, seed=None)) for piece in in_pieces(30, 12)]
    reader = buffer_of(tmp_path, cut)
    assert [record.length for record in reader.episodes] == [len(piece) for piece in cut]
    assert reader.table.ordinal.tolist() == [0, 1]


def test_a_long_game_is_several_episodes_so_that_one_can_be_held_out(tmp_path, monkeypatch):
    monkeypatch.setattr(pieces, "LONGEST", 10)
    reader = buffer_of(tmp_path, *([piece] for piece in in_pieces(24, 4, 9, 14, 19, 24, 29)))
    assert [record.info.start for record in reader.episodes] == [0, 14, 24]
    assert reader.table.ordinal.tolist() == [0, 3, 5]


def test_what_was_trained_on_is_never_judged_by_when_older_play_is_evicted(tmp_path, monkeypatch):
    """Where a long game is cut does not move either."""
    monkeypatch.setattr(pieces, "LONGEST", 10)
    cuts = tuple(range(3, 32, 3))
    played, split = {}, {}
    writer = writer_at(tmp_path, capacity=14)
    for piece in in_pieces(24, *cuts):
        writer.append([piece])
        reader = BufferReader(tmp_path)
        held_out = in_split(reader.table.ordinal, "held_out", 3)
        for index, record in enumerate(reader.episodes):
            counts = read(frames_of(reader, index)).count[1:].tolist()
            for count in counts:
                assert played.setdefault(count, record.info.start // 10) == record.info.start // 10
                was = split.setdefault(count, bool(held_out[index]))
                assert was or not held_out[index], "trained on before, judged by now"
    assert reader.table.ordinal[0] == -1, "its beginning was evicted"
    assert any(split.values())
