"""What the head says of rewards: classes whose shares it learns, and what a dream is paid by them."""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from worldmodel.data.outcomes import Balance
from worldmodel.signs import draw_signs

_BINS = 41
_BIN_LIMIT = 20.0
"""symlog of the outermost bins' rewards"""


class SignRewards(nn.Module):
    """Three classes, below, at and above 0, one of which is drawn (DIAMOND, Alonso et al., 2024)."""

    classes = 3

    def target(self, rewards: Tensor) -> Tensor:
        """Shares of the classes to learn from rewards (batch,): float32, (batch, classes)."""
        return functional.one_hot(rewards.sign().long() + 1, self.classes).float()

    def shift(self, balance: Balance) -> tuple[float, ...]:
        """What to add to logits in training on a batch that was drawn so."""
        return balance.signs

    def draw(self, logits: Tensor, generator: torch.Generator | None) -> Tensor:
        """Rewards (float32, (batch,)) by the mean shares of the members, whose logits are (members, batch, classes)."""
        return draw_signs(self.shares(logits), generator)

    def shares(self, logits: Tensor) -> Tensor:
        """The members' mean, (batch, classes)."""
        return logits.softmax(-1).mean(0)


class SymlogRewards(nn.Module):
    """A two-hot distribution over bins evenly spaced in symlog, whose mean is paid (DreamerV3, Hafner et al., 2023).

    Weights and mean are taken in rewards, not in their symlog: a chance of 10 % to be paid 100 is worth 10. What is
    left to bins that no reward has ever touched is not paid: the outermost are worth half a billion.
    """

    classes = _BINS
    bins: Tensor
    seen: Tensor

    def __init__(self) -> None:
        """No reward has been seen but 0."""
        super().__init__()
        self.register_buffer("bins", symexp(torch.linspace(-_BIN_LIMIT, _BIN_LIMIT, _BINS)), persistent=False)
        self.register_buffer("seen", self.bins == 0)

    def target(self, rewards: Tensor) -> Tensor:
        """As that of signs; while training, the bins that the rewards touch are kept in mind."""
        weights = two_hot(rewards, self.bins)
        if self.training:
            self.seen |= (weights > 0).any(0)
        return weights

    def shift(self, balance: Balance) -> tuple[float, ...]:
        """Nothing: the sizes of rewards tell rare ones apart, there is no class to shift."""
        return (0.0,)

    def draw(self, logits: Tensor, generator: torch.Generator | None) -> Tensor:
        """As that of signs, but expected: nothing is drawn."""
        shares = logits.masked_fill(~self.seen, -torch.inf).softmax(-1).mean(0)
        return shares @ self.bins


def reward_kind(name: Literal["sign", "symlog"]) -> SignRewards | SymlogRewards:
    """Rewards as `HeadConfig.rewards` names them."""
    return SignRewards() if name == "sign" else SymlogRewards()


def symexp(x: Tensor) -> Tensor:
    """sign(x) (exp |x| - 1), the inverse of symlog (Hafner et al., 2023)."""
    return x.sign() * x.abs().expm1()


def two_hot(x: Tensor, bins: Tensor) -> Tensor:
    """Weights over ascending `bins` whose mean is x (Hafner et al., 2023): (n,) to (n, bins)."""
    lower = (torch.bucketize(x, bins, right=True) - 1).clamp(0, len(bins) - 2)
    upper_weight = ((x - bins[lower]) / (bins[lower + 1] - bins[lower])).clamp(0, 1).unsqueeze(-1)
    return (
        functional.one_hot(lower, len(bins)) * (1 - upper_weight)
        + functional.one_hot(lower + 1, len(bins)) * upper_weight
    )
