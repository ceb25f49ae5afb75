import numpy as np
import pytest
import torch
from playing import buffer_of, counted
from tiny import random_segment, tiny

from worldmodel.data.windows import WindowSampler, segment
from worldmodel.doubt import measure_familiarity
from worldmodel.familiarity import Familiarity

SHAPE = (4, 4, 4)
SPREAD = 3.0


def pairs(number, seed, spread=SPREAD):
    """Latents that move together along 8 directions, always the same ones, and tremble a little; 2 in a row."""
    directions = torch.linalg.qr(torch.randn(128, 8, generator=torch.Generator().manual_seed(7)))[0]
    generator = torch.Generator().manual_seed(seed)
    along = spread * torch.randn(number, 8, generator=generator) @ directions.T
    return (5 + along + 0.1 * torch.randn(number, 128, generator=generator)).unflatten(1, (2, *SHAPE))


@pytest.fixture(scope="module")
def knows():
    familiarity = Familiarity(*SHAPE)
    familiarity.learn(pairs(2000, 0))
    return familiarity


def test_distances_are_counted_in_spreads(knows):
    """Of a vector with as many independent numbers of unit variance, the mean square is their number."""
    assert knows(pairs(500, 1)).square().mean().item() == pytest.approx(128, rel=0.1)


def test_where_play_varies_little_a_small_step_is_strange(knows):
    real = pairs(200, 1)
    trembling = 0.3 * torch.nn.functional.normalize(torch.randn(200, 128), dim=1).view_as(real) * 128**0.5
    assert (knows(real + trembling) > knows(real).max()).all()
    far_along = pairs(200, 1, spread=1.5 * SPREAD)
    assert (far_along - real).norm() > trembling.norm()
    assert (knows(far_along) < knows(real).max()).float().mean() > 0.9


def test_a_picture_that_does_not_follow_the_one_before_is_strange(knows):
    real = pairs(200, 1)
    unrelated = torch.stack([real[:, 0], real[:, 1].roll(1, 0)], dim=1)
    for each in (0, 1):
        assert torch.equal(unrelated[:, each].sort(0).values, real[:, each].sort(0).values), "every one of them is real"
    assert (knows(unrelated) > knows(real).max()).float().mean() > 0.9


def test_the_same_play_brings_the_same_distances(knows):
    torch.manual_seed(5)
    again = Familiarity(*SHAPE)
    again.learn(pairs(2000, 0))
    assert torch.equal(again(pairs(5, 1)), knows(pairs(5, 1)))


def test_learning_it_changes_nobodys_random_numbers():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    Familiarity(*SHAPE).learn(pairs(2000, 0))
    assert torch.equal(torch.rand(3), expected)


def test_play_in_which_nothing_moves_makes_every_change_strange():
    familiarity = Familiarity(*SHAPE)
    still = torch.ones(100, 2, *SHAPE)
    familiarity.learn(still)
    assert (familiarity(still[:3]) == 0).all()
    assert (familiarity(still[:3] + 0.1) > 100).all()


def test_latents_smaller_than_the_number_of_directions_will_do():
    familiarity = Familiarity(1, 2, 2)
    play = torch.randn(1000, 2, 1, 2, 2)
    familiarity.learn(play)
    assert familiarity(play).square().mean().item() == pytest.approx(8, rel=0.1)


def small(reader):
    """The two pictures of a step, as the tests' `Familiarity` takes them."""

    def pairs(windows):
        play = segment(reader, windows)
        return play.frames[:, :, :2, :2].permute(0, 1, 4, 2, 3) / 255

    return pairs


def pairs_of_nothing(windows):
    raise AssertionError("nothing is to be learned from so little play")


def test_it_is_learned_from_what_is_trained_on_and_limited_by_what_is_held_out(tmp_path, monkeypatch):
    reader = buffer_of(tmp_path, [counted(tag % 100) for tag in range(600)])
    familiarity, looked, learned = Familiarity(3, 2, 2), [], []
    monkeypatch.setattr(Familiarity, "learn", lambda self, pairs: learned.append((pairs.shape[1:], len(looked))))
    monkeypatch.setattr("worldmodel.doubt.doubt_limit", lambda doubt, *where: len(doubt))

    def pairs(windows):
        looked.append(windows.frame_ids)
        return small(reader)(windows)

    measure_familiarity(familiarity, reader, pairs)
    ((shape, before),) = learned
    assert shape == (2, 3, 2, 2)
    train, held_out = (WindowSampler(reader, 1, 1, split) for split in ("train", "held_out"))
    for sampler, parts in ((train, looked[:before]), (held_out, looked[before:])):
        assert np.isin(np.concatenate(parts), sampler.at(np.arange(sampler.num_steps)).frame_ids).all()
    assert 0 < held_out.num_steps < reader.num_steps / 5
    assert familiarity.limit == held_out.num_steps


@pytest.mark.parametrize("episodes", [1, 2])
def test_too_little_play_leaves_every_dream_believed(tmp_path, episodes):
    reader = buffer_of(tmp_path, [counted(tag) for tag in range(episodes)])
    familiarity = Familiarity(3, 64, 64)
    assert reader.num_steps < familiarity.least_pairs
    measure_familiarity(familiarity, reader, pairs_of_nothing)
    assert familiarity.limit == np.inf


def test_who_learned_nothing_doubts_nothing():
    assert (Familiarity(*SHAPE)(pairs(5, 1)) == 0).all()


def test_a_dream_is_doubted_by_its_last_two_pictures():
    model, windows = tiny(), random_segment()
    model.familiarity.learn(torch.randn(100, 2, *model.latent_shape))
    begun = model.begin(windows.frames[:, : model.context], windows.actions[:, : model.context - 1],
                        windows.mask[:, : model.context])  # fmt: skip
    dream, step = model.step(begun, windows.actions[:, model.context - 1], torch.Generator().manual_seed(0))
    torch.testing.assert_close(step.doubt, model.familiarity(dream.latents[:, -2:]))
    assert (step.doubt > 0).all()
    read = model.read(windows.frames[:, :3], windows.actions[:, :2], windows.mask[:, :3])
    seen = model.autoencoder.encode(windows.frames[:, 1:3].flatten(0, 1)).unflatten(0, (-1, 2))
    torch.testing.assert_close(read.doubt, model.familiarity(seen))
