from dataclasses import replace

import numpy as np
import pytest
import torch
from counting import length_of
from playing import buffer_of, counted
from replays import Frozen, Game, outcomes, still

from worldmodel.errors import UserError
from worldmodel.metrics.outcomes import free_outcomes, held_out_outcomes


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    return buffer_of(tmp_path_factory.mktemp("buffer"), [counted(tag) for tag in range(30)])


def events(scores):
    return {told.event: told for told in scores.events}


HELD_OUT = [1, 11, 21]
STEPS = sum(map(length_of, HELD_OUT))


class Forgetful(Game):
    """Says of every step what came of the one drawn before it."""

    def read(self, frames, actions, mask, generator=None):
        step = super().read(frames, actions, mask, generator)
        return replace(step, **{name: getattr(step, name).roll(1) for name in ("rewards", "end_probability")})


def test_one_who_knows_the_game_is_perfect_on_every_step_that_is_held_out(reader):
    read, dreamed = held_out_outcomes(Game(), reader, steps=10_000, seed=0)
    assert (read.source, dreamed.source) == ("real frames", "one dreamed step")
    for scores in (read, dreamed):
        end = events(scores)["end"].scores
        assert (end.steps, end.events, end.brier, end.recall, end.precision) == (STEPS, 3, 0.0, 1.0, 1.0)
        assert scores.reward_error == 0 < scores.constant_error
        above = events(scores)["reward above 0"].scores
        assert 0 < above.events < STEPS
        assert (above.precision, above.recall) == (1.0, 1.0)


def test_no_step_is_judged_twice(reader):
    (read, _) = held_out_outcomes(Game(), reader, steps=20, seed=0)
    assert events(read)["end"].scores.steps == 20


def test_shuffled_or_frozen_it_is_worse_than_its_baseline(reader):
    shuffled, _ = held_out_outcomes(Forgetful(), reader, steps=10_000, seed=0)
    _, frozen = held_out_outcomes(Frozen(), reader, steps=10_000, seed=0)
    for scores in (shuffled, frozen):
        end = events(scores)["end"]
        assert end.scores.brier > end.baseline.brier
    assert shuffled.reward_error > shuffled.constant_error
    assert events(frozen)["end"].scores.precision == pytest.approx(3 / STEPS)


def test_where_nothing_is_held_out_it_is_said(tmp_path):
    with pytest.raises(UserError, match="collect more"):
        held_out_outcomes(Game(), buffer_of(tmp_path, [counted(1)]), 10, 0)


def dreamed(told, paid, signs=None):
    """A replay that paid and told these rewards, (batch, horizon)."""
    paid, told = torch.tensor(paid), torch.tensor(told)
    seen = still(*paid.shape)
    return replace(seen, rewards=paid, outcomes=outcomes(torch.zeros(paid.shape) > 0, told, signs))


def test_signs_that_are_drawn_are_judged_by_their_probabilities():
    signs = torch.tensor([[[0.1, 0.2, 0.7], [0.6, 0.3, 0.1], [0.0, 1.0, 0.0]]])
    scores = free_outcomes(dreamed([[1.0, -1.0, 0.0]], [[5.0, 1.0, 0.0]], signs))
    above, below = (events(scores)[f"reward {side} 0"].scores for side in ("above", "below"))
    assert above.brier == pytest.approx((0.3**2 + 0.9**2 + 0) / 3)
    assert below.brier == pytest.approx((0.1**2 + 0.6**2 + 0) / 3)
    assert (above.events, below.events) == (2, 0)
    assert scores.reward_error == pytest.approx((0 + 2 + 0) / 3), "signs are held against signs"


def test_of_expected_rewards_what_is_small_counts_as_none():
    scores = free_outcomes(dreamed([[0.4, 9.0, -0.3, -6.0, 4.0]], [[0.0, 10.0, 0.0, -10.0, 0.0]]))
    above, below = (events(scores)[f"reward {side} 0"].scores for side in ("above", "below"))
    assert (above.events, above.precision, above.recall) == (1, 1.0, 1.0)
    assert (below.events, below.precision, below.recall) == (1, 1.0, 1.0)
    assert scores.constant_error == 4.0


def test_rewards_count_until_dream_or_game_is_over():
    seen = dreamed([[1.0] * 4] * 3, [[0.0] * 4] * 3)
    seen.outcomes.terminated[0, 1] = seen.terminated[1, 2] = True
    seen.mask[2, 2:] = False
    assert events(free_outcomes(seen))["reward above 0"].scores.steps == 2 + 3 + 1


def test_rewards_of_a_free_dream_belong_to_their_steps():
    rng = np.random.default_rng(0)
    paid = rng.normal(size=(4, 6)).astype(np.float32).tolist()
    assert free_outcomes(dreamed(paid, paid)).reward_error == 0
    assert free_outcomes(dreamed(paid[::-1], paid)).reward_error > 0.5
