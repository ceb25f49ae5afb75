import math
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest
from ray.tune import grid_search

from experiments import cluster, sweep
from experiments.cli import run_main
from experiments.presets import cartpole
from tune import sweep as tune_sweep
from tune.early_stopping import EarlyStopping


class Results(list):
    experiment_path = "/somewhere/Dyna"
    errors = ()


def trial(steps, reached, seed=None, **others):
    metrics = {"dyna": {"real_return": reached} | others, "training_iteration": 2}
    tuned = {"fit.steps": steps} | ({} if seed is None else {"seed": seed})
    return SimpleNamespace(config={"tuned": tuned}, metrics=metrics, path=f"/somewhere/Dyna/{steps}_{seed}")


@pytest.fixture
def swept(monkeypatch):
    """What was handed to Ray Tune."""
    seen = SimpleNamespace(results=Results([trial(10, 20.0), trial(30, 40.0)]))

    def fake(settings, space, **others):
        seen.settings, seen.space, seen.others = settings, space, others
        return seen.results

    monkeypatch.setattr(cluster, "ray_cluster", lambda *_: nullcontext(cluster.Addresses(None, "http://here")))
    monkeypatch.setattr(tune_sweep, "sweep", fake)
    return seen


def test_options_and_values_reach_ray_tune(swept):
    arguments = ["--seed", "3", "--seeds", "2", "--time-limit", "5", "--folder", "here", "--space"]
    assert run_main(sweep.main, [*arguments, "fit.steps=10,30", "imagine.dream=model,real", "fit.bf16=true,false"]) == 0
    assert swept.settings.seed == 3 and swept.settings.game == cartpole().game
    assert swept.space == {
        "fit.steps": grid_search([10, 30]),
        "imagine.dream": grid_search(["model", "real"]),
        "fit.bf16": grid_search([True, False]),
        "seed": grid_search([3, 4]),
    }
    assert swept.others == {
        "folder": Path("here"),
        "time_limit_s": 300,
        "metric": "real_return",
        "mode": None,
        "early_stopping": None,
    }


def test_what_runs_are_ranked_by_and_which_of_them_end_early_reach_ray_tune(swept):
    swept.results = Results([trial(10, 20.0, **{"fidelity/end_brier": 0.5})])
    ranked = ["--metric", "fidelity/end_brier", "--mode", "max", "--rounds", "9"]
    stopped = ["--stop-early", "--grace", "2", "--reduction", "4"]
    assert run_main(sweep.main, [*ranked, *stopped, "--space", "fit.steps=10,30"]) == 0
    assert (swept.others["metric"], swept.others["mode"]) == ("fidelity/end_brier", "max")
    assert swept.others["early_stopping"] == EarlyStopping(grace=2, reduction=4.0)


def test_what_was_reached_is_shown_best_first(swept, capsys):
    assert run_main(sweep.main, ["--space", "fit.steps=10,30"]) == 0
    shown = capsys.readouterr().out
    assert shown.index("fit.steps = 30") < shown.index("fit.steps = 10")
    assert "40.0" in shown and "/somewhere/Dyna" in shown and "dashboard at http://here" in shown


def test_combinations_are_ranked_by_the_mean_over_their_seeds(swept, capsys):
    reached = {(10, 0): 100.0, (10, 1): 0.0, (30, 0): 60.0, (30, 1): 61.0}
    swept.results = Results([trial(steps, told, seed) for (steps, seed), told in reached.items()])
    assert run_main(sweep.main, ["--seeds", "2", "--space", "fit.steps=10,30"]) == 0
    shown = capsys.readouterr().out
    assert shown.index("60.5") < shown.index("50.0")
    assert all(f"{steps}_{seed}" in shown for steps, seed in reached)
    assert shown.count("fit.steps = 10") == 1 and "seed = " not in shown


@pytest.mark.parametrize(("mode", "order"), [((), [20, 10, 30]), (("--mode", "max"), [10, 20, 30])])
def test_runs_are_ranked_by_the_metric_and_those_that_did_not_measure_it_come_last(swept, capsys, mode, order):
    brier = {10: 0.25, 20: 0.125, 30: math.nan}
    swept.results = Results([trial(steps, 40.0, **{"fidelity/end_brier": told}) for steps, told in brier.items()])
    assert run_main(sweep.main, ["--metric", "fidelity/end_brier", *mode, "--space", "fit.steps=10,20,30"]) == 0
    shown = capsys.readouterr().out
    places = [shown.index(f"fit.steps = {steps}") for steps in order]
    assert places == sorted(places)
    assert "0.125" in shown and "40.0" in shown and f"{'highest' if mode else 'lowest'} first" in shown


def test_a_trial_that_failed_is_shown_and_told_by_the_status(swept, capsys):
    swept.results = Results([trial(10, 20.0), SimpleNamespace(config={}, metrics={}, path="")])
    swept.results.errors = (RuntimeError("the [dream] broke"),)
    assert run_main(sweep.main, ["--space", "fit.steps=10,30"]) == 1
    assert "A trial failed: the [dream] broke" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "There is nothing to try: give --space"),
        (["--space", "fit.steps"], "not 'fit.steps'"),
        (["--space", "fit.steps="], "not 'fit.steps='"),
        (["--seeds", "2", "--space", "seed=1,2"], "--space names the seeds, and so does --seeds"),
        (["--seeds", "0", "--space", "fit.steps=1"], "seeds must be more than 0"),
        (["--rounds", "0", "--space", "fit.steps=1"], "rounds must be more than 0"),
        (["--metric", "fidelity/scor", "--space", "fit.steps=1"], "did you mean 'fidelity/score'?"),
        (["--metric", "return", "--mode", "min", "--space", "fit.steps=1"], "known are agent/explained_variance,"),
        (["--rounds", "2", "--grace", "2", "--stop-early", "--space", "fit.steps=1"], "grace is 2 and rounds is 2"),
        (["--reduction", "1", "--stop-early", "--space", "fit.steps=1"], "reduction must be more than 1"),
    ],
)
def test_a_mistake_is_one_sentence_before_ray_starts(monkeypatch, capsys, arguments, sentence):
    monkeypatch.setattr(cluster, "ray_cluster", lambda settings: pytest.fail("Ray was started"))
    assert run_main(sweep.main, arguments) == 2
    assert sentence in capsys.readouterr().err
