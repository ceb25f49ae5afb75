"""Latent world models of games with every kind of action."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from test_action_encoder import SPECS
from tiny import CONFIG, noise_frames, random_segment, stir

from worldmodel.families import load_world_model
from worldmodel.latent.losses import LatentLosses
from worldmodel.latent.model import LatentWorldModel


@pytest.fixture(params=SPECS)
def spec(request):
    return SPECS[request.param]


@pytest.fixture
def model(spec):
    torch.manual_seed(0)
    model = LatentWorldModel(CONFIG, spec)
    stir(model, 0)
    return model.eval()


def actions_of(spec, *shape, seed=0):
    rng = np.random.default_rng(seed)
    if spec.kind == "box":
        return torch.from_numpy(rng.uniform(spec.low, spec.high, (*shape, len(spec))).astype(np.float32))
    return torch.from_numpy(rng.integers(np.reshape(spec.sizes, spec.shape), size=(*shape, *spec.shape)))


def begun(model, count=3):
    """Dreams, the first of which has only just begun."""
    mask = torch.ones(count, model.context, dtype=torch.bool)
    mask[0, :-1] = False
    return model.begin(
        noise_frames(count, model.context), actions_of(model.action_spec, count, model.context - 1), mask
    )


def dreamed(model, actions):
    dream, step = model.step(begun(model), actions, torch.Generator().manual_seed(0))
    again, _ = model.step(dream, actions, torch.Generator().manual_seed(1))
    return torch.cat([dream.latents, again.latents]), step.doubt


def test_what_was_done_before_the_game_is_not_known(model, spec):
    dream = begun(model)
    first, other = dream.actions[0].numpy(), dream.actions[1:]
    assert all(np.array_equal(action, spec.unknown, equal_nan=spec.kind == "box") for action in first)
    assert torch.equal(other, actions_of(spec, 3, model.context - 1)[1:])


def test_each_component_changes_the_dream(model, spec):
    actions = actions_of(spec, 3)
    latents, _ = dreamed(model, actions)
    assert latents.isfinite().all()
    for component in range(len(spec)):
        changed = actions.clone()
        values = changed if not spec.shape else changed[:, component]
        other = sum(spec.low[component : component + 1]) if spec.kind == "box" else (values + 1) % spec.sizes[component]
        values[:] = other
        assert not torch.equal(dreamed(model, changed)[0], latents)


def test_every_loss_and_gradient_is_finite_and_reaches_the_actions(model, spec):
    segment = random_segment()
    segment = replace(segment, actions=actions_of(spec, *segment.actions.shape))
    losses = model.losses(segment)
    (sum(losses.values()) + sum(next(LatentLosses(model).of_steps(segment)).values())).backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert all(gradient.isfinite().all() for gradient in gradients.values())
    reached = {name for name, gradient in gradients.items() if ".action." in name and gradient.any()}
    assert reached == {name for name, _ in model.named_parameters() if ".action." in name} - unread(model)


def unread(model):
    """The heads' parameters for an action that is not known: they only ever judge steps that were played."""
    return {name for name, _ in model.named_parameters() if name.startswith("head.") and name.endswith("unknown")}


@pytest.mark.parametrize("adapted", [False, True])
def test_a_saved_model_dreams_the_same(model, spec, tmp_path, adapted):
    if adapted:
        model.adapt()
        stir(model, 1, only="lora_B")
        stir(model, 2, only="modules_to_save.default")
    model.save_pretrained(tmp_path)
    loaded = load_world_model(tmp_path)
    assert loaded.action_spec == spec
    actions = actions_of(spec, 3)
    for ours, theirs in zip(dreamed(model.eval(), actions), dreamed(loaded, actions), strict=True):
        torch.testing.assert_close(ours, theirs)
