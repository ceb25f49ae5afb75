"""Generalised advantage estimation (Schulman et al., 2016) over a batch of dreams."""

import torch
from torch import Tensor


def generalized_advantages(
    rewards: Tensor,
    values: Tensor,
    final_values: Tensor,
    terminated: Tensor,
    truncated: Tensor,
    *,
    gamma: float,
    lambda_: float,
) -> Tensor:
    """The advantage of every action of a rollout; add `values` to get the value targets.

    A game's end is worth nothing further; at a horizon, and where the rollout is cut, the next state's value stands in
    for what would have come. Nothing flows back across an end.

    Args:
        rewards: float32, (time, dreams).
        values: float32, (time, dreams), of the observations acted on. The row after an end must hold the value of the
            game's final observation, as NEXT_STEP autoreset has it.
        final_values: float32, (dreams,), of the observations after the last action.
        terminated: bool, (time, dreams): the game ended.
        truncated: bool, (time, dreams): the game was cut short.
        gamma: Discount.
        lambda_: Weight of the longer returns, 0 to 1.

    Returns:
        float32, (time, dreams).
    """
    going_on = (~terminated).float()
    next_values = torch.cat([values[1:], final_values[None]])
    errors = rewards + gamma * going_on * next_values - values
    decay = gamma * lambda_ * going_on * ~truncated
    advantages = torch.empty_like(errors)
    advantage = torch.zeros_like(final_values)
    for t in reversed(range(len(errors))):
        advantage = errors[t] + decay[t] * advantage
        advantages[t] = advantage
    return advantages


def standardize(advantages: Tensor, least_spread: float = 0.0) -> Tensor:
    """The advantages (float32, any shape), shifted to mean 0 and scaled to standard deviation 1.

    Where rewards are rare most rollouts bring none, and their advantages are the value's own errors: those are not
    blown up where the deviation counts as `least_spread` at least, as Hafner et al. (2023) do with returns.
    """
    return (advantages - advantages.mean()) / advantages.std(correction=0).clamp_min(max(least_spread, 1e-4))
