"""Optimiser, learning-rate schedule, averaged weights and loss scaling of one stage of fitting."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from diffusers.training_utils import EMAModel
from torch import Tensor, nn

from worldmodel.fitting import FitConfig
from worldmodel.optimizers import build_optimizer

_RISE = 0.1
"""share of a stage in which the learning rate rises"""


class Optimization:
    """Optimiser, one-cycle schedule, EMA of the weights and loss scaling, from a stage's first update to its last."""

    def __init__(
        self,
        parameters: Sequence[nn.Parameter],
        rate: float,
        steps: int,
        config: FitConfig,
        device: torch.device,
        progress: Callable[[], float] | None = None,
    ) -> None:
        """Optimise `parameters` at a learning rate that peaks at `rate`.

        It takes `steps` updates; or, if `progress` tells how far it has come (0 to 1), as many as it turns out to take.
        """
        self._parameters = parameters
        self._max_grad_norm = config.max_grad_norm
        self._optimizer = build_optimizer(config.optimizer, parameters, rate, config.weight_decay)
        self._schedule = self._paced(progress) if progress else self._one_cycle(rate, steps)
        self._ema = EMAModel(
            parameters, decay=config.ema_decay, use_ema_warmup=True, power=3 / 4, foreach=bool(parameters)
        )
        # Small gradients vanish in float16; in any other arithmetic this does nothing.
        self._scaler = torch.amp.GradScaler(device.type, init_scale=1024.0, enabled=config.precision == "fp16")

    def _one_cycle(self, rate: float, steps: int) -> torch.optim.lr_scheduler.OneCycleLR:
        momentum = "betas" in self._optimizer.defaults
        return torch.optim.lr_scheduler.OneCycleLR(
            self._optimizer, rate, total_steps=max(steps, 2), pct_start=_RISE, cycle_momentum=momentum
        )

    def _paced(self, progress: Callable[[], float]) -> torch.optim.lr_scheduler.LambdaLR:
        return torch.optim.lr_scheduler.LambdaLR(self._optimizer, lambda _: one_cycle(progress()))

    def zero_grad(self) -> None:
        """Forget the gradients."""
        self._optimizer.zero_grad(set_to_none=True)

    def backward(self, loss: Tensor) -> None:
        """Add the loss's gradients to those that are there."""
        self._scaler.scale(loss).backward()

    def clip_grad_norm(self) -> Tensor:
        """Clip the gradients. Returns their norm before; 0 in float16, where an overflow only costs the step."""
        self._scaler.unscale_(self._optimizer)
        norm = nn.utils.clip_grad_norm_(self._parameters, self._max_grad_norm)
        return torch.zeros_like(norm) if self._scaler.is_enabled() else norm

    def step(self) -> None:
        """Update the parameters and their average; float16 leaves out a step whose gradients have overflowed."""
        self._scaler.step(self._optimizer)
        self._scaler.update()
        self._schedule.step()
        self._ema.step(self._parameters)

    def copy_ema(self) -> None:
        """End by taking the average."""
        self._ema.copy_to(self._parameters)

    def state_dict(self) -> dict[str, Any]:
        """What a stage that is told its progress goes on from."""
        return {"optimizer": self._optimizer.state_dict(), "ema": self._ema.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state`, of an optimization of the same parameters."""
        self._optimizer.load_state_dict(state["optimizer"])
        self._ema.load_state_dict(state["ema"])
        self._ema.to(self._parameters[0].device)


def one_cycle(progress: float) -> float:
    """A share of the peak: from 1/25 up over the first tenth, then down to nothing, both along a cosine.

    Smith and Topin (2018), "Super-Convergence"; for a stage that is told its progress, 0 to 1, and not its updates.
    """
    if progress < _RISE:
        return 1 - (1 - 1 / 25) * (1 + math.cos(math.pi * progress / _RISE)) / 2
    return (1 + math.cos(math.pi * min((progress - _RISE) / (1 - _RISE), 1))) / 2
