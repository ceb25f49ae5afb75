"""An agent that goes on from a saved policy, without Ray."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from miniature import MINIATURE, begun_from

from rl.dyna import Dyna
from worldmodel.errors import UserError


def test_a_saved_policy_is_taken_up_in_the_first_round_alone(tmp_path):
    imagine, policy = begun_from(tmp_path, "frames", (32, 32, 3))
    begun = []
    agent = SimpleNamespace(
        settings=replace(MINIATURE, imagine=imagine), _policy=lambda: policy, begin_anew=begun.append
    )
    for number in (2, 1):
        Dyna._take_up(agent, number)
    (weights,) = begun
    assert all(np.array_equal(weight, policy.weights[name]) for name, weight in weights.items())
    Dyna._take_up(SimpleNamespace(settings=MINIATURE), 1)


def test_a_saved_policy_that_does_not_suit_is_refused_before_anything_is_played(tmp_path):
    imagine, policy = begun_from(tmp_path, "latents", (8, 8, 4), encoder_hash="another")
    ours = replace(policy, spec=replace(policy.spec, encoder_hash="ours"))
    agent = SimpleNamespace(settings=replace(MINIATURE, imagine=imagine), _number=0, _policy=lambda: ours)
    agent._take_up = lambda number: Dyna._take_up(agent, number)
    agent._collect = lambda number: pytest.fail("played")
    with pytest.raises(UserError, match="latents of another encoder"):
        Dyna.training_step(agent)
