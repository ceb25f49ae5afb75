import pytest
import torch
from diffusers import DDIMScheduler

from worldmodel.latent.config import SamplerConfig
from worldmodel.latent.sampler import build_sampler
from worldmodel.latent.schedule import OWN_SCHEDULE, Schedule
from worldmodel.latent.weighting import LossWeight

TIMESTEPS = torch.tensor([0, 1, 10, 100, 400, 700, 990])
ZERO_SNR = 999


def schedule(prediction):
    return DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", prediction_type=prediction)


def snr(scheduler):
    alphas = scheduler.alphas_cumprod[TIMESTEPS]
    return alphas / (1 - alphas)


@pytest.mark.parametrize("prediction", ["v_prediction", "epsilon"])
def test_without_weighting_all_count_alike(prediction):
    assert torch.equal(LossWeight("none", 5.0, schedule(prediction))(TIMESTEPS), torch.ones_like(TIMESTEPS))


@pytest.mark.parametrize("gamma", [1.0, 5.0])
def test_min_snr_is_as_published(gamma):
    """Hang et al. (2023), section 3.4 and its remark on velocity prediction."""
    velocity, noise = schedule("v_prediction"), schedule("epsilon")
    least = torch.minimum(snr(noise), torch.tensor(gamma))
    torch.testing.assert_close(LossWeight("min_snr", gamma, velocity)(TIMESTEPS), least / (snr(velocity) + 1))
    torch.testing.assert_close(LossWeight("min_snr", gamma, noise)(TIMESTEPS), least / snr(noise))
    assert least[0] == gamma > least[-1]


@pytest.mark.parametrize("prediction", ["v_prediction", "epsilon"])
def test_edm_is_the_published_weight_of_the_clean_latents_error(prediction):
    """lambda(sigma) = (sigma^2 + sigma_data^2) / (sigma sigma_data)^2 on the denoised latent, sigma_data = 1."""
    scheduler, generator = schedule(prediction), torch.Generator().manual_seed(0)
    clean, noise, shift = (torch.randn(len(TIMESTEPS), 8, generator=generator, dtype=torch.float64) for _ in range(3))
    alphas = scheduler.alphas_cumprod[TIMESTEPS].double()[:, None]
    noisy = alphas.sqrt() * clean + (1 - alphas).sqrt() * noise
    said = {"v_prediction": alphas.sqrt() * noise - (1 - alphas).sqrt() * clean, "epsilon": noise}
    target = said[prediction]
    wrong = target + 0.1 * shift
    denoised = {
        "v_prediction": alphas.sqrt() * noisy - (1 - alphas).sqrt() * wrong,
        "epsilon": (noisy - (1 - alphas).sqrt() * wrong) / alphas.sqrt(),
    }[prediction]
    sigma = ((1 - alphas) / alphas).sqrt()[:, 0]
    published = (sigma**2 + 1) / sigma**2 * (denoised - clean).square().mean(1)
    ours = LossWeight("edm", 5.0, scheduler)(TIMESTEPS) * (wrong - target).square().mean(1)
    torch.testing.assert_close(ours, published, rtol=1e-4, atol=0)


@pytest.mark.parametrize("weighting", ["min_snr", "edm"])
def test_our_own_schedule_has_a_weight_at_every_step(weighting):
    """It ends in pure noise, where nothing of the latent is left to be judged."""
    scheduler = build_sampler(SamplerConfig(), Schedule(OWN_SCHEDULE)).scheduler
    weights = LossWeight(weighting, 5.0, scheduler)(torch.arange(1000))
    assert weights.isfinite().all()
    assert (weights[:ZERO_SNR] > 0).all()
    assert weights[ZERO_SNR] == (0 if weighting == "min_snr" else 1)
