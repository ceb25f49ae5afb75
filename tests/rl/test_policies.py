from dataclasses import asdict, replace

import numpy as np
import pytest
from damage import spoiled

from rl.module import PixelModuleConfig
from rl.policies import (
    ModulePolicy,
    PolicySnapshot,
    PolicySpec,
    RandomPolicy,
    check_suits,
    load_policy,
    save_policy,
)
from worldmodel.errors import UserError
from worldmodel.spaces import ActionSpec

FRAMES = PolicySpec("frames", (8, 8, 3), 4, ActionSpec.discrete(3), asdict(PixelModuleConfig(hidden=8)))
LATENTS = replace(FRAMES, observation="latents", observation_shape=(4, 4, 2), encoder_hash="counting")


def snapshot(spec=FRAMES, **changes):
    return replace(PolicySnapshot(spec, spec.build().get_state(), version=7, world_model_version=2), **changes)


def observations(spec, batch=6):
    space = spec.observation_space
    space.seed(0)
    return np.stack([space.sample() for _ in range(batch)])


def rng():
    return np.random.default_rng(0)


def test_random_play_takes_all_actions_equally_often():
    actions = RandomPolicy(ActionSpec.discrete(4)).act(np.zeros((40_000, 1)), rng())
    assert actions.dtype == np.int64
    assert np.allclose(np.bincount(actions) / 40_000, 0.25, atol=0.02)


def test_random_actions_are_held_for_a_power_law_of_steps():
    policy, draws = RandomPolicy(ActionSpec.box([0.0], [1.0]), hold=16), rng()
    actions = np.stack([policy.act(np.zeros((50, 1)), draws)[:, 0] for _ in range(4000)])
    durations = np.concatenate([np.diff(np.flatnonzero(np.diff(game))) for game in actions.T])
    weights = np.arange(1, 17) ** -1.5
    assert np.allclose(np.bincount(durations)[1:] / len(durations), weights / weights.sum(), atol=0.01)
    assert policy.act(np.zeros((3, 1)), draws).shape == (3, 1)


def test_random_actions_that_are_held_are_all_taken_equally_often():
    policy, draws = RandomPolicy(ActionSpec.discrete(4), hold=8), rng()
    actions = np.stack([policy.act(np.zeros((50, 1)), draws) for _ in range(2000)])
    assert np.allclose(np.bincount(actions.ravel()) / actions.size, 0.25, atol=0.03)


def test_random_actions_that_are_not_held_are_drawn_as_ever():
    plain, held = (RandomPolicy(ActionSpec.discrete(4), hold).act(np.zeros((9, 1)), rng()) for hold in (1, 8))
    assert np.array_equal(plain, held)


@pytest.mark.parametrize("spec", [FRAMES, LATENTS])
def test_a_network_acts_on_what_it_sees(spec):
    actions = ModulePolicy(snapshot(spec), greedy=True).act(observations(spec), rng())
    assert actions.shape == (6,)
    assert actions.dtype == np.int64


def biased(spec, logits):
    """A policy that has these logits, whatever it sees."""
    weights = {name: np.zeros_like(value) for name, value in spec.build().get_state().items()}
    weights["policy.bias"] = np.array(logits, np.float32)
    return snapshot(spec, weights=weights)


def test_greedy_is_the_likeliest_action_and_sampled_is_the_softmax():
    seen = np.repeat(observations(FRAMES, 1), 5000, axis=0)
    played = biased(FRAMES, np.log([0.2, 0.5, 0.3]))
    assert set(ModulePolicy(played, greedy=True).act(seen, rng()).tolist()) == {1}
    drawn = ModulePolicy(played, greedy=False).act(seen, rng())
    assert np.allclose(np.bincount(drawn) / 5000, [0.2, 0.5, 0.3], atol=0.03)


@pytest.mark.parametrize("spec", [FRAMES, LATENTS])
def test_a_saved_policy_comes_back(tmp_path, spec):
    saved = snapshot(spec, real_steps=500)
    save_policy(tmp_path / "expert", saved)
    loaded = load_policy(tmp_path / "expert", source="expert")
    assert (loaded.spec, loaded.version, loaded.world_model_version, loaded.source) == (spec, 7, 2, "expert")
    assert loaded.real_steps == 500
    assert loaded.weights.keys() == saved.weights.keys()
    assert all(np.array_equal(loaded.weights[name], saved.weights[name]) for name in saved.weights)


def test_a_folder_without_a_policy_is_refused(tmp_path):
    with pytest.raises(UserError, match="no policy"):
        load_policy(tmp_path)


@pytest.mark.parametrize("name", ["policy.json", "policy.safetensors"])
def test_a_damaged_policy_is_refused_in_a_sentence(tmp_path, name):
    save_policy(tmp_path, snapshot())
    path = tmp_path / name
    whole = path.read_bytes()
    for told, data in spoiled(whole, cuts=20, flips=200):
        path.write_bytes(data)
        try:
            loaded = load_policy(tmp_path)
        except UserError as error:
            assert str(tmp_path) in str(error), told
            assert "\n" not in str(error), told
        else:
            assert name == "policy.json", f"{told} went unseen"
            assert loaded.weights


@pytest.mark.parametrize("text", ["", "null", "3", "[]", "{}", '{"spec": 3}', '{"spec": {}}', '"spec"'])
def test_another_file_is_no_policy(tmp_path, text):
    save_policy(tmp_path, snapshot())
    (tmp_path / "policy.json").write_text(text)
    with pytest.raises(UserError, match=str(tmp_path)):
        load_policy(tmp_path)


def test_weights_of_another_network_are_refused():
    weights = dict(snapshot().weights)
    for changed in (dict(list(weights.items())[1:]), {name: array[..., :1] for name, array in weights.items()}):
        with pytest.raises(UserError, match="do not fit its network"):
            ModulePolicy(snapshot(weights=changed), greedy=True)


@pytest.mark.parametrize("spec", [FRAMES, LATENTS])
def test_an_agent_goes_on_from_a_policy_that_sees_and_does_what_it_does(spec, tmp_path):
    named = replace(spec, actions=ActionSpec.discrete(3, ("none", "left", "right")))
    check_suits(snapshot(spec), snapshot(named), tmp_path)


@pytest.mark.parametrize(
    ("given", "own", "told"),
    [
        ({"actions": ActionSpec.discrete(4)}, {}, "has 4 actions, the game has 3 actions: give one"),
        ({}, {"observation": "latents", "encoder_hash": "a"}, "sees 4 frames of 8 x 8 x 3, the agent 4 latents of 8"),
        ({"observation_shape": (16, 16, 3)}, {}, "sees 4 frames of 16 x 16 x 3, the agent 4 frames of 8 x 8 x 3"),
        ({"stack": 2}, {}, "sees 2 frames .*imagine.stack"),
        ({"model_config": asdict(PixelModuleConfig(hidden=8, normalized=True))}, {}, "another network .*normalized"),
        ({"network": "recurrent"}, {}, "is another network"),
        (
            {"observation": "latents", "encoder_hash": "a"},
            {"observation": "latents", "encoder_hash": "b"},
            r"latents of another encoder: .*same base .*\(fit.base_autoencoder_steps 0\)",
        ),
    ],
)
def test_a_policy_that_an_agent_cannot_go_on_from_is_refused_by_what_differs(given, own, told, tmp_path):
    policies = [PolicySnapshot(replace(FRAMES, **changes), {}) for changes in (given, own)]
    with pytest.raises(UserError, match=told):
        check_suits(*policies, tmp_path)


def test_a_policy_with_other_weights_than_its_network_has_is_not_gone_on_from(tmp_path):
    rest = {name: weight for name, weight in snapshot().weights.items() if name != "value.bias"}
    with pytest.raises(UserError, match=r"do not fit its network \(value.bias\)"):
        check_suits(snapshot(weights=rest), snapshot(), tmp_path)
