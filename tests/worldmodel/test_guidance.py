from dataclasses import replace

import pytest
import torch
from based import based, begun, dreamed, same, windows
from tiny import CONFIG, tiny
from tiny import begun as begun_small
from tiny import dreamed as dreamed_small
from torch import nn

from worldmodel.errors import UserError
from worldmodel.latent.losses import LatentLosses
from worldmodel.latent.model import LatentWorldModel

TOP = CONFIG.noise_levels - 1
UNKNOWN = 3


class Listener(nn.Module):
    """Keeps what it is told, and answers with what it was told of the newest picture."""

    def __init__(self):
        super().__init__()
        self.noisy, self.told = [], []

    def forward(self, noisy, timesteps, context, actions, level):
        self.noisy.append(noisy)
        self.told.append((context, actions, level))
        return context[:, -1] + 0 * noisy + (level == TOP).view(-1, 1, 1, 1)


def listening(**changes):
    model = tiny(max_context_noise=0.0, **changes)
    model.denoiser = Listener()
    return model


def as_told(model, latents):
    """What a denoiser of our own is told of the latents of a context: the changes, and the newest."""
    return torch.cat([latents.diff(dim=1) / model.autoencoder.change, latents[:, -1:]], dim=1)


def is_null(context, actions, level):
    return (context == 0).flatten(1).all(1) & (actions == UNKNOWN).all(1) & (level == TOP)


@torch.no_grad()
@pytest.mark.parametrize("guidance", [0.0, 0.5, 1.5, 6.0])
def test_predictions_are_led_away_from_those_without_a_context(guidance):
    model = listening(context_dropout=0.1, guidance=guidance)
    dream, history = begun_small(model), torch.tensor([[0, 1, 2, 0]] * 3)
    level = torch.zeros(3, dtype=torch.long)
    predict = model._predictor(dream.latents, history, level)
    noisy = torch.randn(3, 4, 4, 4)
    found = predict(noisy, torch.tensor([5, 6, 7]))
    # One forward pass of both, on the same noisy latents.
    ((context, actions, levels),) = model.denoiser.told
    assert torch.equal(model.denoiser.noisy[0], noisy.repeat(2, 1, 1, 1))
    assert torch.equal(context[:3], as_told(model, dream.latents))
    assert torch.equal(actions[:3], history)
    assert torch.equal(levels[:3], level)
    assert is_null(context[3:], actions[3:], levels[3:]).all()
    null = torch.ones_like(noisy)
    torch.testing.assert_close(found, null + guidance * (dream.latents[:, -1] - null))


def test_without_guidance_nothing_is_doubled():
    model = listening(context_dropout=0.1)
    model.step(begun_small(model), torch.zeros(3, dtype=torch.long), torch.Generator().manual_seed(0))
    assert {len(noisy) for noisy in model.denoiser.noisy} == {3}
    assert len(model.denoiser.noisy) == model.config.sampler.steps
    assert not any(is_null(*told).any() for told in model.denoiser.told)


def test_guidance_of_one_is_no_guidance():
    """The formula says so; a model that is led by just over 1 dreams nearly the same."""
    model = tiny(context_dropout=0.1)
    before = dreamed_small(model)[1]
    model.guidance = 1.000001
    torch.testing.assert_close(dreamed_small(model)[1], before, atol=1e-3, rtol=1e-3)
    model.guidance = 3.0
    assert not torch.allclose(dreamed_small(model)[1], before, atol=1e-2)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_the_null_is_trained_as_it_is_dreamed(share):
    """The same share of the windows is told nothing: all of the context, every action and the level at once."""
    model = listening(context_dropout=share)
    model.losses(replace_batch(model))
    nulls = torch.cat([is_null(*told) for told in model.denoiser.told])
    assert nulls.float().mean().item() == pytest.approx(share, abs=0.06)
    for context, actions, level in model.denoiser.told:
        null = is_null(context, actions, level)
        assert (context[~null] != 0).flatten(1).any(1).all()
        assert (level[~null] == 0).all()


def replace_batch(model):
    """Many windows of latents."""
    segment = windows(model, batch=300, horizon=2)
    latents = torch.randn(300, 6, 4, 4, 4)
    return replace(segment, latents=latents, frames=torch.empty(0, dtype=torch.uint8))


@pytest.mark.parametrize("residual", [False, True])
def test_what_is_to_be_predicted_does_not_depend_on_being_told(residual):
    """Also without a context the change is one from the newest picture: it anchors the dream, whoever knows it."""

    def error(share):
        model = listening(context_dropout=share, residual=residual, shift=0.0)
        model.denoiser.forward = lambda noisy, *_: torch.zeros_like(noisy)
        torch.manual_seed(0)
        return model.losses(replace_batch(model))["denoising"].item()

    assert error(1.0) == pytest.approx(error(0.0), rel=0.02)


def test_a_window_without_a_context_goes_on_from_what_really_came():
    model = listening(context_dropout=1.0, shift=0.0)
    segment, losses, contexts = replace_batch(model), LatentLosses(model), []
    drop = losses._drop
    losses._drop = lambda conditioning: contexts.append(conditioning.context) or drop(conditioning)
    losses.of_windows(segment)
    torch.testing.assert_close(contexts[1], as_told(model, segment.latents[:, 1:5]))


def test_guidance_without_its_training_is_refused():
    with pytest.raises(UserError, match=r"guidance is 1\.5.*context-dropout"):
        tiny(guidance=1.5)
    with pytest.raises(UserError, match=r"guidance is 1\.5.*context-dropout"):
        tiny().guidance = 1.5
    model = tiny()
    model.guidance = 1.0
    assert model.guidance == 1


def test_guidance_is_saved(tmp_path):
    model = tiny(context_dropout=0.2)
    model.guidance = 2.0
    model.save_pretrained(tmp_path)
    loaded = LatentWorldModel.from_pretrained(tmp_path)
    assert loaded.guidance == 2
    assert same(dreamed_small(loaded), dreamed_small(model))


def test_a_base_is_guided_too(base_folder):
    model = based(base_folder, adapted=True, context_dropout=0.2)
    before = dreamed(model)
    model.guidance = 1.5
    assert not same(dreamed(model), before)
    losses = model.train().losses(windows(model))
    sum(losses.values()).backward()
    assert len(begun(model)) == 2
