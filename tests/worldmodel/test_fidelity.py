from dataclasses import replace

import numpy as np
import pytest
import torch
from counting import CountingWorldModel
from playing import SIZE, buffer_of, counted
from torch import nn

from worldmodel.fidelity import Replay, draw_replay, replay, score

CONTEXT, HORIZON = 4, 8
HORIZONS = (1, 2, 5, 8)


class Game(CountingWorldModel):
    """The counting game as it is."""

    def __init__(self):
        super().__init__(CONTEXT, SIZE)
        self.place = nn.Parameter(torch.zeros(()))


class Frozen(Game):
    """Stands still."""

    def step(self, dream, actions, generator=None):
        _, step = super().step(dream, actions, generator)
        return dream, replace(step, terminated=torch.ones_like(step.terminated))


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    return buffer_of(tmp_path_factory.mktemp("buffer"), [counted(tag) for tag in range(30)])


@pytest.fixture(scope="module")
def windows(reader):
    return draw_replay(reader, CONTEXT, HORIZON, count=60, seed=0)


def test_a_perfect_dream_is_capped(reader, windows):
    fidelity = score(replay(Game(), reader, windows, seed=0), HORIZONS)
    assert fidelity.horizons == HORIZONS
    for curve in (fidelity.dream, fidelity.dream_changing, fidelity.ceiling, fidelity.ceiling_changing):
        assert curve == (99.0,) * 4
    assert max(fidelity.copy_last) < 50
    assert fidelity.starts == 60
    assert fidelity.ends == fidelity.ends_dreamed > 0
    assert fidelity.adapter_off is None


def test_a_frozen_dream_is_the_last_frame(reader, windows):
    fidelity = score(replay(Frozen(), reader, windows, seed=0), HORIZONS)
    assert fidelity.dream == fidelity.copy_last
    assert fidelity.dream_changing == fidelity.copy_last_changing
    assert fidelity.ends > fidelity.ends_dreamed == windows.terminated[:, CONTEXT - 1].sum() > 0
    assert fidelity.false_ends == 1.0


def test_under_shuffled_actions_the_dream_is_worse(reader, windows):
    actions = windows.actions.copy()
    actions[:, CONTEXT - 1 :] = np.random.default_rng(0).permuted(actions[:, CONTEXT - 1 :], axis=0)
    true, shuffled = (replay(Game(), reader, w, seed=0) for w in (windows, replace(windows, actions=actions)))
    for better, worse in zip(score(true, HORIZONS).dream, score(shuffled, HORIZONS).dream, strict=True):
        assert better > worse + 20


def test_only_held_out_games_are_judged(reader, windows):
    seeds = {record.first_frame: record.info.seed for record in reader.episodes}
    first = max(seeds)
    starts = np.array(sorted(seeds))
    judged = {seeds[starts[np.searchsorted(starts, i, side="right") - 1]] for i in windows.frame_ids.ravel()}
    assert judged <= {1, 11, 21}
    assert first not in judged


def test_the_same_seed_judges_the_same_play(reader, windows):
    again, other = (draw_replay(reader, CONTEXT, HORIZON, count=60, seed=seed) for seed in (0, 1))
    assert np.array_equal(again.frame_ids, windows.frame_ids)
    assert not np.array_equal(other.frame_ids, windows.frame_ids)


def test_the_start_is_shown_as_it_was(reader, windows):
    seen = replay(Game(), reader, windows, seed=0)
    assert torch.equal(seen.dream[:, 0], seen.real[:, 0])
    assert seen.real.shape == seen.dream.shape == seen.ceiling.shape == (60, HORIZON + 1, SIZE, SIZE, 3)
    assert torch.equal(seen.dream[seen.mask], seen.real[seen.mask])
    assert seen.terminated.shape == seen.dreamed_ends.shape == (60, HORIZON)
    assert torch.equal(seen.terminated & seen.dreamed_ends, seen.terminated)


# Made by hand.


def still(batch=2, horizon=3, level=100):
    """A game in which nothing happens, perfectly dreamed."""
    frames = torch.full((batch, horizon + 1, 4, 4, 3), level, dtype=torch.uint8)
    nothing = torch.zeros(batch, horizon, dtype=torch.bool)
    return Replay(frames, frames.clone(), frames.clone(), torch.ones(batch, horizon + 1) > 0, nothing, nothing.clone())


def test_the_ratio_is_the_usual_one():
    seen = still()
    seen.dream[:, 1] += 1
    seen.dream[:, 2] -= 25
    fidelity = score(seen, (1, 2, 3))
    assert fidelity.dream == pytest.approx((48.13, 20.17, 99.0), abs=0.01)
    assert fidelity.ceiling == (99.0,) * 3


def test_all_pixels_count_together_not_the_mean_of_the_ratios():
    seen = still()
    seen.dream[0, 1] += 10
    assert score(seen, (1,)).dream[0] == pytest.approx(10 * np.log10(255**2 / 50), abs=0.01)


def test_on_a_still_ground_what_changes_is_harder():
    seen = still()
    seen.real[:, 1:, 0, 0] = 200
    seen.dream[:, 1:, 0, 0] = 180
    fidelity = score(seen, (1, 3))
    assert fidelity.dream_changing == pytest.approx((20 * np.log10(255 / 20),) * 2)
    assert all(c < a for c, a in zip(fidelity.dream_changing, fidelity.dream, strict=True))
    assert fidelity.copy_last_changing == pytest.approx((20 * np.log10(255 / 100),) * 2)
    assert all(c < a for c, a in zip(fidelity.copy_last_changing, fidelity.copy_last, strict=True))


def test_what_is_off_where_nothing_changes_is_no_matter_of_the_changing_pixels():
    seen = still()
    seen.real[:, 1:, 0, 0] = seen.dream[:, 1:, 0, 0] = 200
    seen.dream[:, 1:, 3, 3] = 0
    fidelity = score(seen, (1,))
    assert fidelity.dream_changing == (99.0,)
    assert fidelity.dream[0] < 30


def test_frames_that_there_were_not_do_not_count():
    seen = still()
    seen.mask[0, 2:] = False
    seen.dream[0, 2:] = 0
    assert score(seen, (1, 2, 3)).dream == (99.0,) * 3
    seen.mask[1, 3] = False
    assert score(seen, (1, 2, 3, 7)).horizons == (1, 2)


def test_ends_are_counted_up_to_a_dreams_first():
    seen = still(batch=4, horizon=4)
    seen.terminated[0, 1] = seen.terminated[1, 3] = True
    seen.mask[0, 3:] = seen.mask[3, 2:] = False
    seen.dreamed_ends[0, 1] = True  # right
    seen.dreamed_ends[0, 3] = True  # after the game: of no account
    seen.dreamed_ends[1, 2:] = True  # a step too early, and then too late to be right
    seen.dreamed_ends[2, 0] = True  # wrong
    fidelity = score(seen, (1,))
    assert (fidelity.starts, fidelity.ends, fidelity.ends_dreamed) == (4, 2, 1)
    assert fidelity.false_ends == pytest.approx(2 / (1 + 3 + 1 + 1))


def test_the_base_is_scored_beside_the_adapter():
    seen, off = still(), still()
    off.dream[:, 1:] += 1
    fidelity = score(seen, (1, 2), off)
    assert fidelity.dream == (99.0, 99.0)
    assert fidelity.adapter_off == pytest.approx((48.13, 48.13), abs=0.01)
    assert fidelity.adapter_off_changing == (99.0, 99.0)


def test_where_lives_end_only_the_first_end_counts():
    pictures, flags = torch.zeros(1, 5, 4, 4, 3, dtype=torch.uint8), torch.zeros(1, 4, dtype=torch.bool)
    real, dreamed = flags.clone(), flags.clone()
    real[0, [1, 3]] = dreamed[0, 1] = True
    mask = torch.ones(1, 5, dtype=torch.bool)
    fidelity = score(Replay(pictures, pictures, pictures, mask, real, dreamed), (1, 2))
    assert (fidelity.ends, fidelity.ends_dreamed, fidelity.false_ends) == (1, 1, 0.0)
