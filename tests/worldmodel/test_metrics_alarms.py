from dataclasses import replace

import numpy as np
import pytest
import torch
from counting import length_of, read
from playing import buffer_of, counted
from replays import Game, outcomes

from worldmodel.doubt import STRETCH
from worldmodel.metrics.alarms import alarms

OLD, NEW = range(5), range(5, 25)


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    play = [counted(tag, number=1) for tag in OLD], [counted(tag, number=2) for tag in NEW]
    return buffer_of(tmp_path_factory.mktemp("buffer"), *play)


class Doubter(Game):
    """Doubts what `doubts` says of the readings of the frames up to a step's, (batch, frames)."""

    def __init__(self, doubts, limit=0.5):
        super().__init__()
        self._doubts, self._limit = doubts, limit

    @property
    def doubt_limit(self):
        return torch.tensor(self._limit)

    def read(self, frames, actions, mask, generator=None):
        doubt = self._doubts(read(frames)).float()
        return replace(outcomes(torch.zeros(len(doubt), dtype=torch.bool)), doubt=doubt)


def stranger(seen):
    return seen.tag[:, -1] != seen.tag[:, -2]


def late(seen):
    return seen.count[:, -1]


def test_one_who_knows_the_game_doubts_other_games_pictures_and_no_play(reader):
    found = alarms(Doubter(stranger), reader, since=2, seed=0)
    assert (found.games, found.stretches, found.strange) == (len(NEW), len(NEW), 1.0)
    assert found.steps == found.real == found.whole == 0


def test_one_doubted_step_is_enough(reader):
    limit = float(np.median([length_of(tag) for tag in NEW]))
    found = alarms(Doubter(late, limit), reader, since=2, seed=0)
    long = [length_of(tag) > limit for tag in NEW]
    assert 0 < sum(long) < len(long)
    assert found.real == pytest.approx(sum(long) / len(long))
    assert found.strange < found.real, "only one of a stretch's steps was struck"
    lengths = np.array([length_of(tag) for tag in NEW])
    assert found.steps == pytest.approx((lengths - np.floor(limit)).clip(0).sum() / lengths.sum())


def test_who_always_doubts_or_never_does_tells_nothing_apart(reader):
    for limit, share in ((-1.0, 1.0), (1e9, 0.0)):
        found = alarms(Doubter(late, limit), reader, since=2, seed=0)
        assert found.steps == found.real == found.whole == found.strange == share


def test_only_play_that_came_later_counts(reader):
    assert alarms(Doubter(stranger), reader, since=1, seed=0).stretches == len(OLD) + len(NEW)
    assert alarms(Doubter(stranger), reader, since=3, seed=0) is None


def test_long_games_are_several_stretches(tmp_path, monkeypatch):
    monkeypatch.setattr("worldmodel.doubt.STRETCH", 3)
    found = alarms(Doubter(stranger), buffer_of(tmp_path, [counted(tag) for tag in NEW]), since=1, seed=0)
    assert found.stretches == sum(-(-length_of(tag) // 3) for tag in NEW)
    assert found.games == len(NEW)


def test_a_game_of_several_stretches_is_doubted_whole_for_one_of_them(tmp_path, monkeypatch):
    monkeypatch.setattr("worldmodel.doubt.STRETCH", 3)
    limit = float(np.median([length_of(tag) for tag in NEW]))
    found = alarms(Doubter(late, limit), buffer_of(tmp_path, [counted(tag) for tag in NEW]), since=1, seed=0)
    assert found.whole == pytest.approx(np.mean([length_of(tag) > limit for tag in NEW]))
    assert 0 < found.real < found.whole
    assert STRETCH == 64


def test_a_game_that_went_on_in_another_round_is_one(tmp_path):
    halves = [[counted(tag, 0, 3) for tag in NEW], [counted(tag, 3, number=2) for tag in NEW]]
    found = alarms(Doubter(late, limit=1.5), buffer_of(tmp_path, *halves), since=1, seed=0)
    assert found.games == len(NEW) and found.stretches == 2 * len(NEW)
    assert found.whole == 1.0


def test_pictures_of_others_are_found_in_whatever_batches_they_are_read(reader, monkeypatch):
    monkeypatch.setattr("worldmodel.metrics.alarms._BATCH", 7)
    assert alarms(Doubter(stranger), reader, since=2, seed=0).strange == 1.0
