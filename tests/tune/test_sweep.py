"""A sweep over the whole loop in miniature."""

import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import ray
from miniature import MINIATURE
from ray.tune import choice, grid_search
from ray.tune.schedulers import ASHAScheduler

from rl.dyna import Dyna, DynaConfig
from tune.early_stopping import EarlyStopping
from tune.sweep import sweep
from worldmodel.errors import UserError
from worldmodel.latent.model import LatentWorldModel

TIME_LIMIT_S = 600


@pytest.mark.parametrize(
    ("space", "sentence"),
    [
        ({"fit.step": grid_search([1, 2])}, r"did you mean 'steps'"),
        ({"fit.steps": grid_search([1, "many"])}, "fit.steps must be a whole number, not 'many'"),
        ({"imagine.minibatch": choice([0])}, "imagine.minibatch must be more than 0"),
        ({"collect.collectors": grid_search([1, 2])}, "needs 3 CPUs, the cluster has 2; lower --collect.collectors"),
        ({"rounds": grid_search([1, 2])}, "rounds must be the same"),
        ({"imagine.policy": grid_search(["/nowhere"])}, "imagine.policy: there is no folder /nowhere"),
        ({"imagine.policy": grid_search(["."])}, "imagine.policy is a relative path: give it whole"),
    ],
)
def test_a_space_that_cannot_work_is_refused_at_once(two_cpus, tmp_path, space, sentence):
    with pytest.raises(UserError, match=sentence):
        sweep(MINIATURE, space, folder=tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"metric": "fidelity/scores"}, "did you mean 'fidelity/score'.*known are .*, real_return"),
        ({"metric": "loss/total", "mode": "min"}, "nothing can be ranked by 'loss/total'"),
        ({"early_stopping": EarlyStopping(grace=2)}, "grace is 2 and rounds is 2"),
        ({"early_stopping": EarlyStopping(reduction=1.0)}, "reduction must be more than 1"),
    ],
)
def test_what_trials_cannot_be_ranked_or_stopped_by_is_refused_without_a_cluster(tmp_path, changes, sentence):
    with pytest.raises(UserError, match=sentence):
        sweep(MINIATURE, {"fit.steps": grid_search([1, 2])}, folder=tmp_path, **changes)
    assert not list(tmp_path.iterdir())


def test_trials_are_not_repeated_under_one_seed(tmp_path):
    with pytest.raises(UserError, match="samples would repeat the same trials"):
        sweep(MINIATURE, {"fit.steps": grid_search([1, 2])}, folder=tmp_path, samples=2)


def test_where_nothing_is_dreamed_nothing_is_ranked_by_dreams(tmp_path):
    space = {"imagine.dream": grid_search(["real", "model"])}
    with pytest.raises(UserError, match=r"fidelity/score is of a dream, and imagine.dream is real"):
        sweep(MINIATURE, space, folder=tmp_path, metric="fidelity/score")


def test_a_trial_reserves_what_its_settings_need():
    space = DynaConfig(MINIATURE).tune({"collect.collectors": 3, "cluster.learner_gpus": 0.25})
    for config in (space, space.to_dict()):
        assert Dyna.default_resource_request(config).bundles == [{"CPU": 1}, *[{"CPU": 1}] * 3, {"GPU": 0.25}]


def cpus_given_back():
    """The free CPUs, once the trials have left: Ray ends actors, and counts what is free, in its own time."""
    deadline = time.monotonic() + 30
    while (free := ray.available_resources().get("CPU", 0)) < 2 and time.monotonic() < deadline:
        time.sleep(0.2)
    return free


def check_trials(results, folder):
    """Each was told what is its own, kept what it reached, and has left."""
    assert not results.errors
    for result in results:
        assert result.metrics["training_iteration"] == result.metrics["dyna"]["round"]
        assert Path(result.path).is_relative_to(folder)
        with result.checkpoint.as_directory() as kept:
            assert LatentWorldModel.from_pretrained(Path(kept) / "world_model").config == MINIATURE.model
    assert cpus_given_back() == 2


def test_a_trial_runs_on_exactly_the_cpus_that_it_asks_for(two_cpus, tmp_path):
    space = {"evaluate.max_steps": grid_search([1])}
    results = sweep(replace(MINIATURE, rounds=1), space, folder=tmp_path, time_limit_s=TIME_LIMIT_S)
    check_trials(results, tmp_path)
    assert [result.config["tuned"] for result in results] == [{"evaluate.max_steps": 1}]
    assert results[0].metrics["dyna"]["real_return"] < 10, "judged by games of a single step"


def test_trials_are_ranked_and_stopped_as_it_is_said(two_cpus, monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr("tune.sweep.Tuner", lambda _, **told: asked.append(told) or SimpleNamespace(fit=lambda: None))
    space, stopping = {"fit.steps": choice([1, 2])}, EarlyStopping(grace=2, reduction=4.0)
    settings = replace(MINIATURE, rounds=9)
    sweep(settings, space, folder=tmp_path, samples=3, metric="fidelity/end_brier", early_stopping=stopping)
    sweep(settings, space, folder=tmp_path, mode="min")
    (told, plain), longest = ([each["tune_config"] for each in asked], asked[0]["run_config"].stop)
    assert (told.metric, told.mode, told.num_samples) == ("dyna/fidelity/end_brier", "min", 3)
    assert (plain.metric, plain.mode, plain.scheduler) == ("dyna/real_return", "min", None)
    assert isinstance(told.scheduler, ASHAScheduler) and longest == {"training_iteration": 9}


@pytest.mark.slow
def test_a_trial_that_falls_behind_in_what_trials_are_ranked_by_ends_early(two_cpus, tmp_path):
    """One trial at a time, the second judged by games of a single step."""
    space = {"evaluate.max_steps": grid_search([100, 1])}
    stopping = EarlyStopping(grace=1, reduction=2.0)
    results = sweep(MINIATURE, space, folder=tmp_path, time_limit_s=TIME_LIMIT_S, early_stopping=stopping)
    check_trials(results, tmp_path)
    first, second = (list(result.metrics_dataframe["dyna/real_return"]) for result in results)
    assert second[0] < first[0]
    assert (len(first), len(second)) == (2, 1)
    assert results.get_best_result().path == results[0].path
