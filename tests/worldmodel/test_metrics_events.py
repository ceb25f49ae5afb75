import pytest
import torch

from worldmodel.metrics.events import foretold, free_ends, score_events


def scored(probability, happened):
    return score_events(torch.tensor(probability), torch.tensor(happened))


def test_one_who_knows_is_perfect():
    told = foretold("end", torch.tensor([1.0, 0.0, 0.0, 1.0]), torch.tensor([True, False, False, True]))
    scores = told.scores
    assert (scores.steps, scores.events) == (4, 2)
    assert (scores.precision, scores.recall, scores.drawn_precision, scores.drawn_recall) == (1.0,) * 4
    assert scores.brier == 0
    assert told.baseline.brier == pytest.approx(0.25)


def test_by_hand():
    scores = scored([0.9, 0.6, 0.4, 0.1], [True, False, True, False])
    assert (scores.precision, scores.recall) == (0.5, 0.5)
    assert scores.drawn_precision == pytest.approx(1.3 / 2.0)
    assert scores.drawn_recall == pytest.approx(1.3 / 2)
    share = (scores.drawn_precision, scores.drawn_recall)
    assert scores.drawn_f1 == pytest.approx(2 / sum(1 / part for part in share))
    assert scores.brier == pytest.approx((0.01 + 0.36 + 0.36 + 0.01) / 4)


def test_shuffled_it_is_worse_than_the_baseline():
    generator = torch.Generator().manual_seed(0)
    chance = torch.rand(4000, generator=generator) ** 3
    happened = torch.rand(4000, generator=generator) < chance
    told, shuffled = (foretold("end", p, happened) for p in (chance, chance[torch.randperm(4000, generator=generator)]))
    assert told.scores.brier < told.baseline.brier < shuffled.scores.brier
    assert shuffled.scores.drawn_precision == pytest.approx(told.scores.events / 4000, abs=0.02)


def test_the_baseline_tells_the_frequency_at_every_step():
    baseline = foretold("end", torch.rand(10), torch.arange(10) < 2).baseline
    assert (baseline.precision, baseline.recall) == (None, 0.0)
    assert baseline.drawn_precision == pytest.approx(0.2)
    assert baseline.drawn_recall == pytest.approx(0.2)
    assert baseline.brier == pytest.approx(0.2 * 0.8)
    (only,) = baseline.reliability
    assert (only.steps, only.told, only.happened) == (10, pytest.approx(0.2), pytest.approx(0.2))


def test_a_frozen_teller_is_as_good_as_the_baseline_at_best():
    told = foretold("end", torch.full((10,), 0.7), torch.arange(10) < 2)
    assert told.scores.brier == pytest.approx(0.2 * 0.09 + 0.8 * 0.49)
    assert told.scores.brier > told.baseline.brier


def test_reliability_is_told_by_tenths():
    bins = scored([0.0, 0.05, 0.31, 0.39, 1.0], [False, True, False, True, True]).reliability
    assert [(b.steps, round(b.told, 3), b.happened) for b in bins] == [(2, 0.025, 0.5), (2, 0.35, 0.5), (1, 1.0, 1.0)]


def test_of_nothing_nothing_is_said():
    scores = score_events(torch.empty(0), torch.empty(0, dtype=torch.bool))
    assert (scores.steps, scores.events, scores.brier, scores.recall, scores.reliability) == (0, 0, None, None, ())


def test_a_dream_that_ended_too_early_misses_the_real_end():
    probability = torch.tensor([[0.1, 0.8, 0.3, 0.9], [0.2, 0.2, 0.7, 0.1], [0.1, 0.2, 0.3, 0.4]])
    drawn = torch.tensor([[0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]]) > 0
    terminated = torch.tensor([[0, 0, 0, 1], [0, 0, 1, 0], [0, 0, 0, 0]]) > 0
    there = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0], [1, 1, 0, 0]]) > 0
    told, ends = free_ends(probability, drawn, terminated, there)
    assert told.tolist() == pytest.approx([0.1, 0.8, 0.0, 0.2, 0.2, 0.7, 0.1, 0.2])
    assert ends.tolist() == [False, False, True, False, False, True, False, False]
