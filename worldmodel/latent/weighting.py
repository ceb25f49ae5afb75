"""How much the error at a noise level counts."""

import torch
from diffusers.schedulers.scheduling_utils import SchedulerMixin
from diffusers.training_utils import compute_snr
from torch import Tensor

from worldmodel.fitting import Weighting


class LossWeight:
    """Weights for the squared error of what the network predicts, velocity or noise.

    A weight is stated for the error of the clean latent and translated: with the signal-to-noise ratio s, the squared
    error of a predicted velocity is s + 1 times that of the clean latent which it stands for, that of predicted noise
    is s times.

    - "min_snr": min(s, gamma) (Hang et al., 2023, "Efficient Diffusion Training via Min-SNR Weighting Strategy").
    - "edm": 1 / sigma^2 + 1 / sigma_data^2 (Karras et al., 2022, table 1), where sigma^2 is 1 / s and latents have unit
      variance; for a predicted velocity this is the plain squared error.
    """

    def __init__(self, weighting: Weighting, gamma: float, schedule: SchedulerMixin) -> None:
        self._weighting = weighting
        self._gamma = gamma
        self._schedule = schedule

    def __call__(self, timesteps: Tensor) -> Tensor:
        """Weights (batch,) at `timesteps` (int64, (batch,))."""
        if self._weighting == "none":
            return torch.ones_like(timesteps)
        snr = compute_snr(self._schedule, timesteps)
        clean = snr.clamp_max(self._gamma) if self._weighting == "min_snr" else snr + 1
        velocity = self._schedule.config.prediction_type == "v_prediction"
        return clean / (snr + 1 if velocity else snr)
