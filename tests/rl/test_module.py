from dataclasses import asdict

import gymnasium as gym
import numpy as np
import pytest
import torch
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.rl_module import RLModuleSpec

from rl.module import PixelModule, PixelModuleConfig
from worldmodel.errors import UserError

FRAMES = gym.spaces.Box(0, 255, (64, 64, 12), np.uint8)
LATENTS = gym.spaces.Box(-np.inf, np.inf, (8, 8, 32), np.float32)
ACTIONS = gym.spaces.Discrete(6)


def build(observations=FRAMES, actions=ACTIONS, **config):
    torch.manual_seed(0)
    return RLModuleSpec(
        module_class=PixelModule,
        observation_space=observations,
        action_space=actions,
        model_config=asdict(PixelModuleConfig(**config)) | {"vf_share_layers": False},
    ).build()


def draw(space, batch=5):
    space.seed(0)
    return torch.from_numpy(np.stack([space.sample() for _ in range(batch)]))


@pytest.mark.parametrize("shape", [(64, 64, 12), (16, 16, 3), (84, 84, 4), (48, 96, 3), (4, 4, 3)])
def test_takes_frames_of_any_size(shape):
    space = gym.spaces.Box(0, 255, shape, np.uint8)
    logits, values = build(space).act(draw(space))
    assert logits.shape == (5, 6) and values.shape == (5,)


def test_takes_latents():
    logits, values = build(LATENTS).act(draw(LATENTS))
    assert logits.shape == (5, 6) and values.shape == (5,)


def test_every_pixel_counts():
    module = build()
    frames = draw(FRAMES, 1)
    gradients = torch.autograd.functional.jacobian(lambda x: module.embed(x).sum(), frames.float())
    assert (gradients != 0).float().mean() > 0.99


def test_bytes_and_their_floats_are_the_same_picture():
    module = build()
    frames = draw(FRAMES)
    torch.testing.assert_close(module.embed(frames), module.embed(frames.float() / 255))


def test_begins_nearly_uniform():
    logits, _ = build().act(draw(FRAMES))
    assert logits.softmax(-1).sub(1 / 6).abs().max() < 0.01


def test_the_faces_agree():
    module, frames = build(), draw(FRAMES)
    batch = {Columns.OBS: frames}
    logits, values = module.act(frames)
    trained = module.forward_train(batch)
    for forward in (module.forward_inference, module.forward_exploration, module.forward_train):
        torch.testing.assert_close(forward(batch)[Columns.ACTION_DIST_INPUTS], logits)
    torch.testing.assert_close(module.compute_values(batch), values)
    torch.testing.assert_close(module.compute_values(batch, trained[Columns.EMBEDDINGS]), values)


def test_values_in_chunks_keep_no_graph(monkeypatch):
    module, frames = build(), draw(FRAMES)
    whole = module.compute_values({Columns.OBS: frames})
    monkeypatch.setattr(PixelModule, "VALUE_CHUNK", 2)
    chunked = module.compute_values({Columns.OBS: frames})
    torch.testing.assert_close(chunked, whole)
    assert not chunked.requires_grad


@pytest.mark.parametrize("normalized", [False, True])
def test_the_loss_reaches_every_parameter(normalized):
    module = build(normalized=normalized)
    out = module.forward_train({Columns.OBS: draw(FRAMES)})
    loss = out[Columns.ACTION_DIST_INPUTS].square().sum() + module.compute_values({}, out[Columns.EMBEDDINGS]).sum()
    loss.backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in module.parameters())


@pytest.mark.parametrize(("normalized", "times"), [(False, 10.0), (True, 1.0)])
def test_a_normalized_network_does_not_care_how_large_latents_are(normalized, times):
    module, latents = build(LATENTS, normalized=normalized), draw(LATENTS)
    torch.testing.assert_close(module.embed(10 * latents), times * module.embed(latents), rtol=1e-3, atol=1e-3)


def test_the_config_sets_the_width():
    assert build(hidden=17).policy.in_features == 17


@pytest.mark.parametrize(
    ("observations", "actions", "fix"),
    [
        (gym.spaces.Box(-1, 1, (4,)), ACTIONS, "make_real"),
        (FRAMES, gym.spaces.Tuple([ACTIONS, ACTIONS]), "TransformAction"),
    ],
)
def test_refuses_other_spaces(observations, actions, fix):
    with pytest.raises(UserError, match=fix):
        build(observations, actions)


def test_of_a_stack_it_sees_the_newest_and_the_changes_magnified():
    module = build(LATENTS, stack=4, motion=3.0)
    seen = []
    module.encoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    observations = draw(LATENTS)
    module.embed(observations)
    first, second, third, newest = observations.permute(0, 3, 1, 2).split(8, dim=1)
    expected = torch.cat([3 * (second - first), 3 * (third - second), 3 * (newest - third), newest], dim=1)
    torch.testing.assert_close(seen[0], expected)


def test_an_unstacked_observation_is_seen_as_it_is():
    module = build(LATENTS)
    seen = []
    module.encoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    module.embed(observations := draw(LATENTS))
    assert torch.equal(seen[0], observations.permute(0, 3, 1, 2))
