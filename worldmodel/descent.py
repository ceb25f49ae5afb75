"""The way down: optimiser, course of the learning rate, averaged weights."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from diffusers.training_utils import EMAModel
from torch import Tensor, nn
from torch.optim import Optimizer

from worldmodel.fitting import FitConfig, OptimizerName, check_optimizer

_RISE = 0.1
"""share of a stage in which the learning rate rises"""


class Descent:
    """Descends the losses of one stage, from its first update to its last."""

    def __init__(
        self,
        parameters: Sequence[nn.Parameter],
        rate: float,
        steps: int,
        config: FitConfig,
        device: torch.device,
        progress: Callable[[], float] | None = None,
    ) -> None:
        """The way of `parameters` down at a learning rate that peaks at `rate`.

        It takes `steps` updates; or, if `progress` tells how far it has come (0 to 1), as many as it turns out to take.
        """
        self._parameters = parameters
        self._max_grad_norm = config.max_grad_norm
        self._optimizer = build_optimizer(config.optimizer, parameters, rate, config.weight_decay)
        self._course = PacedCourse(self._optimizer, rate, progress) if progress else self._one_cycle(rate, steps)
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

    def clear(self) -> None:
        """Forget the gradients."""
        self._optimizer.zero_grad(set_to_none=True)

    def backward(self, loss: Tensor) -> None:
        """Add the loss's gradients to those that are there."""
        self._scaler.scale(loss).backward()

    def clip(self) -> Tensor:
        """Clip the gradients. Returns their norm before; 0 in float16, where an overflow only costs the step."""
        self._scaler.unscale_(self._optimizer)
        norm = nn.utils.clip_grad_norm_(self._parameters, self._max_grad_norm)
        return torch.zeros_like(norm) if self._scaler.is_enabled() else norm

    def step(self) -> None:
        """Update the parameters and their average; float16 leaves out a step whose gradients have overflowed."""
        self._scaler.step(self._optimizer)
        self._scaler.update()
        self._course.step()
        self._ema.step(self._parameters)

    def adopt(self) -> None:
        """End by taking the average."""
        self._ema.copy_to(self._parameters)

    def state(self) -> dict[str, Any]:
        """What a paced descent goes on from."""
        return {"optimizer": self._optimizer.state_dict(), "ema": self._ema.state_dict()}

    def go_on(self, state: dict[str, Any]) -> None:
        """Go on from `state`, of a descent of the same parameters."""
        self._optimizer.load_state_dict(state["optimizer"])
        self._ema.load_state_dict(state["ema"])
        self._ema.to(self._parameters[0].device)


class PacedCourse:
    """A learning rate that rises and falls with what a stage has done of its time, however many updates that takes."""

    def __init__(self, optimizer: Optimizer, rate: float, progress: Callable[[], float]) -> None:
        """Lead `optimizer` to a peak of `rate`; `progress` tells how far the stage has come, 0 to 1."""
        self._optimizer, self._rate, self._progress = optimizer, rate, progress
        self.step()

    def step(self) -> None:
        """Set the rate for the next update."""
        for group in self._optimizer.param_groups:
            group["lr"] = self._rate * paced(self._progress())


def paced(progress: float) -> float:
    """A share of the peak: from 1/25 up over the first tenth, then down to nothing, both along a cosine."""
    if progress < _RISE:
        return 1 - (1 - 1 / 25) * (1 + math.cos(math.pi * progress / _RISE)) / 2
    return (1 + math.cos(math.pi * min((progress - _RISE) / (1 - _RISE), 1))) / 2


def build_optimizer(
    name: OptimizerName, parameters: Sequence[nn.Parameter], rate: float, weight_decay: float
) -> Optimizer:
    """The optimiser of this name for `parameters`, of which there may be none; `rate` means the same to all.

    Raises:
        UserError: If it needs a package that is not installed.
    """
    group = [{"params": list(parameters)}]
    if name == "adamw":
        return torch.optim.AdamW(group, rate, weight_decay=weight_decay, fused=True)
    if name == "adafactor":
        # The 1.0 takes steps of `rate`. Steps in proportion to the parameter would hardly move what begins at zero.
        return torch.optim.Adafactor(group, rate, eps=(None, 1.0), weight_decay=weight_decay)
    check_optimizer(name)
    from bitsandbytes.optim import AdamW8bit

    return AdamW8bit(group, rate, weight_decay=weight_decay)
