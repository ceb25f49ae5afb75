"""The noise that a denoiser is trained on, and what it predicts of it."""

from collections.abc import Mapping
from typing import Any, cast

import torch
from diffusers import DDIMScheduler
from torch import Tensor

from worldmodel.errors import UserError

OWN_SCHEDULE: Mapping[str, Any] = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "prediction_type": "v_prediction",
    "rescale_betas_zero_snr": True,
}
"""Velocity prediction on a schedule that ends in pure noise, so that one step is already a fair guess.

Lin et al. (2024), "Common Diffusion Noise Schedules and Sample Steps are Flawed".
"""

_KEYS = (*OWN_SCHEDULE, "trained_betas")


class Schedule:
    """How noisy each timestep is, and how prediction, clean latents and noise belong together.

    Attributes:
        settings: As diffusers' schedulers take them.
        alphas_cumprod: float32, (num_train_timesteps,): share of the signal's power at each timestep, "alpha bar".
        prediction_type: "epsilon", the noise (Ho et al., 2020), or "v_prediction", the velocity (Salimans & Ho, 2022).
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        """A schedule.

        Args:
            settings: Any scheduler's config; only what training depends on is taken.

        Raises:
            UserError: If it is not one of betas, or the prediction is neither noise nor velocity.
        """
        self.settings = {key: settings[key] for key in _KEYS if key in settings}
        if "beta_schedule" not in settings:
            raise UserError(
                f"A {_name(settings)} has no schedule of betas: take a DDIM, Euler or DPM-Solver scheduler."
            )
        noise = DDIMScheduler.from_config(self.settings)
        self.alphas_cumprod = self._on_device = cast(Tensor, noise.alphas_cumprod)
        self.prediction_type: str = noise.config.prediction_type
        if self.prediction_type not in ("epsilon", "v_prediction"):
            raise UserError(f"The prediction type {self.prediction_type} is not known: take epsilon or v_prediction.")

    def add_noise(self, clean: Tensor, noise: Tensor, timesteps: Tensor) -> tuple[Tensor, Tensor]:
        """The noisy latents, and what is to be predicted: the noise, or v = sqrt(a) noise - sqrt(1 - a) clean."""
        signal, spread = self._rates(timesteps, clean)
        noisy = signal * clean + spread * noise
        return noisy, noise if self.prediction_type == "epsilon" else signal * noise - spread * clean

    def clean(self, noisy: Tensor, predicted: Tensor, timesteps: Tensor) -> Tensor:
        """The clean latents that a prediction stands for."""
        signal, spread = self._rates(timesteps, noisy)
        if self.prediction_type == "epsilon":
            return (noisy - spread * predicted) / signal
        return signal * noisy - spread * predicted

    def same_as(self, other: "Schedule") -> bool:
        """Whether a denoiser trained on the one can be sampled on the other."""
        if self.prediction_type != other.prediction_type or len(self.alphas_cumprod) != len(other.alphas_cumprod):
            return False
        return torch.allclose(self.alphas_cumprod, other.alphas_cumprod, atol=1e-4)

    def _rates(self, timesteps: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        if self._on_device.device != like.device:
            self._on_device = self.alphas_cumprod.to(like.device)
        alpha = self._on_device[timesteps].view(-1, *[1] * (like.ndim - 1))
        return alpha.sqrt(), (1 - alpha).sqrt()


def _name(settings: Mapping[str, Any]) -> str:
    return str(settings.get("_class_name", "scheduler"))
