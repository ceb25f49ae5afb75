from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from test_fitter import fitting
from tiny import begun, dreamed, slides, sliding, tiny

from worldmodel.latent.model import LatentWorldModel
from worldmodel.latent.own_base import belongs_to_game
from worldmodel.latent.scatter import left_out, scattered

VARIANCE = torch.tensor([0.1, 0.4]).view(1, 2, 1, 1)


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    return slides(tmp_path_factory.mktemp("buffer"), [sliding(seed) for seed in range(12)])


def moving(count=20_000, seed=0):
    """Latents before a step, and how they change on average: most cells hardly, a few much."""
    generator = torch.Generator().manual_seed(seed)
    newest = torch.randn(count, 2, 2, 2, generator=generator)
    return newest, 0.2 * torch.randn(newest.shape, generator=generator) ** 3


def spread(change, variance, seed):
    return (variance * change.abs()).sqrt() * torch.randn(change.shape, generator=torch.Generator().manual_seed(seed))


def test_a_sampler_that_draws_the_mean_leaves_out_all_of_the_variance():
    newest, change = moving()
    mean = newest + change
    found = left_out(mean + spread(change, VARIANCE, 1), mean, mean, newest)
    torch.testing.assert_close(found, VARIANCE, rtol=0.1, atol=0.0)


def test_a_sampler_that_draws_what_may_come_leaves_out_nothing():
    newest, change = moving()
    came, drawn, again = (newest + change + spread(change, VARIANCE, seed) for seed in (1, 2, 3))
    assert (left_out(came, drawn, again, newest) < 0.1 * VARIANCE).all()


def test_nothing_is_left_out_where_nothing_moves():
    still = torch.ones(4, 2, 2, 2)
    assert not left_out(still, still, still, still).any()


def test_draws_are_scattered_by_what_they_left_out_where_they_move():
    newest, change = moving()
    change[..., 0] = 0
    mean = newest + change
    drawn = scattered(mean, newest, VARIANCE, torch.Generator().manual_seed(0))
    assert torch.equal(drawn[..., 0], mean[..., 0])
    found = left_out(drawn, mean, mean, newest)
    torch.testing.assert_close(found, VARIANCE, rtol=0.1, atol=0.0)
    assert torch.equal(drawn, scattered(mean, newest, VARIANCE, torch.Generator().manual_seed(0)))


def test_dreams_are_scattered_only_if_they_are_to_be():
    def imagined(scatter, variance, seed):
        model = tiny(scatter=scatter)
        model.left_out.fill_(variance)
        dream = begun(model)
        history = torch.cat([dream.actions, torch.zeros(3, 1, dtype=torch.long)], dim=1)
        generator = torch.Generator().manual_seed(seed)
        return model.draw(dream.latents, history, torch.Generator().manual_seed(seed)), model.imagine(
            dream.latents, history, generator
        )

    for scatter, variance in ((0.0, 1.0), (1.0, 0.0)):
        drawn, imagine = imagined(scatter, variance, 0)
        assert torch.equal(drawn, imagine)
    drawn, whole = imagined(1.0, 0.2, 0)
    _, half = imagined(0.25, 0.2, 0)
    assert not torch.equal(drawn, whole)
    torch.testing.assert_close(half - drawn, (whole - drawn) / 2)


@pytest.mark.parametrize("stage", ["dynamics", "adapter"])
def test_after_every_fit_of_the_dynamics_it_is_measured(reader, stage):
    fitter = fitting(reader, stage, tiny(scatter=1.0))
    fitter.fit(2)
    fitter.model.draw = lambda seen, *_: seen[:, -1] + 0.1
    random = torch.random.get_rng_state()
    fitter.finish()
    assert torch.equal(torch.random.get_rng_state(), random), "what comes after is drawn as before"
    assert (fitter.model.left_out > 0).all()


def test_where_it_is_not_asked_for_it_is_not_measured(reader):
    fitter = fitting(reader, "dynamics")
    fitter.fit(1)
    fitter.finish()
    assert not fitter.model.left_out.any()


def test_without_play_to_judge_by_nothing_is_scattered(tmp_path):
    fitter = fitting(slides(tmp_path, [sliding(0)]), "dynamics", tiny(scatter=1.0))
    fitter.fit(1)
    fitter.finish()
    assert not fitter.model.left_out.any()


def test_it_is_saved_with_the_game_and_travels_with_the_weights(tmp_path):
    model = tiny(scatter=1.0)
    model.left_out.fill_(0.3)
    model.save_pretrained(tmp_path)
    assert "left_out" in load_file(tmp_path / "latents.safetensors")
    loaded = LatentWorldModel.from_pretrained(tmp_path)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(dreamed(loaded), dreamed(model), strict=True))
    fresh = tiny(scatter=1.0, seed=1)
    fresh.load_state_dict(model.fused_state())
    assert torch.equal(fresh.left_out, model.left_out)
    assert belongs_to_game("left_out"), "a base for other games does not know it"
    assert not torch.equal(dreamed(loaded)[1], dreamed(without(loaded))[1])


def without(model):
    """The same model, whose dreams are not scattered."""
    model.config = replace(model.config, scatter=0.0)
    return model
