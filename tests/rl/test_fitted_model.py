from dataclasses import replace

import pytest

from rl.fitted_model import FittedModel, untrained_model
from rl.phases import Phases
from rl.settings import Settings
from worldmodel.errors import UserError
from worldmodel.fitting import FitConfig, Stage
from worldmodel.latent.config import DenoiserConfig
from worldmodel.spaces import ActionSpec


def test_a_network_that_can_not_be_is_refused_in_a_sentence():
    config = replace(Settings().model, denoiser=DenoiserConfig(channels=(10, 20)))
    with pytest.raises(UserError, match=r"model's settings \(ValueError: num_channels \(10\) must be divisible"):
        untrained_model(config, ActionSpec.discrete(2), 0)


class Call:
    """A method of an actor that answers at once."""

    def __init__(self, answer):
        self.remote = answer


class Pupil:
    """A learner whose dreams come to more ends with every fit."""

    def __init__(self, recalls):
        self.recalls, self.begun = iter(recalls), []
        self.stages = Call(lambda first: [Stage("autoencoder", 1), Stage("dynamics", 2), Stage("head", 1)])
        self.begin = Call(lambda stage, number, again: self.begun.append((stage.name, again)) or 7)
        self.fit = Call(lambda steps: {"denoising": 0.5})
        self.finish = Call(lambda: None)
        self.ends_recalled = Call(lambda: next(self.recalls))


def begun_by(monkeypatch, recalls, **settings):
    monkeypatch.setattr("rl.fitted_model.ray.get", lambda answer: answer)
    model, pupil = object.__new__(FittedModel), Pupil(recalls)
    model._phases, model._config = Phases(), FitConfig(**settings)
    model._fit(pupil, 1, latents_only=False)
    return pupil.begun


FIRST = [("autoencoder", 0), ("dynamics", 0), ("head", 0)]


@pytest.mark.parametrize(
    ("recalls", "settings", "more"),
    [
        ([0.9], {}, 0),
        ([None], {}, 0),
        ([0.1, 0.6], {"more_fits": 3}, 1),
        ([0.1, 0.2, 0.3], {"more_fits": 2}, 2),
        ([0.1], {"end_recall": 0.0}, 0),
        ([], {"more_fits": 0}, 0),
    ],
)
def test_imagination_waits_while_ends_are_not_dreamed(monkeypatch, recalls, settings, more):
    again = [(name, time) for time in range(1, more + 1) for name in ("dynamics", "head")]
    assert begun_by(monkeypatch, recalls, **settings) == FIRST + again
