"""The reward and termination head, shared by all families."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from worldmodel.actions import ActionEncoder
from worldmodel.data.outcomes import Balance
from worldmodel.head_config import HeadConfig
from worldmodel.rewards import SignRewards, reward_kind
from worldmodel.spaces import ActionSpec


@dataclass(frozen=True)
class Outcome:
    """What the members of the head say of a step: raw logits.

    Attributes:
        rewards: (members, batch, classes).
        terminated: (members, batch).
    """

    rewards: Tensor
    terminated: Tensor


class Head(nn.Module):
    """An ensemble that reads reward and termination off the last two pictures, the next one and the action.

    Reward is one of three signs, sampled, or a two-hot distribution over symlog bins, expected. Termination is a
    probability, sampled. The members differ in their initialisation.
    """

    def __init__(self, config: HeadConfig, channels: int, height: int, width: int, spec: ActionSpec) -> None:
        """A head on pictures (channels, height, width) and actions of `spec`."""
        super().__init__()
        self.config = config
        self.rewards = reward_kind(config.rewards)
        self.members = nn.ModuleList(
            _Member(3 * channels, _half(height) * _half(width), spec, config, self.rewards.classes + 1)
            for _ in range(config.members)
        )

    def forward(self, pictures: Tensor, actions: Tensor) -> Outcome:
        """Logits for a step.

        Args:
            pictures: (batch, 3, channels, h, w): the last two and the one that came.
            actions: (batch, *spec.shape), the action between the last two of them.
        """
        seen = pictures.flatten(1, 2).contiguous(memory_format=torch.channels_last)
        logits = torch.stack([member(seen, actions) for member in self.members]).float()
        return Outcome(rewards=logits[..., :-1], terminated=logits[..., -1])

    def losses(
        self,
        outcome: Outcome,
        rewards: Tensor,
        terminated: Tensor,
        valid: Tensor,
        count: Tensor | None = None,
        balance: Balance | None = None,
    ) -> dict[str, Tensor]:
        """Cross entropies, averaged over members and over the steps that count.

        Args:
            outcome: What the members say of the steps.
            rewards: float32, (batch,); NaN where nobody knows.
            terminated: bool, (batch,).
            valid: bool, (batch,): which steps count.
            count: For a part of a batch, how many are valid in the whole (int64, ()): so the parts add up to it.
            balance: How the batch was drawn, if not as in play.
        """
        members, balance = len(self.members), balance or Balance()
        reward = functional.cross_entropy(
            (outcome.rewards + outcome.rewards.new_tensor(self.rewards.shift(balance))).flatten(0, 1),
            self.rewards.target(rewards.nan_to_num()).repeat(members, 1),
            reduction="none",
        )
        end = functional.binary_cross_entropy_with_logits(
            outcome.terminated + balance.ends, terminated.float().expand(members, -1), reduction="none"
        )
        total = (valid.sum() if count is None else count).clamp_min(1)
        return {
            "reward": (reward.view(members, -1).mean(0) * (valid & ~rewards.isnan())).sum() / total,
            "termination": (end.mean(0) * valid).sum() / total,
        }

    def draw(self, outcome: Outcome, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        """Rewards (float32, (batch,)) and ends (bool, (batch,)), both from the members' mean probabilities."""
        rewards = self.rewards.draw(outcome.rewards, generator)
        chance = self.end_probability(outcome)
        uniform = torch.rand(chance.shape, generator=generator, device=chance.device)
        return rewards, uniform < chance

    def end_probability(self, outcome: Outcome) -> Tensor:
        """The chance that ends are drawn by, float32 (batch,)."""
        return outcome.terminated.sigmoid().mean(0)

    def sign_probabilities(self, outcome: Outcome) -> Tensor | None:
        """Those of rewards below, at and above 0, float32 (batch, 3); None where rewards are expected, not drawn."""
        return self.rewards.shares(outcome.rewards) if isinstance(self.rewards, SignRewards) else None


class _Member(nn.Module):
    """Sees where things are, by a layer that knows places, and that they are anywhere, by the strongest response."""

    def __init__(self, channels: int, cells: int, spec: ActionSpec, config: HeadConfig, outputs: int) -> None:
        super().__init__()
        hidden = config.hidden
        self.dropout = nn.Dropout(config.dropout)
        self.action = ActionEncoder(spec, hidden)
        self.enter = nn.Conv2d(channels, hidden // 2, 3, padding=1)
        self.shrink = nn.Conv2d(hidden // 2, hidden // 2, 3, stride=2, padding=1)
        self.gather = nn.Linear(hidden // 2 * cells, hidden)
        self.seek = nn.Conv2d(hidden // 2, hidden // 2, 3, padding=1)
        self.pool = nn.Linear(hidden // 2, hidden)
        self.norm = nn.LayerNorm(hidden)
        self.out = nn.Linear(hidden, outputs)

    def forward(self, pictures: Tensor, actions: Tensor) -> Tensor:
        entered = functional.silu(self.enter(pictures))
        anywhere = self.pool(functional.silu(self.seek(entered)).amax((2, 3)))
        placed = functional.silu(self.shrink(entered)).flatten(1)
        gathered = self.gather(self.dropout(placed)) + anywhere + self.action(actions)
        return self.out(self.dropout(functional.silu(self.norm(gathered))))


def _half(size: int) -> int:
    """What a convolution of stride 2 leaves."""
    return (size + 1) // 2
