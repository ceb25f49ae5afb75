from dataclasses import replace

import numpy as np
import pytest
import torch
from playing import buffer_of, counted
from replays import CONTEXT, HORIZON, Frozen, Game, still

from worldmodel.fidelity import score
from worldmodel.metrics.replay import draw_replay, replay

HORIZONS = (1, 2, 5, 8)


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


# Made by hand.


def checkered(size=16):
    """A game in which nothing changes but one corner, perfectly dreamed; its pictures are no flat ground."""
    seen = still(size=size)
    for frames in (seen.real, seen.dream, seen.ceiling):
        frames[:, :, ::2, ::2] = 180
        frames[:, 1:, :4, :4] = 20
    return seen


def test_structural_similarity_is_1_of_the_same_pictures_and_less_of_others():
    seen = checkered()
    ssim = score(seen, (1, 3)).ssim
    ones = pytest.approx((1.0, 1.0))
    assert (ssim.dream, ssim.dream_changing, ssim.ceiling, ssim.ceiling_changing) == (ones,) * 4
    assert max(ssim.copy_last) < 0.95 and max(ssim.copy_last_changing) < min(ssim.copy_last)
    seen.dream[:, 3] = 100
    worse = score(seen, (1, 3)).ssim
    assert worse.dream[0] == pytest.approx(1.0) and worse.dream[1] < 0.2
    assert worse.ceiling == ones and worse.copy_last == ssim.copy_last


def test_a_dream_that_is_only_brighter_has_the_same_structure():
    seen = checkered()
    seen.dream[:, 1:] += 20
    fidelity = score(seen, (1,))
    assert fidelity.ssim.dream[0] > 0.9 and fidelity.dream[0] < 25


def test_frames_smaller_than_its_window_have_no_structural_similarity():
    assert score(still(size=10), (1,)).ssim is None
    assert score(still(size=11), (1,)).ssim.dream == pytest.approx((1.0,))


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
    seen.outcomes.terminated[0, 1] = True  # right
    seen.outcomes.terminated[0, 3] = True  # after the game: of no account
    seen.outcomes.terminated[1, 2:] = True  # a step too early, and then too late to be right
    seen.outcomes.terminated[2, 0] = True  # wrong
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
    seen = still(batch=1, horizon=4)
    seen.terminated[0, [1, 3]] = seen.outcomes.terminated[0, 1] = True
    fidelity = score(seen, (1, 2))
    assert (fidelity.ends, fidelity.ends_dreamed, fidelity.false_ends) == (1, 1, 0.0)


def test_ends_and_rewards_are_scored_in_the_dream():
    seen = still(batch=2, horizon=4)
    seen.terminated[0, 3] = True
    told = torch.full((2, 4), 0.25)
    told[0, 3] = 0.75
    seen = replace(seen, outcomes=replace(seen.outcomes, end_probability=told), rewards=torch.ones(2, 4))
    fidelity = score(seen, (1,))
    assert (fidelity.end.scores.events, fidelity.end.scores.recall, fidelity.end.scores.precision) == (1, 1.0, 1.0)
    assert fidelity.end.scores.brier == pytest.approx(0.25**2)
    assert fidelity.end.baseline.brier == pytest.approx(1 / 8 * 7 / 8)
    assert (fidelity.reward_error, fidelity.constant_error) == (1.0, 0.0)
    above, below = fidelity.rewards
    assert (above.event, above.scores.events, above.scores.recall) == ("reward above 0", 8, 0.0)
    assert (below.event, below.scores.events, below.scores.drawn_f1) == ("reward below 0", 0, None)
