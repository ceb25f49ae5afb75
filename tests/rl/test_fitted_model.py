from dataclasses import replace

import pytest

from rl.fitted_model import untrained_model
from rl.settings import Settings
from worldmodel.errors import UserError
from worldmodel.latent.config import DenoiserConfig
from worldmodel.spaces import ActionSpec


def test_a_network_that_can_not_be_is_refused_in_a_sentence():
    config = replace(Settings().model, denoiser=DenoiserConfig(channels=(10, 20)))
    with pytest.raises(UserError, match=r"settings of model \(ValueError: num_channels \(10\) must be divisible"):
        untrained_model(config, ActionSpec.discrete(2), 0)
