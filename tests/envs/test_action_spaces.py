"""Between Gymnasium's action spaces and action specs."""

import gymnasium as gym
import numpy as np
import pytest

from envs.actions import as_stored, native, space_of, spec_of
from worldmodel.errors import UserError
from worldmodel.spaces import ActionSpec

SPACES = [
    gym.spaces.Discrete(3),
    gym.spaces.MultiDiscrete([3, 2]),
    gym.spaces.MultiBinary(3),
    gym.spaces.Box(np.array([-2.0, 0.1], np.float32), np.array([1.0, 5.0], np.float32)),
]
ODD = [
    gym.spaces.Discrete(3, start=-1),
    gym.spaces.MultiDiscrete([[3, 2], [4, 5]], dtype=np.int32, start=[[1, 0], [7, 0]]),
    gym.spaces.MultiBinary((2, 2)),
    gym.spaces.Box(0.1, 0.7, (2, 2), np.float64),
]


@pytest.mark.parametrize("space", SPACES, ids=str)
def test_a_plain_space_survives_the_round_trip(space):
    assert space_of(spec_of(space, "a game")) == space


@pytest.mark.parametrize("space", SPACES + ODD, ids=str)
def test_every_action_of_the_spec_is_one_of_the_game(space):
    spec = spec_of(space, "a game")
    space_of(spec).seed(0)
    for _ in range(50):
        action = np.asarray(space_of(spec).sample()).astype(spec.dtype)
        assert action.shape == spec.shape
        assert space.contains(native(space, action))


def test_choices_are_counted_from_the_games_own_first():
    discrete, several, *_ = ODD
    assert [native(discrete, np.int64(choice)) for choice in range(3)] == [-1, 0, 1]
    assert native(several, np.array([2, 1, 0, 4])).tolist() == [[3, 1], [7, 4]]


def test_bounds_are_reached_and_not_passed():
    box = ODD[-1]
    spec = spec_of(box, "a game")
    for bounds in (spec.low, spec.high):
        assert box.contains(native(box, np.array(bounds, np.float32)))


@pytest.mark.parametrize(
    "space",
    [
        gym.spaces.Tuple([gym.spaces.Discrete(2)]),
        gym.spaces.Dict({"move": gym.spaces.Discrete(2)}),
        gym.spaces.Text(3),
        gym.spaces.Box(-np.inf, np.inf, (2,)),
        gym.spaces.Box(np.finfo(np.float32).min, np.finfo(np.float32).max, (2,)),
        gym.spaces.Box(0, 255, (2,), np.uint8),
    ],
    ids=str,
)
def test_what_can_not_be_learned_is_refused(space):
    with pytest.raises(UserError, match=r"a game has the action space .*TransformAction"):
        spec_of(space, "a game")


def test_a_spec_of_each_kind():
    assert [spec_of(space, "a game") for space in SPACES] == [
        ActionSpec.discrete(3),
        ActionSpec.multi_discrete((3, 2)),
        ActionSpec.multi_binary(3),
        ActionSpec.box((-2.0, float(np.float32(0.1))), (1.0, 5.0)),
    ]


@pytest.mark.parametrize(
    ("space", "given"),
    [
        (SPACES[0], [2, 3]),
        (SPACES[0], [0, -1]),
        (SPACES[1], [[2, 1], [0, 2]]),
        (SPACES[2], [[0, 1, 0], [2, 0, 0]]),
        (SPACES[3], [[0.0, 1.0], [np.nan, 1.0]]),
        (SPACES[3], [[0.0, 1.0], [0.0, np.inf]]),
    ],
)
def test_an_action_that_there_is_not_is_refused_by_name(space, given):
    spec = spec_of(space, "a game")
    with pytest.raises(UserError) as refused:
        as_stored(spec, np.array(given))
    assert str(refused.value).startswith(f"{given[1]} is no action of the game, which has {spec}: ")


@pytest.mark.parametrize("space", SPACES, ids=str)
def test_the_actions_that_there_are_stay_as_they_are(space):
    spec = spec_of(space, "a game")
    given = spec.draw(np.random.default_rng(0), 20)
    stored = as_stored(spec, given)
    np.testing.assert_array_equal(stored, given)
    assert stored.dtype == spec.dtype


def test_numbers_past_their_bounds_are_clipped_as_they_are_for_the_real_game():
    box = SPACES[3]
    stored = as_stored(spec_of(box, "a game"), np.array([[-9.0, 9.0], [0.0, 0.0]]))
    np.testing.assert_array_equal(stored, [native(box, action) for action in ([-9.0, 9.0], [0.0, 0.0])])
