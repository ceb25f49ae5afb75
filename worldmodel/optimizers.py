"""The optimisers that there are by name."""

from collections.abc import Sequence

import torch
from torch import nn
from torch.optim import Optimizer

from worldmodel.fitting import OptimizerName, check_optimizer


def build_optimizer(
    name: OptimizerName, parameters: Sequence[nn.Parameter], rate: float, weight_decay: float
) -> Optimizer:
    """The optimiser of this name for `parameters`, of which there may be none; `rate` means the same to all.

    AdamW (Loshchilov and Hutter, 2019), Adafactor (Shazeer and Stern, 2018), AdamW in 8 bits (Dettmers et al., 2022).

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
