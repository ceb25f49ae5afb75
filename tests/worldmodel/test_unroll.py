import numpy as np
import pytest
import torch
from fits import fitting
from tiny import slides, sliding, tiny

from worldmodel.latent.config import SamplerConfig
from worldmodel.latent.hard_steps import HardSteps
from worldmodel.latent.losses import LatentLosses
from worldmodel.latent.unroll import Unroll, Unrolls


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    return slides(tmp_path_factory.mktemp("buffer"), [sliding(seed) for seed in range(6)])


@pytest.mark.parametrize("switch", [{}, {"accumulate": 3}, {"head_steps": 0}], ids=str)
def test_every_update_goes_on_from_what_the_ones_before_have_predicted(reader, switch, monkeypatch):
    fitter, guesses = fitting(reader, "dynamics", unroll=3, **switch), []
    on = Unroll.on
    monkeypatch.setattr(Unroll, "on", lambda unroll, guess: guesses.append(guess) or on(unroll, guess))
    batches = []
    for _ in range(4):
        batches.append(fitter.draw())
        assert [unroll.step for unroll in batches[-1].each] == [0, 1, 2]
        guesses.clear()
        for losses in fitter.losses(batches[-1]):
            sum(losses.values()).backward()
        made = guesses[-3:]
        for unroll, guess, later in zip(batches[-1].each, made, fitter.draw().each[1:], strict=False):
            assert later.windows is unroll.windows
            torch.testing.assert_close(later.dreamed, torch.cat([unroll.dreamed, guess[:, None]], 1), rtol=0, atol=0)
            assert not later.dreamed.requires_grad
    assert not torch.equal(batches[1].each[2].dreamed[:, -1], batches[1].each[2].latents[:, fitter.model.context + 1])


def test_courses_learned_from_together_are_learned_from_as_one_by_one(reader):
    fitter = fitting(reader, "dynamics", unroll=3)
    batch, losses = fitter.draw(), LatentLosses(fitter.model)
    gradients = []
    for batches in ([batch], [Unrolls([unroll]) for unroll in batch.each]):
        fitter.model.zero_grad()
        torch.manual_seed(0)
        for part in batches:
            (next(losses.of_frames(part)).losses["denoising"] / len(batches)).backward()
        gradients.append(torch.cat([p.grad.flatten() for p in fitter.model.denoiser.parameters()]))
    torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-6)


def kinds(rewards, terminated):
    return 3 * terminated.long() + rewards.sign().long() + 1


def test_a_share_of_the_courses_leads_to_what_is_rare(reader):
    fitter = fitting(reader, "dynamics", unroll=3, batch_size=8, rare_share=0.5)
    steps = reader.steps
    commonest = kinds(torch.from_numpy(steps.rewards), torch.from_numpy(steps.terminated)).mode().values
    drawn = [fitter.draw().each[0].windows for _ in range(20)]
    rare = torch.stack([(kinds(w.rewards, w.terminated) != commonest) & w.mask[:, 1:] for w in drawn])
    rare = rare[:, :, fitter.model.context - 1 :]
    assert rare[:, :4].any(2).all()
    assert not rare[:, 4:].any(2).all(), "the others come as they may"
    assert set(rare[:, :4].float().argmax(2).flatten().tolist()) == {0, 1, 2}, "at any of their steps"


def predicted(unroll):
    return (unroll.first + unroll.step)[unroll.there]


def test_a_share_of_the_courses_leads_to_what_was_predicted_worst(reader):
    fitter = fitting(reader, "dynamics", unroll=3, batch_size=8, hard_share=0.5)
    worst = torch.tensor([3, 17])
    fitter._hard = HardSteps(fitter._windows.num_steps, torch.device("cpu"))
    fitter._hard.note(worst, torch.tensor([9.0, 9.0]), torch.tensor([True, True]))
    drawn = [fitter.draw().each[0] for _ in range(20)]
    hard = torch.stack([torch.isin(unroll.first[:4, None] + torch.arange(3), worst) for unroll in drawn])
    assert hard.any(2).all()
    assert set(hard.float().argmax(2).flatten().tolist()) == {0, 1, 2}, "at any of their steps"
    assert len(torch.stack([unroll.first[4:] for unroll in drawn]).unique()) > 10, "the others come as they may"


@pytest.mark.parametrize("accumulate", [1, 2])
def test_the_error_of_every_step_that_is_predicted_is_kept(reader, accumulate):
    changes = {"unroll": 3, "batch_size": 8, "hard_share": 0.5, "accumulate": accumulate, "sampled_share": 1.0}
    fitter = fitting(reader, "dynamics", tiny(sampler=SamplerConfig(steps=1)), **changes)
    batch = fitter.draw()
    places = torch.from_numpy(fitter._windows.places)
    for unroll in batch.each:
        first, now = unroll.first[unroll.there], unroll.windows.context - 1 + unroll.step
        rewards = torch.from_numpy(reader.steps.rewards)[places[first + unroll.step]]
        assert torch.equal(unroll.windows.rewards[unroll.there, now], rewards), "it knows which steps those are"
    list(fitter.losses(batch))
    known = fitter._hard._errors[:-1].nonzero()[:, 0]
    assert torch.equal(known, torch.cat([predicted(unroll) for unroll in batch.each]).unique())


def test_shares_that_are_rounded_up_fill_the_batch_and_no_more(reader):
    fitter = fitting(reader, "dynamics", unroll=2, batch_size=3, rare_share=0.5, hard_share=0.5)
    assert len(fitter.draw().each[0].first) == 3


def test_steps_are_drawn_by_how_badly_they_were_predicted():
    hard, rng = HardSteps(4, torch.device("cpu")), np.random.default_rng(0)
    assert set(hard.draw(100, rng)) == {0, 1, 2, 3}, "all alike while nothing is known"
    hard = HardSteps(4, torch.device("cpu"))
    hard.note(torch.tensor([1, 2, 3]), torch.tensor([1.0, 2.0, 5.0]), torch.tensor([True, True, False]))
    drawn = np.bincount(hard.draw(10_000, rng), minlength=4) / 10_000
    assert np.allclose(drawn, [0, 0.2, 0.8, 0], atol=0.02)


def test_an_error_that_is_not_finite_is_not_kept():
    """The update that made it is found only later on a GPU, and until then steps are drawn."""
    hard = HardSteps(3, torch.device("cpu"))
    errors = torch.tensor([1.0, torch.nan, torch.inf])
    hard.note(torch.arange(3), errors, torch.ones(3, dtype=torch.bool))
    assert set(hard.draw(100, np.random.default_rng(0))) == {0}


def test_only_errors_made_as_dreams_are_made_tell_what_is_hard(reader):
    """Elsewhere the noise is what is hard to tell, and of a window without its context nothing can be told."""
    for sampled, dropout, share in ((1.0, 0.0, 1.0), (0.0, 0.0, 0.0), (1.0, 1.0, 0.0)):
        model = tiny(context_dropout=dropout, sampler=SamplerConfig(steps=1))
        fitter = fitting(reader, "dynamics", model, unroll=3, batch_size=8, hard_share=0.5, sampled_share=sampled)
        batch = fitter.draw()
        for learned in fitter._losses.of_frames(batch):
            known = torch.cat(learned.errors).isfinite().float().mean()
            assert known == pytest.approx(share, abs=0.1)
