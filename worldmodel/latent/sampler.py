"""Drawing a latent in a few steps."""

from collections.abc import Callable

import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, EulerDiscreteScheduler, SchedulerMixin
from torch import Tensor

from worldmodel.errors import UserError
from worldmodel.latent.config import SamplerConfig
from worldmodel.latent.schedule import Schedule

_SOLVERS: dict[str, type[SchedulerMixin]] = {
    "ddim": DDIMScheduler,
    "euler": EulerDiscreteScheduler,
    "dpm": DPMSolverMultistepScheduler,
}


def build_sampler(config: SamplerConfig, schedule: Schedule) -> "Sampler":
    """The sampler that `config` asks for, on the schedule that the denoiser is trained on."""
    # Trailing timesteps begin where the noise is strongest (Lin et al., 2024).
    solver = _SOLVERS[config.solver].from_config(schedule.settings, timestep_spacing="trailing", clip_sample=False)
    return Sampler(solver, config.steps)


class Sampler(Schedule):
    """The schedule of one of diffusers' schedulers, and the steps that it takes on it.

    Attributes:
        scheduler: The solver.
        steps: How many network calls it takes.
        timesteps: int64, (steps,): where the denoiser is asked, strongest noise first.
    """

    def __init__(self, scheduler: SchedulerMixin, steps: int) -> None:
        """A sampler.

        Args:
            scheduler: Any of diffusers' that has a schedule of alphas, such as DDIM, Euler or DPM-Solver++.
            steps: Network calls, 1 to 8.

        Raises:
            UserError: If the number of steps or the scheduler does not suit.
        """
        if not 1 <= steps <= 8:
            raise UserError(f"The sampler takes 1 to 8 steps, not {steps}; set model.sampler.steps.")
        super().__init__(scheduler.config)
        self.scheduler = scheduler
        self.steps = steps
        scheduler.set_timesteps(steps)
        self.timesteps = self._timesteps = scheduler.timesteps.to(torch.int64)
        self._check_noise_levels()

    def sample(
        self, predict: Callable[[Tensor, Tensor], Tensor], noise: Tensor, expected: Tensor | None = None
    ) -> Tensor:
        """Take the solver's steps from the strongest noise.

        A schedule that keeps a rest of signal in its last timestep taught the denoiser to trust that rest. So the
        steps begin from `expected` under the strongest noise, not from noise alone; on a schedule that ends in pure
        noise the two are the same.

        Args:
            predict: Prediction of (latents (n, ...), timesteps (n,)).
            noise: Standard normal, (n, ...).
            expected: What is likely to be drawn, (n, ...); None: zero.
        """
        solver, timesteps = self.scheduler, self.timesteps_on(noise.device)
        # The solver's own timesteps stay on the CPU: to read them from a GPU, as it does, would be to wait for it.
        solver.set_timesteps(self.steps)
        if hasattr(solver, "set_begin_index"):
            solver.set_begin_index(0)
        expected = torch.zeros_like(noise) if expected is None else expected
        latents = solver.add_noise(expected, noise, timesteps[:1].to(solver.timesteps.dtype))
        for t, timestep in zip(solver.timesteps[:-1], timesteps[:-1], strict=True):
            predicted = predict(solver.scale_model_input(latents, t), timestep.expand(len(noise)))
            latents = solver.step(predicted, t, latents).prev_sample
        # The last step of all solvers ends here; DDIM's own leaves some noise where the steps do not divide 1000.
        scaled, last = solver.scale_model_input(latents, solver.timesteps[-1]), timesteps[-1].expand(len(noise))
        return self.clean(scaled, predict(scaled, last), last)

    def timesteps_on(self, device: torch.device) -> Tensor:
        """`timesteps`, brought to the device once."""
        if self._timesteps.device != device:
            self._timesteps = self.timesteps.to(device)
        return self._timesteps

    def _check_noise_levels(self) -> None:
        """Refuse a scheduler whose steps have other noise than its timesteps say."""
        sigmas = getattr(self.scheduler, "sigmas", None)
        if sigmas is None:
            return
        alphas = self.alphas_cumprod[self.timesteps]
        if not torch.allclose(1 / (1 + sigmas[: len(alphas)].cpu().float() ** 2), alphas, atol=1e-3):
            name = type(self.scheduler).__name__
            raise UserError(
                f"The steps of this {name} have other noise than the timesteps that the network is told:"
                " make it without an interpolation of sigmas of its own."
            )
