"""Drawing a latent in a few steps."""

from collections.abc import Callable

import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, EulerDiscreteScheduler
from diffusers.schedulers.scheduling_utils import SchedulerMixin
from torch import Tensor

from worldmodel.errors import UserError
from worldmodel.latent.config import SamplerConfig

_SOLVERS: dict[str, type[SchedulerMixin]] = {
    "ddim": DDIMScheduler,
    "euler": EulerDiscreteScheduler,
    "dpm": DPMSolverMultistepScheduler,
}


class Sampler:
    """Velocity prediction on a schedule that ends in pure noise, so that one step is already a fair guess.

    Lin et al. (2024), "Common Diffusion Noise Schedules and Sample Steps are Flawed": zero terminal
    signal-to-noise ratio, v-prediction and trailing timesteps.
    """

    def __init__(self, config: SamplerConfig) -> None:
        if not 1 <= config.steps <= 8:
            raise UserError(f"The sampler takes 1 to 8 steps, not {config.steps}; set model.sampler.steps.")
        self.config = config
        self.noise = DDIMScheduler(**_SCHEDULE, timestep_spacing="trailing", clip_sample=False)
        self.alphas = self.noise.alphas_cumprod
        self.noise.set_timesteps(config.steps)
        self.timesteps = self.noise.timesteps

    def add_noise(self, clean: Tensor, noise: Tensor, timesteps: Tensor) -> tuple[Tensor, Tensor]:
        """The noisy latents and the velocity to predict: v = sqrt(a) noise - sqrt(1 - a) clean."""
        signal, spread = self._rates(timesteps, clean)
        return signal * clean + spread * noise, signal * noise - spread * clean

    def clean(self, noisy: Tensor, velocity: Tensor, timesteps: Tensor) -> Tensor:
        """The clean latents that a predicted velocity stands for."""
        signal, spread = self._rates(timesteps, noisy)
        return signal * noisy - spread * velocity

    def sample(self, predict: Callable[[Tensor, Tensor], Tensor], noise: Tensor) -> Tensor:
        """Take the solver's steps from pure noise.

        Args:
            predict: Velocity of (latents (n, ...), timesteps (n,)).
            noise: Standard normal, (n, ...).
        """
        solver = _SOLVERS[self.config.solver](**_SCHEDULE, timestep_spacing="trailing")
        solver.register_to_config(clip_sample=False)
        solver.set_timesteps(self.config.steps, device=noise.device)
        latents = noise * solver.init_noise_sigma
        for t in solver.timesteps:
            scaled = solver.scale_model_input(latents, t)
            timesteps = t.expand(len(noise)).to(torch.int64)
            velocity = predict(scaled, timesteps)
            latents = solver.step(velocity, t, latents).prev_sample
        # The last step of all solvers ends here; DDIM's own leaves some noise where the steps do not divide 1000.
        return self.clean(scaled, velocity, timesteps)

    def _rates(self, timesteps: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        alpha = self.alphas.to(like.device)[timesteps].view(-1, *[1] * (like.ndim - 1))
        return alpha.sqrt(), (1 - alpha).sqrt()


_SCHEDULE = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "prediction_type": "v_prediction",
    "rescale_betas_zero_snr": True,
}
