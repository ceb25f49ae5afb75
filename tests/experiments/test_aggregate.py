import math

import numpy as np
import pytest

from experiments.aggregate import improvement, interquartile_mean


def drawn():
    """The scores of 5 and of 4 runs in 3 games, by game."""
    rng = np.random.default_rng(0)
    ours, theirs = rng.normal(1, 0.5, (5, 3)), rng.normal(0.6, 0.5, (4, 3))
    return ours.T.tolist(), theirs.T.tolist()


def test_the_middle_half_counts():
    assert interquartile_mean([[-1000.0, 2.0, 4.0, 1000.0]]).value == 3.0
    assert interquartile_mean([[0.0, 8.0], [2.0, 4.0]]).value == 3.0


def test_the_estimates_are_those_of_rliable():
    # rliable 1.2.0: aggregate_iqm with 20,000 resamples, probability_of_improvement with 5,000.
    ours, theirs = drawn()
    for scores, told in ((ours, (0.91222, 0.66948, 1.13466)), (theirs, (0.58900, 0.35018, 0.85325))):
        found = interquartile_mean(scores)
        assert found.value == pytest.approx(told[0], abs=1e-5)
        assert (found.low, found.high) == pytest.approx(told[1:], abs=0.02)
    found = improvement(ours, theirs)
    assert found.value == pytest.approx(0.716667, abs=1e-6)
    assert (found.low, found.high) == pytest.approx((0.5, 0.9), abs=0.02)


def test_resampling_keeps_to_the_game():
    # Two games of different scales: a bootstrap that mixed them would have a wide interval.
    found = interquartile_mean([[1.0, 1.0, 1.0], [100.0, 100.0, 100.0]])
    assert found.low == found.high == found.value


def test_equals_are_no_improvement():
    assert improvement([[1.0, 1.0]], [[1.0, 1.0]]).value == 0.5
    assert improvement([[2.0, 3.0]], [[1.0, 1.0]]).low == 1.0


def test_a_single_seed_has_no_interval():
    found = interquartile_mean([[7.0]])
    assert found.value == 7.0
    assert math.isnan(found.low) and math.isnan(found.high)
