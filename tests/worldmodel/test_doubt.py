import numpy as np
import pytest
import torch
from playing import SIZE, buffer_of, counted
from tiny import tiny

from worldmodel.doubt import FALSE_ALARMS, MOST_FALSE_ALARMS, STRETCH, doubt_limit
from worldmodel.fitting import FitConfig, Stage
from worldmodel.latent.fitter import LatentFitter


def play(episodes, length, seed):
    rng = np.random.default_rng(seed)
    doubt = rng.gamma(0.5, size=(episodes, length)).astype(np.float32)
    return doubt.ravel(), np.repeat(np.arange(episodes), length), np.tile(np.arange(length), episodes)


def alarmed(doubt, limit, length):
    return (doubt.reshape(-1, length).max(1) > limit).mean()


def test_new_play_like_the_old_is_hardly_ever_doubted():
    rates = []
    for seed in range(20):
        limit = doubt_limit(*play(200, STRETCH, seed))
        rates.append(alarmed(play(200, STRETCH, 1000 + seed)[0], limit, STRETCH))
    assert 0 < np.mean(rates) < FALSE_ALARMS + 0.01


def test_long_games_count_stretch_by_stretch():
    doubt = np.zeros(400 * STRETCH, np.float32)
    doubt[5 * STRETCH] = 1.0
    one_game = doubt_limit(doubt, np.zeros(len(doubt), np.int64), np.arange(len(doubt)))
    assert one_game == 0.0


@pytest.mark.parametrize("episodes", [19, 25, 31])
def test_where_play_is_short_the_largest_doubt_is_the_limit(episodes):
    rates = []
    for seed in range(400):
        doubt, episode, time = play(episodes, STRETCH, seed)
        limit = doubt_limit(doubt, episode, time)
        assert limit == doubt.max()
        rates.append(alarmed(play(50, STRETCH, 1000 + seed)[0], limit, STRETCH))
    assert 0 < np.mean(rates) < MOST_FALSE_ALARMS + 0.01


@pytest.mark.parametrize("episodes", [0, 1, 18])
def test_too_little_play_sets_no_limit(episodes):
    assert doubt_limit(*play(episodes, 10, 0)) == torch.inf


def test_a_fit_of_the_head_measures_it_on_held_out_play(tmp_path):
    reader = buffer_of(tmp_path, [counted(tag % 100) for tag in range(600)])
    model = tiny(frame_size=SIZE)
    assert model.doubt_limit == torch.inf
    config = FitConfig(head_steps=2, head_batch_size=8, head_dreams=4, dream=1)
    fitter = LatentFitter(model, config, reader, torch.device("cpu"), tmp_path / "failures")
    fitter.begin(Stage("head", 2), 0)
    fitter.fit(2)
    assert model.doubt_limit == torch.inf
    fitter.finish()
    assert 0 < model.doubt_limit < torch.inf
