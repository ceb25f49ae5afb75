"""A sweep over the whole loop in miniature."""

from dataclasses import replace
from pathlib import Path

import pytest
import ray
from miniature import MINIATURE
from ray.tune import choice, grid_search

from rl.dyna import Dyna, DynaConfig
from tune.early_stopping import EarlyStopping
from tune.sweep import sweep
from worldmodel.errors import UserError
from worldmodel.latent.model import LatentWorldModel

TIME_LIMIT_S = 600
ONE_ROUND = replace(MINIATURE, rounds=1)
RATES = [1e-3, 1e-4]


def test_one_cpu_is_too_few_and_one_sentence_says_so(one_cpu, tmp_path):
    with pytest.raises(UserError, match="needs 2 CPUs, the cluster has 1"):
        sweep(ONE_ROUND, {"imagine.learning_rate": grid_search(RATES)}, folder=tmp_path)


@pytest.mark.parametrize(
    ("space", "sentence"),
    [
        ({"fit.step": grid_search([1, 2])}, r"did you mean 'steps'"),
        ({"fit.steps": grid_search([1, "many"])}, "fit.steps must be a whole number, not 'many'"),
        ({"imagine.minibatch": choice([0])}, "imagine.minibatch must be more than 0"),
        ({"collect.collectors": grid_search([1, 2])}, "needs 3 CPUs, the cluster has 2; lower --collect.collectors"),
        ({"rounds": grid_search([1, 2])}, "rounds must be the same"),
    ],
)
def test_a_space_that_cannot_work_is_refused_at_once(two_cpus, tmp_path, space, sentence):
    with pytest.raises(UserError, match=sentence):
        sweep(ONE_ROUND, space, folder=tmp_path)
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


def test_where_nothing_is_dreamed_nothing_is_ranked_by_dreams(tmp_path):
    space = {"imagine.dream": grid_search(["real", "model"])}
    with pytest.raises(UserError, match=r"fidelity/score is of a dream, and imagine.dream is real"):
        sweep(MINIATURE, space, folder=tmp_path, metric="fidelity/score")


def test_a_trial_reserves_what_its_settings_need():
    space = DynaConfig(MINIATURE).tune({"collect.collectors": 3, "cluster.learner_gpus": 0.25})
    for config in (space, space.to_dict()):
        assert Dyna.default_resource_request(config).bundles == [{"CPU": 1}, *[{"CPU": 1}] * 3, {"GPU": 0.25}]


def test_two_trials_on_exactly_the_cpus_that_one_asks_for(two_cpus, tmp_path):
    space = {"imagine.learning_rate": grid_search(RATES)}
    results = sweep(ONE_ROUND, space, folder=tmp_path, time_limit_s=TIME_LIMIT_S)
    assert not results.errors
    assert [result.config["tuned"] for result in results] == [{"imagine.learning_rate": rate} for rate in RATES]
    for result in results:
        assert result.metrics["training_iteration"] == result.metrics["dyna"]["round"] == 1
        assert Path(result.path).is_relative_to(tmp_path)
        with result.checkpoint.as_directory() as kept:
            assert LatentWorldModel.from_pretrained(Path(kept) / "world_model").config == ONE_ROUND.model
    best = results.get_best_result()
    assert best.metrics["dyna"]["real_return"] == max(result.metrics["dyna"]["real_return"] for result in results)
    assert ray.available_resources()["CPU"] == 2


def test_a_trial_that_falls_behind_in_what_trials_are_ranked_by_ends_early(two_cpus, tmp_path):
    """One trial at a time: the first goes on to its end, the second only if its first round is no worse."""
    space = {"imagine.learning_rate": grid_search(RATES)}
    stopping = EarlyStopping(grace=1, reduction=2.0)
    results = sweep(MINIATURE, space, folder=tmp_path, metric="fidelity/score", early_stopping=stopping)
    assert not results.errors
    first, second = (list(result.metrics_dataframe["dyna/fidelity/score"]) for result in results)
    assert len(first) == 2 and len(second) == (1 if second[0] < first[0] else 2)
    best = max(results, key=lambda result: result.metrics["dyna"]["fidelity/score"])
    assert results.get_best_result().path == best.path
