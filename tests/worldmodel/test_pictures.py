import numpy as np
import pytest
import torch
from tiny import slides, sliding

from worldmodel.latent.pictures import Pictures


def drawn_from(folder, shifted):
    reader = slides(folder, [sliding(seed) for seed in range(12)])
    rng = np.random.default_rng(0)
    return Pictures(reader, rng, shifted).sample(200, rng)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    return drawn_from(tmp_path_factory.mktemp("buffer"), 2 / 3)


def in_place(frames):
    """Which frames show the square in its rows."""
    rows = (frames[..., 0] > 100).any(2)
    return (rows.sum(1) == 4) & rows[:, 4:8].all(1)


def test_frames_come_with_a_weight_for_every_pixel(drawn):
    frames, weight = drawn
    assert (frames.shape, frames.dtype) == ((200, 16, 16, 3), torch.uint8)
    assert weight.shape == (200, 1, 16, 16)
    assert weight.min() > 0


def test_what_moves_weighs_more_wherever_it_is_shifted(drawn):
    frames, weight = drawn
    bright = frames[..., 0] > 100
    assert bright.any(2).any(1).float().mean() > 0.5
    assert weight[:, 0][bright].min() > 5 * weight[:, 0][~bright].max()


def test_some_frames_are_shifted_and_some_are_not(drawn):
    rows = (drawn[0][..., 0] > 100).any(2)
    assert 0.25 < in_place(drawn[0]).float().mean() < 0.75
    assert rows[:, 12:].any()
    assert rows[:, :3].any()


def test_pictures_stay_in_place_where_none_is_to_be_shifted(tmp_path):
    assert in_place(drawn_from(tmp_path, 0.0).frames).all()


def test_the_same_seed_draws_the_same(tmp_path):
    reader = slides(tmp_path, [sliding(seed) for seed in range(4)])
    one, other = (Pictures(reader, np.random.default_rng(0), 0.5).sample(9, np.random.default_rng(1)) for _ in range(2))
    assert torch.equal(one[0], other[0])
    assert torch.equal(one[1], other[1])
