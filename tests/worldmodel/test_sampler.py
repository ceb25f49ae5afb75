import pytest
import torch

from worldmodel.errors import UserError
from worldmodel.latent.config import SamplerConfig
from worldmodel.latent.sampler import build_sampler
from worldmodel.latent.schedule import OWN_SCHEDULE, Schedule

SOLVERS = ("ddim", "euler", "dpm")
SHAPE = (5, 4, 3, 3)


def sampler_of(solver="ddim", steps=2, **schedule):
    return build_sampler(SamplerConfig(solver, steps), Schedule({**OWN_SCHEDULE, **schedule}))


@pytest.fixture
def clean():
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def noise():
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(2))


class Oracle:
    """The exact velocity for one known clean latent, and the timesteps that it was asked for."""

    def __init__(self, sampler, clean):
        self.sampler, self.clean, self.asked = sampler, clean, []

    def __call__(self, noisy, timesteps):
        self.asked.append(timesteps)
        alpha = self.sampler.alphas_cumprod[timesteps].view(-1, 1, 1, 1)
        noise = (noisy - alpha.sqrt() * self.clean) / (1 - alpha).sqrt()
        return alpha.sqrt() * noise - (1 - alpha).sqrt() * self.clean


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("steps", range(1, 9))
def test_with_the_exact_velocity_every_solver_finds_the_clean_latent(solver, steps, clean, noise):
    sampler = sampler_of(solver, steps)
    oracle = Oracle(sampler, clean)
    drawn = sampler.sample(oracle, noise)
    torch.testing.assert_close(drawn, clean, atol=2e-3, rtol=0)
    assert len(oracle.asked) == steps


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("steps", [1, 2, 3, 8])
def test_the_network_is_asked_at_the_timesteps_that_it_is_trained_on(solver, steps, clean, noise):
    sampler = sampler_of(solver, steps)
    oracle = Oracle(sampler, clean)
    sampler.sample(oracle, noise)
    assert all(asked.dtype == torch.int64 and asked.shape == (5,) for asked in oracle.asked)
    assert torch.stack(oracle.asked)[:, 0].tolist() == sampler.timesteps.tolist()
    assert sampler.timesteps[0] == 999


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("steps", [1, 4])
def test_no_step_is_taken_whose_outcome_nobody_sees(solver, steps, clean, noise, monkeypatch):
    sampler, taken = sampler_of(solver, steps), []
    step = sampler.scheduler.step
    monkeypatch.setattr(sampler.scheduler, "step", lambda *given: taken.append(1) or step(*given))
    sampler.sample(Oracle(sampler, clean), noise)
    assert len(taken) == steps - 1


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("steps", [1, 3])
def test_on_a_gpu_nobody_waits_for_it(steps, noise):
    sampler, noise = sampler_of("ddim", steps), noise.cuda()

    def predict(noisy, timesteps):
        return noisy.tanh()

    expected = sampler.sample(predict, noise)
    torch.cuda.set_sync_debug_mode("error")
    try:
        drawn = sampler.sample(predict, noise)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert torch.equal(drawn, expected)


def test_the_solver_can_be_chosen(noise):
    drawn = {name: sampler_of(name, 4).sample(lambda noisy, _: noisy.tanh(), noise) for name in SOLVERS}
    assert all(latents.isfinite().all() and latents.shape == SHAPE for latents in drawn.values())
    # DDIM is Euler's rule for the same equation (Song et al., 2021), DPM-Solver++ is of second order.
    torch.testing.assert_close(drawn["ddim"], drawn["euler"], atol=1e-2, rtol=0)
    assert (drawn["ddim"] - drawn["dpm"]).abs().max() > 0.05


def test_more_steps_come_nearer_to_the_solution(noise):
    """For data of spread 1/2 the exact velocity is known, and so is where every noise goes: to half of itself."""

    def drawn(steps):
        sampler = sampler_of("ddim", steps)

        def predict(noisy, timesteps):
            alpha = sampler.alphas_cumprod[timesteps].view(-1, 1, 1, 1)
            return noisy * (alpha * (1 - alpha)).sqrt() * 0.75 / (1 - 0.75 * alpha)

        return sampler.sample(predict, noise)

    errors = [(drawn(steps) - noise / 2).abs().mean() for steps in (1, 2, 4, 8)]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < errors[0] / 3


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_row_is_drawn_alike_in_any_batch(solver, noise):
    sampler = sampler_of(solver, 3)

    def predict(noisy, timesteps):
        return torch.tanh(noisy) * (timesteps.view(-1, 1, 1, 1) / 1000)

    together = sampler.sample(predict, noise)
    torch.testing.assert_close(sampler.sample(predict, noise[2:3]), together[2:3])
    assert torch.equal(sampler.sample(predict, noise), together)


@pytest.mark.parametrize("steps", [-1, 0, 9])
def test_other_numbers_of_steps_are_refused(steps):
    with pytest.raises(UserError, match="1 to 8"):
        sampler_of("ddim", steps)


def test_the_clean_latent_comes_back_from_noise_and_velocity(clean, noise):
    sampler = sampler_of()
    timesteps = torch.tensor([0, 10, 300, 700, 999])
    noisy, velocity = sampler.add_noise(clean, noise, timesteps)
    torch.testing.assert_close(sampler.clean(noisy, velocity, timesteps), clean, atol=1e-5, rtol=1e-5)


def test_the_last_timestep_is_pure_noise(clean, noise):
    sampler = sampler_of()
    noisy, velocity = sampler.add_noise(clean, noise, torch.full((5,), 999))
    torch.testing.assert_close(noisy, noise)
    torch.testing.assert_close(velocity, -clean)
