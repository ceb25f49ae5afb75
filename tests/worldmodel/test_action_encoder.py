"""Action specs, and the one encoder for all kinds of them."""

import json

import numpy as np
import pytest
import torch

from worldmodel.actions import ActionEncoder, where_known
from worldmodel.plain import from_plain, to_plain
from worldmodel.spaces import ActionSpec

DIM = 16
SPECS = {
    "discrete": ActionSpec.discrete(3, ("left", "stay", "right")),
    "multi_discrete": ActionSpec.multi_discrete((3, 2, 4)),
    "multi_binary": ActionSpec.multi_binary(3),
    "box": ActionSpec.box((-1.0, 0.0, 10.0), (1.0, 5.0, 30.0)),
}


@pytest.fixture(params=SPECS)
def spec(request):
    return SPECS[request.param]


@pytest.fixture
def encoder(spec):
    torch.manual_seed(0)
    return ActionEncoder(spec, DIM)


def every(spec):
    """All different actions, (n, *spec.shape); of numbers, a grid that reaches the bounds."""
    if spec.kind == "box":
        return torch.cartesian_prod(*(torch.linspace(*bounds, 4) for bounds in zip(spec.low, spec.high, strict=True)))
    return torch.cartesian_prod(*(torch.arange(size) for size in spec.sizes))


def unknown(spec):
    return torch.from_numpy(spec.unknown)


def test_each_action_has_a_vector_of_its_own(encoder, spec):
    actions = every(spec)
    vectors = encoder(torch.cat([actions, unknown(spec)[None]]))
    assert vectors.shape == (len(actions) + 1, DIM)
    distances = torch.cdist(vectors, vectors) + 1e9 * torch.eye(len(vectors))
    assert distances.min() > 0.05


def test_leading_dimensions_are_kept(encoder, spec):
    actions = every(spec)[:6].view(2, 3, *spec.shape) if len(every(spec)) > 5 else every(spec)[None]
    assert torch.equal(encoder(actions).flatten(0, 1), encoder(actions.flatten(0, 1)))


def test_gradients_reach_every_row_and_stay_finite(encoder, spec):
    encoder(torch.cat([every(spec), unknown(spec)[None]])).square().sum().backward()
    for name, parameter in encoder.named_parameters():
        assert parameter.grad.isfinite().all()
        assert (parameter.grad.flatten(1) if parameter.ndim > 1 else parameter.grad[:, None]).abs().amax(1).all(), name


def test_one_choice_is_an_embedding():
    encoder = ActionEncoder(SPECS["discrete"], DIM)
    (weight,) = encoder.parameters()
    assert weight.shape == (4, DIM) and SPECS["discrete"].unknown == 3
    assert torch.equal(encoder(torch.tensor([2, 3])), weight[2:])


def test_components_are_added_up_each_from_its_own_rows():
    encoder = ActionEncoder(SPECS["multi_discrete"], DIM)
    (weight,) = encoder.parameters()
    assert weight.shape == (4 + 3 + 5, DIM)
    torch.testing.assert_close(encoder(torch.tensor([1, 1, 2])), weight[1] + weight[4 + 1] + weight[4 + 3 + 2])


def test_numbers_are_scaled_by_their_bounds():
    torch.manual_seed(0)
    wide = ActionEncoder(ActionSpec.box((-100.0, 0.0), (100.0, 1e-3)), DIM)
    narrow = ActionEncoder(ActionSpec.box((-1.0, -1.0), (1.0, 1.0)), DIM)
    narrow.load_state_dict(wide.state_dict())
    torch.testing.assert_close(wide(torch.tensor([[50.0, 0.0]])), narrow(torch.tensor([[0.5, -1.0]])))


@torch.no_grad()
def test_half_precision_tells_the_same(encoder, spec):
    actions = torch.cat([every(spec), unknown(spec)[None]])
    exact = encoder(actions)
    encoder.to(torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(encoder(actions).float(), exact, atol=0.1, rtol=0.1)


@torch.no_grad()
def test_half_precision_keeps_bounds_that_lie_close_together():
    spec = ActionSpec.box((1000.0,), (1000.5,))
    encoder = ActionEncoder(spec, DIM).to(torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        low, high = encoder(torch.tensor([spec.low, spec.high]))
    assert torch.cat([low, high]).isfinite().all() and (low - high).abs().max() > 0.1


def test_what_is_not_known_is_replaced(spec):
    actions = every(spec)[:2].expand(3, *every(spec)[:2].shape)
    known = torch.tensor([[True, False], [False, False], [True, True]])
    told = where_known(known, actions, unknown(spec))
    assert told.dtype == actions.dtype and torch.equal(told[known], actions[known])
    assert all(np.array_equal(row, spec.unknown, equal_nan=spec.kind == "box") for row in told[~known].numpy())


def test_a_spec_survives_json(spec):
    assert from_plain(ActionSpec, json.loads(json.dumps(to_plain(spec), allow_nan=False)), "it") == spec


def test_specs_fit_whatever_their_actions_are_called(spec):
    assert spec.fits(ActionSpec(spec.kind, spec.sizes, spec.low, spec.high))
    assert not any(spec.fits(other) for other in SPECS.values() if other.kind != spec.kind)


def test_room_for_actions(spec):
    room = spec.zeros(2, 5)
    assert room.shape == (2, 5, *spec.shape) and room.dtype == spec.dtype == spec.unknown.dtype


@pytest.mark.parametrize(
    "made",
    [
        lambda: ActionSpec.discrete(0),
        lambda: ActionSpec.discrete(2, ("one",)),
        lambda: ActionSpec("discrete", (2, 3)),
        lambda: ActionSpec.multi_discrete((2, 3), ("one", "two", "three")),
        lambda: ActionSpec.multi_binary(0),
        lambda: ActionSpec("box", (2,), (0.0,), (1.0,)),
        lambda: ActionSpec("discrete", (2,), (0.0,), (1.0,)),
        lambda: ActionSpec.box((0.0,), (0.0,)),
        lambda: ActionSpec.box((0.0,), (float("inf"),)),
        lambda: ActionSpec.box((0.0, 0.0), (1.0,)),
    ],
)
def test_senseless_specs_are_refused(made):
    with pytest.raises(ValueError, match=r"."):
        made()
