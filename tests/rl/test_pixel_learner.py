"""The pixel family where the latent one is: fitted by the learner, dreamed by the environment, played by Dyna."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from clusters import ray_on
from miniature import MINIATURE
from pixel_dreams import CONFIG, SIZE, SPEC
from playing import counted

from envs import NeuralVectorEnv
from rl.buffer import BufferWriter
from rl.dyna_config import DynaConfig
from rl.learner import WorldModelLearner
from rl.settings import Settings
from worldmodel.data.episode import Episode
from worldmodel.families import load_world_model
from worldmodel.pixel.model import PixelWorldModel


def grown(episode: Episode) -> Episode:
    """The same with frames twice as large."""
    return replace(episode, frames=episode.frames.repeat(2, axis=1).repeat(2, axis=2))


@pytest.fixture
def learner(tmp_path):
    BufferWriter(tmp_path / "play", (SIZE, SIZE, 3), SPEC, 10_000).append([grown(counted(tag)) for tag in range(4)])
    return WorldModelLearner(CONFIG, replace(MINIATURE.fit, first_steps=2), SPEC, tmp_path / "play", 0, 1)


def test_a_learner_fits_it_stage_by_stage_and_hands_it_out(learner, tmp_path):
    for stage in learner.stages(True):
        assert learner.begin(stage, 1) == learner.parameters()
        assert np.isfinite(list(learner.fit(stage.steps).values())).all()
        learner.finish()
    learner.save(tmp_path / "model")
    fitted, untrained = load_world_model(tmp_path / "model"), PixelWorldModel(CONFIG, SPEC)
    untrained.load_state_dict({name: torch.from_numpy(array.copy()) for name, array in learner.weights().items()})
    for name, tensor in fitted.state_dict().items():
        assert torch.equal(tensor, untrained.state_dict()[name]), name


def test_a_learner_goes_on_with_what_was_saved(learner, tmp_path):
    learner.save(tmp_path / "model")
    before = learner.weights()
    learner.load(tmp_path / "model")
    assert all(np.array_equal(array, before[name]) for name, array in learner.weights().items())


def test_a_gpu_that_is_not_meant_for_it_is_left_alone(tmp_path, monkeypatch):
    """Ray hides it from nobody here."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    BufferWriter(tmp_path / "play", (SIZE, SIZE, 3), SPEC, 10_000)
    learner = WorldModelLearner(CONFIG, MINIATURE.fit, SPEC, tmp_path / "play", 0, 1, on_gpu=False)
    learner.save(tmp_path / "model")
    learner.load(tmp_path / "model")


def test_it_is_judged_on_held_out_play(learner):
    judgement = learner.judge(films=1)
    assert judgement.fidelity.adapter_off is None
    assert judgement.films[0].dream.shape[1:] == (SIZE, SIZE, 3)


def test_another_model_is_judged_on_the_very_same_play(learner, tmp_path):
    assert learner.judge(films=1).incumbent is None
    learner.save(tmp_path / "before")
    same = learner.judge(1, tmp_path / "before")
    assert same.incumbent.dream == same.fidelity.dream
    (stage, *_) = learner.stages(True)
    learner.begin(stage, 1)
    learner.fit(2)
    learner.finish()
    fitted = learner.judge(1, tmp_path / "before")
    assert fitted.incumbent.dream == same.fidelity.dream != fitted.fidelity.dream


def test_many_dreams_are_replaced_where_they_end_memory_and_all(learner, tmp_path):
    learner.save(tmp_path / "model")
    envs = NeuralVectorEnv(tmp_path / "model", 3, horizon=2)
    envs.reset(seed=0)
    for _ in range(5):
        observations, _, terminated, truncated, _ = envs.step(np.zeros(3, np.int64))
        assert observations.shape == (3, SIZE, SIZE, 12)
    assert (terminated | truncated).shape == (3,)


def test_the_family_decides_which_config_counts():
    settings = replace(Settings(), pixel=CONFIG)
    assert settings.world_model == settings.model
    assert replace(settings, family="pixel").world_model == CONFIG


@pytest.mark.slow
def test_dyna_goes_round_with_it(tmp_path):
    settings = replace(
        MINIATURE, family="pixel", pixel=CONFIG, imagine=replace(MINIATURE.imagine, observation="frames")
    )
    with ray_on(2):
        algorithm = DynaConfig(settings, folder=tmp_path).build_algo()
        for number in (1, 2):
            assert algorithm.train()["dyna"]["round"] == number
        report = algorithm.last_report
        algorithm.stop()
    assert {"loss/denoising", "loss/reward", "loss/termination"} <= set(report.scalars)
    assert report.parameters_trained == report.parameters_total
    assert report.fidelity is not None
