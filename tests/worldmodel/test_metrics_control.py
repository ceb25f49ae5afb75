from dataclasses import replace

import pytest
import torch
from playing import buffer_of, counted
from replays import Frozen, Game

from worldmodel.base import Dream
from worldmodel.metrics.control import ControlScores, controllability


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    return buffer_of(tmp_path_factory.mktemp("buffer"), [counted(tag) for tag in range(30)])


class Noisy(Game):
    """Shows noise beside what it knows."""

    def step(self, dream, actions, generator=None):
        self.noise = torch.randint(0, 255, (), generator=generator, dtype=torch.uint8)
        return super().step(dream, actions, generator)

    def observe(self, dream: Dream, observation="frames"):
        shown = super().observe(dream, observation).clone()
        shown[:, -1] = self.noise
        return shown


class Disobedient(Noisy):
    """Does what it likes."""

    def step(self, dream, actions, generator=None):
        return super().step(dream, torch.zeros_like(actions), generator)


def test_a_dream_that_obeys_is_told_from_one_that_does_not(reader):
    obedient, frozen, other = (controllability(m, reader, count=40, seed=0) for m in (Game(), Frozen(), Disobedient()))
    assert other.scores[0].noise_delta != 0
    for perfect, still, free in zip(obedient.scores, frozen.scores, other.scores, strict=True):
        assert perfect.played == perfect.other_noise == 99.0
        assert perfect.delta > 40
        assert still.delta == still.noise_delta == free.delta == 0
        assert still.played == still.copy_last == perfect.copy_last


def test_both_dreams_have_the_same_noise(reader):
    measured = controllability(Noisy(), reader, count=40, seed=0)
    whole, _ = measured.scores
    assert abs(whole.noise_delta) > 0
    assert measured.horizon == 4
    assert 0 < measured.starts <= 40


def test_where_no_game_goes_on_so_long_nothing_is_measured(reader):
    assert controllability(Game(), reader, count=4, seed=0, horizon=40) is None


def test_the_deltas_are_differences():
    scores = ControlScores("all", played=30.0, random=22.0, other_noise=29.0, copy_last=25.0)
    assert (scores.delta, scores.noise_delta) == (8.0, 1.0)
    assert replace(scores, random=30.0).delta == 0
