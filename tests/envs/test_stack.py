"""The stack: one definition, for arrays and tensors."""

import numpy as np
import pytest
import torch

from envs.stack import choose, stack_context, stack_push, stack_start


def observations(*values):
    """One observation a value, (len(values), 1, 1, 2): the value, and a hundred more."""
    return np.array([[v, v + 100] for v in values], np.uint8).reshape(-1, 1, 1, 2)


def told(stacked):
    return np.asarray(stacked)[:, 0, 0].tolist()


def test_a_game_begins_with_its_first_observation_repeated():
    assert told(stack_start(observations(1, 2), 3)) == [[1, 101] * 3, [2, 102] * 3]


def test_the_newest_observation_is_last():
    stacked = stack_push(stack_start(observations(1), 3), observations(2), np.array([False]))
    stacked = stack_push(stacked, observations(3), np.array([False]))
    assert told(stacked) == [[1, 101, 2, 102, 3, 103]]


def test_only_a_game_that_restarts_forgets():
    stacked = stack_push(stack_start(observations(1, 2), 2), observations(3, 4), np.array([True, False]))
    assert told(stacked) == [[3, 103, 3, 103], [2, 102, 4, 104]]


def test_a_stack_of_one_is_the_observation():
    stacked = stack_start(observations(1, 2), 1)
    np.testing.assert_array_equal(stack_push(stacked, observations(3, 4), np.array([False, False])), observations(3, 4))


def test_arguments_stay_as_they_are():
    stacked, newest = stack_start(observations(1), 2), observations(2)
    stack_push(stacked, newest, np.array([False]))[:] = 9
    assert told(stacked) == [[1, 101, 1, 101]]
    assert told(newest) == [[2, 102]]


@pytest.mark.parametrize(
    ("context", "stack", "padding"), [(4, 4, 0), (4, 4, 1), (6, 3, 0), (6, 3, 1), (6, 3, 4), (2, 4, 0), (2, 4, 1)]
)
def test_a_context_gives_the_stack_that_playing_it_gives(context, stack, padding):
    values = [1] * padding + list(range(1, context - padding + 1))
    frames = np.stack([observations(v, v) for v in values], axis=1)
    mask = np.tile(np.arange(context) >= padding, (2, 1))
    played = stack_start(frames[:, padding], stack)
    for time in range(padding + 1, context):
        played = stack_push(played, frames[:, time], np.zeros(2, bool))
    np.testing.assert_array_equal(stack_context(frames, mask, stack), played)
    # What lies farther back than the stack reaches is of no account.
    np.testing.assert_array_equal(stack_context(frames[:, -stack:], mask[:, -stack:], stack), played)


def test_what_only_pads_is_not_shown():
    frames = np.stack([observations(v) for v in (9, 9, 1, 2)], axis=1)
    assert told(stack_context(frames, np.array([[False, False, True, True]]), 3)) == [[1, 101, 1, 101, 2, 102]]


def test_tensors_are_stacked_as_arrays_are():
    rng = np.random.default_rng(0)
    frames = rng.integers(256, size=(5, 4, 8, 8, 3), dtype=np.uint8)
    mask = np.arange(4) >= rng.integers(4, size=(5, 1))
    by_torch = stack_context(torch.from_numpy(frames), torch.from_numpy(mask), 3)
    assert isinstance(by_torch, torch.Tensor)
    np.testing.assert_array_equal(by_torch.numpy(), stack_context(frames, mask, 3))


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("shape", [(4, 4, 3), (3, 5, 1), (3, 3, 3)])
def test_rows_are_chosen_whole(shape, dtype):
    rng = np.random.default_rng(0)
    yes, no = (rng.integers(256, size=(6, *shape)).astype(dtype) for _ in range(2))
    condition = np.array([True, False, False, True, True, False])
    expected = np.where(condition[:, None, None, None], yes, no)
    np.testing.assert_array_equal(choose(condition, yes, no), expected)
    by_torch = choose(*map(torch.from_numpy, (condition, yes, no)))
    np.testing.assert_array_equal(by_torch.numpy(), expected)
    assert by_torch.numpy().dtype == dtype
