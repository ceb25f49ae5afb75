import pytest
import torch
from fits import fitting
from tiny import slides, sliding

from worldmodel.latent.course import Course, Courses
from worldmodel.latent.losses import LatentLosses


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    return slides(tmp_path_factory.mktemp("buffer"), [sliding(seed) for seed in range(6)])


@pytest.mark.parametrize("switch", [{}, {"accumulate": 3}, {"head_steps": 0}], ids=str)
def test_every_update_goes_on_from_what_the_ones_before_have_predicted(reader, switch, monkeypatch):
    fitter, guesses = fitting(reader, "dynamics", unroll=3, **switch), []
    on = Course.on
    monkeypatch.setattr(Course, "on", lambda course, guess: guesses.append(guess) or on(course, guess))
    batches = []
    for _ in range(4):
        batches.append(fitter.draw())
        assert [course.step for course in batches[-1].each] == [0, 1, 2]
        guesses.clear()
        for losses in fitter.losses(batches[-1]):
            sum(losses.values()).backward()
        made = guesses[-3:]
        for course, guess, later in zip(batches[-1].each, made, fitter.draw().each[1:], strict=False):
            assert later.windows is course.windows
            torch.testing.assert_close(later.dreamed, torch.cat([course.dreamed, guess[:, None]], 1), rtol=0, atol=0)
            assert not later.dreamed.requires_grad
    assert not torch.equal(batches[1].each[2].dreamed[:, -1], batches[1].each[2].latents[:, fitter.model.context + 1])


def test_courses_learned_from_together_are_learned_from_as_one_by_one(reader):
    fitter = fitting(reader, "dynamics", unroll=3)
    batch, losses = fitter.draw(), LatentLosses(fitter.model)
    gradients = []
    for batches in ([batch], [Courses([course]) for course in batch.each]):
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
