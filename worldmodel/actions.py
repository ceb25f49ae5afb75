"""Actions of every kind as vectors that a network can read."""

import math
from itertools import accumulate

import torch
from torch import Tensor, nn
from torch.nn import functional

from worldmodel.spaces import ActionSpec


class ActionEncoder(nn.Module):
    """Turns actions into vectors, whatever their kind.

    Choices are looked up, each in its own part of one table, and added up; one past the last alternative stands for
    "not known". Numbers are scaled from their bounds to [-1, 1] and go through a small network; NaN stands for "not
    known", and has a vector of its own.
    """

    def __init__(self, spec: ActionSpec, dim: int) -> None:
        """An encoder into `dim` numbers."""
        super().__init__()
        self.lookup = _Numbers(spec, dim) if spec.kind == "box" else _Choices(spec, dim)

    def forward(self, actions: Tensor) -> Tensor:
        """Vectors (..., dim) of actions (..., *spec.shape)."""
        return self.lookup(actions)


class _Choices(nn.Embedding):
    offsets: Tensor

    def __init__(self, spec: ActionSpec, dim: int) -> None:
        *starts, rows = accumulate((size + 1 for size in spec.sizes), initial=0)
        super().__init__(rows, dim)
        self.register_buffer("offsets", torch.tensor(starts).view(spec.shape), persistent=False)

    def forward(self, actions: Tensor) -> Tensor:
        found = super().forward(actions + self.offsets)
        return found.sum(-2) if self.offsets.ndim else found


class _Numbers(nn.Module):
    bounds: Tensor

    def __init__(self, spec: ActionSpec, dim: int) -> None:
        super().__init__()
        # As bits, which `to(torch.bfloat16)` leaves alone: rounded, two bounds may be one.
        self.register_buffer("bounds", torch.tensor([spec.low, spec.high]).view(torch.int32), persistent=False)
        self.enter = nn.Linear(len(spec), dim)
        self.out = nn.Linear(dim, dim)
        self.unknown = nn.Parameter(torch.randn(dim))
        # As large as an embedding's vectors are at first.
        nn.init.normal_(self.enter.weight)
        nn.init.normal_(self.enter.bias)
        nn.init.normal_(self.out.weight, std=math.sqrt(2 / dim))

    def forward(self, actions: Tensor) -> Tensor:
        known = ~actions.isnan().any(-1, keepdim=True)
        low, high = self.bounds.view(torch.float32)
        scaled = 2 * (actions - low) / (high - low) - 1
        # Before the network: a NaN that is chosen away after it would still reach its gradients.
        vectors = self.out(functional.silu(self.enter(torch.where(known, scaled, 0.0))))
        return torch.where(known, vectors, self.unknown)


def where_known(known: Tensor, actions: Tensor, unknown: Tensor) -> Tensor:
    """The actions (*known.shape, *shape), with those not `known` (bool) replaced by `unknown` (*shape,)."""
    return torch.where(known.view(*known.shape, *[1] * unknown.ndim), actions, unknown)
