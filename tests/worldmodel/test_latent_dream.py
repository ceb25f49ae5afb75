from dataclasses import replace

import pytest
import torch
from tiny import begun, dreamed, noise_frames, tiny

from worldmodel.latent.config import SamplerConfig
from worldmodel.latent.model import LatentDream

CONTEXT = 4


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_a_dream_begins_with_what_was_seen():
    model, frames = tiny(), noise_frames(3, CONTEXT)
    mask = torch.tensor([[True] * 4, [False, False, True, True], [False, False, False, True]])
    actions = torch.tensor([[0, 1, 2]] * 3)
    dream = model.begin(frames, actions, mask)
    assert dream.actions.tolist() == [[0, 1, 2], [3, 3, 2], [3, 3, 3]]
    torch.testing.assert_close(model.observe(dream, "latents"), model.encode(frames[:, -1]))
    assert torch.equal(model.observe(dream), model.reconstruct(frames[:, -1]))


def test_latents_that_are_known_are_taken_as_they_are(monkeypatch):
    model, frames, mask = tiny(), noise_frames(3, CONTEXT), torch.ones(3, CONTEXT, dtype=torch.bool)
    actions = torch.tensor([[0, 1, 2]] * 3)
    expected = model.begin(frames, actions, mask)
    latents = model.encode(frames.flatten(0, 1)).unflatten(0, (3, CONTEXT))
    monkeypatch.setattr(model.autoencoder, "encode", lambda frames: pytest.fail("encoded again"))
    dream = model.begin(frames, actions, mask, latents)
    assert torch.equal(dream.latents, expected.latents) and torch.equal(dream.actions, expected.actions)


@pytest.mark.parametrize("observation", ["frames", "latents"])
def test_observations_have_the_shape_they_are_said_to(observation):
    model = tiny()
    seen = model.observe(begun(model), observation)
    assert seen.shape == (3, *model.observation_shape(observation))
    assert seen.dtype == (torch.uint8 if observation == "frames" else torch.float32)
    assert model.frame_shape == (16, 16, 3)
    assert model.observation_shape("latents") == (4, 4, 4)


@pytest.mark.parametrize("solver", ["ddim", "euler", "dpm"])
@pytest.mark.parametrize("steps", [1, 3, 8])
def test_a_step_brings_picture_reward_end_and_doubt(solver, steps):
    model = tiny(sampler=SamplerConfig(solver, steps))
    dream, step = model.step(begun(model), torch.tensor([0, 1, 2]), seeded())
    assert dream.latents.shape == (3, CONTEXT, 4, 4, 4)
    assert dream.latents.isfinite().all()
    assert dream.actions.shape == (3, CONTEXT - 1)
    assert (step.rewards.shape, step.rewards.dtype) == ((3,), torch.float32)
    assert (step.terminated.shape, step.terminated.dtype) == ((3,), torch.bool)
    assert (step.doubt.shape, step.doubt.dtype) == ((3,), torch.float32)
    assert (step.end_probability.shape, step.end_probability.dtype) == ((3,), torch.float32)
    assert step.sign_probabilities.shape == (3, 3)
    assert not dream.latents.requires_grad


def test_real_play_is_read_as_a_perfect_dream_of_it_would_be(monkeypatch):
    model, actions = tiny(), torch.tensor([[2, 0, 1, 1]] * 3)
    frames, mask = noise_frames(3, CONTEXT + 1), torch.ones(3, CONTEXT + 1, dtype=torch.bool)
    monkeypatch.setattr(model, "imagine", lambda *given: model.autoencoder.encode(frames[:, -1]))
    _, dreamed = model.step(model.begin(frames[:, :-1], actions[:, :-1], mask[:, :-1]), actions[:, -1], seeded())
    seen = model.read(frames, actions, mask, seeded())
    torch.testing.assert_close(vars(seen), vars(dreamed))


def test_the_same_seed_dreams_the_same_dream():
    model = tiny()
    first = dreamed(model)
    torch.rand(5)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(dreamed(model), first, strict=True))
    assert not torch.allclose(dreamed(model, seed=1)[1], first[1], atol=1e-3)


@torch.no_grad()
@pytest.mark.parametrize("adapted", [False, True])
def test_a_dream_does_not_depend_on_those_beside_it(adapted):
    model = tiny(adapted=adapted)
    dream, noise = begun(model, count=5), torch.randn(5, 4, 4, 4)
    history = torch.cat([dream.actions, torch.arange(5)[:, None] % 3], dim=1)

    def drawn(rows):
        level = torch.zeros(len(noise[rows]), dtype=torch.long)

        def predict(noisy, timesteps):
            return model.denoiser(noisy, timesteps, dream.latents[rows], history[rows], level)

        latents = model.sampler.sample(predict, noise[rows])
        outcome = model.head(torch.cat([dream.latents[rows, -2:], latents[:, None]], 1), history[rows, -1])
        return latents, outcome.rewards[:, -1], outcome.terminated[:, -1], model.autoencoder.decode(latents)

    together = drawn(slice(0, 5))
    alone = drawn(slice(4, 5))
    torch.testing.assert_close(alone[0], together[0][4:5], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(alone[1:3], together[1:3], atol=1e-4, rtol=1e-4)
    assert (alone[3].int() - together[3][4:5].int()).abs().max() <= 1


def test_dreams_can_be_mixed_and_go_on_as_they_would_have():
    model = tiny()
    one, other = begun(model, seed=0), begun(model, seed=1)
    actions = torch.zeros(3, dtype=torch.long)
    finished = torch.tensor([False, True, False])
    mixed, _ = model.step(one.where(finished, other), actions, seeded())
    (ours, _), (theirs, _) = model.step(one, actions, seeded()), model.step(other, actions, seeded())
    expected = ours.where(finished, theirs)
    torch.testing.assert_close(mixed.latents, expected.latents)
    assert isinstance(mixed, LatentDream)


def test_actions_lead_the_dream():
    model = tiny()
    dream = begun(model)
    left, right = (model.step(dream, torch.full((3,), action), seeded())[0] for action in (0, 2))
    difference = (left.latents[:, -1] - right.latents[:, -1]).abs().amax((1, 2, 3))
    assert (difference > 1e-3).all()


def test_past_actions_in_another_order_lead_elsewhere():
    model = tiny()
    dream = replace(begun(model), actions=torch.tensor([[0, 1, 2]] * 3))
    swapped = replace(dream, actions=torch.tensor([[1, 0, 2]] * 3))
    one, other = (model.step(d, torch.zeros(3, dtype=torch.long), seeded())[0] for d in (dream, swapped))
    assert ((one.latents[:, -1] - other.latents[:, -1]).abs().amax((1, 2, 3)) > 1e-4).all()
