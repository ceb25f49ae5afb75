from dataclasses import replace

import pytest
import torch
from tiny import random_segment
from tiny_pixel import tiny_pixel

from worldmodel.pixel.losses import PixelLosses
from worldmodel.spaces import ActionSpec

SPECS = [
    ActionSpec.discrete(3),
    ActionSpec.multi_discrete((3, 2)),
    ActionSpec.multi_binary(3),
    ActionSpec.box((-2.0, 0.0), (1.0, 5.0)),
]


def test_losses_are_numbers_that_reach_every_weight():
    model = tiny_pixel()
    losses = model.losses(random_segment())
    assert set(losses) == {"denoising", "reward", "termination"}
    torch.stack(list(losses.values())).sum().backward()
    without = [name for name, weight in model.named_parameters() if weight.grad is None or not weight.grad.any()]
    assert not without


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_every_kind_of_action_has_losses(spec):
    segment = random_segment()
    actions = torch.from_numpy(spec.zeros(*segment.rewards.shape))
    model = tiny_pixel(spec)
    losses = model.losses(replace(segment, actions=actions))
    torch.stack(list(losses.values())).sum().backward()
    assert all(loss.isfinite() for loss in losses.values())
    assert all(weight.grad.isfinite().all() for weight in model.parameters())


def test_padding_counts_in_no_loss():
    model, segment = tiny_pixel(), random_segment()

    def losses():
        torch.manual_seed(0)
        return model.losses(segment)

    before = losses()
    unseen = ~segment.mask
    segment.frames[unseen] = 255
    away = ~(segment.mask[:, 1:] & segment.mask[:, :-1])
    segment.rewards[away], segment.terminated[away], segment.actions[away] = 1, True, 2
    after = losses()
    assert before == after


def test_what_the_context_brought_is_not_judged():
    model, segment = tiny_pixel(), random_segment()
    with torch.no_grad():
        before = next(PixelLosses(model).of_outcomes(segment))
        segment.rewards[:, : segment.context - 1], segment.terminated[:, : segment.context - 1] = -1, True
        assert next(PixelLosses(model).of_outcomes(segment)) == before
        segment.rewards[:, segment.context - 1] *= -1
        assert next(PixelLosses(model).of_outcomes(segment))["reward"] != before["reward"]


def test_the_causing_action_is_the_one_before_the_frame():
    """A change of the last action that leads to a judged frame changes the losses; of one after it, nothing."""
    model, segment = tiny_pixel(), random_segment(horizon=1)

    def denoising(step):
        changed = segment.actions.clone()
        changed[:, step] = (changed[:, step] + 1) % 3
        torch.manual_seed(0)
        return model.losses(replace(segment, actions=changed))["denoising"]

    torch.manual_seed(0)
    assert denoising(segment.context - 1) != model.losses(segment)["denoising"]


def test_later_frames_are_predicted_from_its_own_predictions(monkeypatch):
    model, segment, contexts = tiny_pixel(), random_segment(horizon=3), []
    forward = type(model.denoiser).forward

    def listening(denoiser, noisy, sigma, context, actions):
        contexts.append((context.clone(), actions.clone()))
        return forward(denoiser, noisy, sigma, context, actions)

    monkeypatch.setattr(type(model.denoiser), "forward", listening)
    next(PixelLosses(model).of_frames(segment))
    real = model.seen(segment.frames, segment.mask)
    known = model.known(segment.actions, segment.mask)
    assert len(contexts) == 3
    for k, (context, actions) in enumerate(contexts):
        assert torch.equal(context[:, : 4 - k], real[:, k:4])
        assert torch.equal(actions, known[:, k : k + 4])
        assert not context.requires_grad
    own = contexts[1][0][:, -1]
    assert not torch.equal(own, real[:, 4])
    assert torch.equal(own, model.denoiser.to_levels(own))


def test_parts_add_up_to_the_whole():
    model, segment = tiny_pixel(), random_segment(batch=5)
    losses = PixelLosses(model)
    whole = next(losses.of_outcomes(segment))
    parts = list(losses.of_outcomes(segment, 3))
    assert len(parts) == 3
    for name, value in whole.items():
        torch.testing.assert_close(sum(part[name] for part in parts), value)


# Folders.
