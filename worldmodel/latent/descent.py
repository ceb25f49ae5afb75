"""The way down: optimiser, course of the learning rate, averaged weights."""

from collections.abc import Sequence

import torch
from diffusers.training_utils import EMAModel
from torch import Tensor, nn
from torch.optim import Optimizer

from worldmodel.fitting import FitConfig, OptimizerName, check_optimizer


class Descent:
    """Descends the losses of one stage, from its first update to its last."""

    def __init__(
        self, parameters: Sequence[nn.Parameter], rate: float, steps: int, config: FitConfig, device: torch.device
    ) -> None:
        """The way of `parameters` down, in `steps` updates, at a learning rate that peaks at `rate`."""
        self._parameters = parameters
        self._max_grad_norm = config.max_grad_norm
        self._optimizer = build_optimizer(config.optimizer, parameters, rate, config.weight_decay)
        momentum = "betas" in self._optimizer.defaults
        self._course = torch.optim.lr_scheduler.OneCycleLR(
            self._optimizer, rate, total_steps=max(steps, 2), pct_start=0.1, cycle_momentum=momentum
        )
        self._ema = EMAModel(parameters, decay=config.ema_decay, use_ema_warmup=True, power=3 / 4)
        # Small gradients vanish in float16; in any other arithmetic this does nothing.
        self._scaler = torch.amp.GradScaler(device.type, init_scale=1024.0, enabled=config.precision == "fp16")

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


def build_optimizer(
    name: OptimizerName, parameters: Sequence[nn.Parameter], rate: float, weight_decay: float
) -> Optimizer:
    """The optimiser of this name for `parameters`, of which there may be none; `rate` means the same to all.

    Raises:
        UserError: If it needs a package that is not installed.
    """
    group = [{"params": list(parameters)}]
    if name == "adamw":
        return torch.optim.AdamW(group, rate, weight_decay=weight_decay)
    if name == "adafactor":
        # The 1.0 takes steps of `rate`. Steps in proportion to the parameter would hardly move what begins at zero.
        return torch.optim.Adafactor(group, rate, eps=(None, 1.0), weight_decay=weight_decay)
    check_optimizer(name)
    from bitsandbytes.optim import AdamW8bit

    return AdamW8bit(group, rate, weight_decay=weight_decay)
