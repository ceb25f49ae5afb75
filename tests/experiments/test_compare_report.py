import io
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from experiments.compare_report import learning_curves, names_of, print_comparison
from experiments.comparison import CompareSettings, Comparison, Point, RowResult
from experiments.presets import PRESETS
from rl.settings import GameSettings, Settings
from worldmodel.latent.config import LatentConfig


def result(*means, steps=6000):
    points = [Point(steps * n // len(means), 10.0 * n, (mean - 1, mean + 1)) for n, mean in enumerate(means, start=1)]
    return RowResult(tuple(points), imagined_steps=99_000)


def comparison(game="CartPole-v1", **rows):
    kept = {row: {str(seed): found for seed, found in enumerate(results)} for row, results in rows.items()}
    return Comparison(game, "command", "machine", {}, kept)


def shown(compared, settings=None, others=()):
    text = io.StringIO()
    console = Console(file=text, width=200)
    print_comparison(console, compared, settings or Settings(), CompareSettings(), others)
    return text.getvalue()


@pytest.fixture
def compared():
    return comparison(
        imagination=[result(100.0, 210.0), result(90.0, 190.0), result(95.0, 60.0)],
        random=[RowResult((Point(0, 0.0, (20.0,)),))] * 3,
        model_free=[result(20.0, 50.0), result(20.0, 52.0), result(20.0, 70.0)],
        ceiling=[result(200.0, 400.0)] * 3,
    )


def test_each_row_tells_its_scores_and_its_costs(compared):
    lines = shown(compared).splitlines()
    imagination = next(line for line in lines if "imagination alone" in line)
    assert imagination.split()[2:6] == ["3", "6,000", "99,000", "0.3"]
    assert imagination.split()[6] == "153.3", "the last point of every seed, not the best"
    assert "human" not in shown(compared)


def test_the_verdict_goes_by_seeds_and_by_probability(compared):
    told = shown(compared)
    assert "better than random policy with a probability of 1.00" in told
    # Of nine pairs, those of the seed that reached 60 with 50 and 52 are won, that with 70 is lost.
    assert "same real steps with a probability of 0.89" in told
    assert "on 2 of 3 seeds" in told
    assert "Imagination reaches 38% of its ceiling, over 3 of the seeds." in told


def test_the_share_of_the_ceiling_sets_each_seed_against_its_own(compared):
    ceiling = {"2": compared.rows["ceiling"]["2"]}
    told = shown(replace(compared, rows={**compared.rows, "ceiling": ceiling}))
    assert "Imagination reaches 15% of its ceiling, over 1 of the seeds." in told
    assert "of its ceiling" not in shown(replace(compared, rows={**compared.rows, "ceiling": {"9": ceiling["2"]}}))


def test_a_row_that_is_not_there_is_not_named(compared):
    assert "model_free_more" not in names_of(compared, CompareSettings())
    assert "fine" not in shown(compared)


def test_seeds_that_a_row_lacks_are_left_blank(compared):
    lacking = replace(compared, rows={**compared.rows, "random": {"2": compared.rows["random"]["2"]}})
    row = [line for line in shown(lacking).splitlines() if "random policy" in line][1]
    assert row.split() == ["random", "policy", "20.0"]


def test_the_curves_stand_at_their_real_steps(compared):
    figure = learning_curves(compared, names_of(compared, CompareSettings()), "steps", lambda point: point.real_steps)
    drawn = {curve.get_label(): curve.lines[0] for curve in figure.axes[0].containers}["imagination alone"]
    assert list(drawn.get_xdata()) == [3000, 6000]
    np.testing.assert_allclose(np.asarray(drawn.get_ydata(), float), [95.0, 460 / 3])


@pytest.mark.parametrize(("last", "scale"), [(100_000, "linear"), (1_000_000, "symlog")])
def test_the_axis_of_steps_bears_numbers_however_far_it_reaches(compared, last, scale):
    names = names_of(compared, CompareSettings())
    figure = learning_curves(compared, names, "steps", lambda point: 60_000 if point.real_steps < 6000 else last)
    axes = figure.axes[0]
    assert axes.get_xscale() == scale
    figure.canvas.draw()
    assert len([label for label in axes.get_xticklabels(which="both") if label.get_text()]) > 2


def test_atari_is_put_on_the_human_scale_over_games():
    settings = replace(PRESETS["atari"](), game=GameSettings("ALE/Pong-v5"), model=LatentConfig())
    pong = comparison("ALE/Pong-v5", imagination=[result(14.6), result(14.6)], random=[result(-20.7)])
    boxing = comparison("ALE/Boxing-v5", imagination=[result(0.1), result(0.1)])
    told = shown(pong, settings, [boxing])
    alone, *_, together = [line for line in told.splitlines() if "imagination alone" in line]
    assert "1.000" in alone and "another protocol" in alone
    assert "0.500" in together and "2 games" in told
    assert sum(line.strip().startswith("random policy") for line in told.splitlines()) == 2, "Boxing lacks it"
