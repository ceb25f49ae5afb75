"""Where dreams begin."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from counting import CountingWorldModel, read
from dreams import STARTS, counting_starts, make, newest, play

from worldmodel import UserError


class Blind(CountingWorldModel):
    """Can encode nothing; keeps the latents that dreams were begun with."""

    def begin(self, frames, actions, mask, latents=None):
        self.begun_with = latents
        return super().begin(frames, actions, mask, latents)

    def encode(self, frames):
        raise AssertionError("encoded again")


@pytest.mark.parametrize("observation", ["frames", "latents"])
def test_starts_that_are_encoded_already_are_not_encoded_again(observation):
    model, frames = Blind(), torch.from_numpy(STARTS.frames)
    latents = CountingWorldModel().encode(frames.flatten(0, 1)).unflatten(0, frames.shape[:2])
    known = replace(STARTS, latents=latents.numpy())
    seen = make(world_model=model, starts=known, observation=observation).reset(seed=0)[0]
    np.testing.assert_array_equal(seen, make(observation=observation).reset(seed=0)[0])
    assert torch.equal(model.begun_with, latents)


def test_another_model_encodes_for_itself():
    known = replace(STARTS, latents=np.full((6, 4, 4, 4, 3), 7, np.float32))
    env, other = make(starts=known, observation="latents"), make(observation="latents")
    assert (env.reset(seed=0)[0] == 7).all()
    env.load_world_model(CountingWorldModel())
    np.testing.assert_array_equal(env.reset(seed=0)[0], other.reset(seed=0)[0])


def test_starts_are_drawn_from_all():
    env = make(64)
    assert set(newest(env.reset(seed=0)[0]).tag) == {10, 20, 30, 40, 50, 60}
    env.set_starts(counting_starts([1], [77]))
    assert set(newest(env.reset(seed=0)[0]).tag) == {77}


def test_many_starts_keep_their_order():
    tags = np.arange(150)
    env = make(150, starts=counting_starts(tags % 6, tags))
    env.reset(seed=0)
    seen = newest(env.reset(seed=1)[0])
    np.testing.assert_array_equal(seen.count, seen.tag % 6)
    observations, *_ = env.step(np.ones(150, np.int64))
    np.testing.assert_array_equal(newest(observations).tag, seen.tag)
    np.testing.assert_array_equal(newest(observations).count, seen.count + 1)


def test_a_start_of_ones_choice():
    env = make(2)
    chosen = counting_starts([3], [123])
    options = {"frames": chosen.frames[0], "actions": chosen.actions[0]}
    observations, _ = env.reset(seed=0, options=options)
    assert newest(observations).tag.tolist() == [123, 123]
    assert newest(env.step(np.array([1, 2]))[0]).count.tolist() == [4, 4]
    two, _ = env.reset(options={"frames": counting_starts([1], [8]).frames[0, -2:]})
    assert [int(read(two[0, ..., c : c + 3]).count) for c in (0, 3, 6, 9)] == [0, 0, 0, 1]
    single, _ = env.reset(options={"frames": counting_starts([0], [9]).frames[0, -1]})
    assert newest(single).tag.tolist() == [9, 9] and (single[..., :3] == single[..., 9:]).all()
    play(env, 40)
    assert 9 not in newest(play(env, 1)[1]).tag


def test_without_starts_the_choice_that_was_made_last_is_begun_from_again():
    env = make(2, starts=None)
    for tag in (8, 9):
        env.reset(options={"frames": counting_starts([0], [tag]).frames[0, -1]})
        assert newest(env.reset(seed=0)[0]).tag.tolist() == [tag, tag]


def test_latents_of_other_starts_are_refused():
    for shape in ((6, 4, 9, 9, 3), (5, 4, 4, 4, 3)):
        with pytest.raises(UserError, match=r"latents are .*makes \(6, 4, 4, 4, 3\)"):
            make(starts=replace(STARTS, latents=np.zeros(shape, np.float32)))


def test_without_starts_only_a_chosen_one_can_begin():
    env = make(2, starts=None)
    with pytest.raises(UserError, match="starts"):
        env.reset(seed=0)
    env.reset(options={"frames": counting_starts([0], [0]).frames[0, -1]})
    *_, terminated, _ = play(env, 20)
    assert terminated.sum() == 4


@pytest.mark.parametrize(
    "options",
    [
        {"frames": np.zeros((5, 64, 64, 3), np.uint8)},
        {"frames": np.zeros((1, 32, 64, 3), np.uint8)},
        {"frames": np.zeros((1, 64, 64, 3))},
        {"frames": np.zeros((2, 64, 64, 3), np.uint8), "actions": np.zeros(2, np.int64)},
    ],
)
def test_a_start_that_does_not_suit_is_refused(options):
    with pytest.raises(UserError, match="start frames"):
        make().reset(options=options)


@pytest.mark.parametrize("starts", [counting_starts([0], [0], context=3), counting_starts([], [])])
def test_starts_that_do_not_suit_are_refused(starts):
    with pytest.raises(UserError, match="context"):
        make(starts=starts)
