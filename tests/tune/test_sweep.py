"""A sweep over the whole loop in miniature."""

from dataclasses import replace
from pathlib import Path

import pytest
import ray
from miniature import MINIATURE
from ray.tune import choice, grid_search

from rl.dyna import Dyna, DynaConfig
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
