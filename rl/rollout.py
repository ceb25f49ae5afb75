"""What a batch of dreams went through between two updates of the policy."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import torch
from ray.rllib.core.columns import Columns
from ray.rllib.evaluation.postprocessing import Postprocessing
from torch import Tensor

from rl.gae import generalized_advantages, standardize
from rl.policy_head import PolicyHead


@dataclass
class Rollout:
    """A stretch of steps of many dreams, allocated once and filled again for every update.

    Row `t` holds the observation, what was done on seeing it, and what came of that. Where a dream had ended the step
    before, row `t` shows its final observation and its action only starts the next dream (NEXT_STEP autoreset): such a
    row is `skipped`, its value still bootstraps the row before, and no gradient ever sees it.

    Attributes:
        observations: The environment's dtype, (time, dreams, height, width, channels).
        actions: (time, dreams, *spec.shape), as the policy's distribution has them.
        dist_inputs: float32, (time, dreams, ...): the distribution that they were drawn from.
        log_probabilities: float32, (time, dreams), of the actions taken.
        values: float32, (time, dreams).
        rewards: float32, (time, dreams), as the environment paid them.
        terminated: bool, (time, dreams).
        truncated: bool, (time, dreams).
        skipped: bool, (time, dreams).
        final_values: float32, (dreams,), of the observations after the last row.
    """

    observations: Tensor
    actions: Tensor
    dist_inputs: Tensor
    log_probabilities: Tensor
    values: Tensor
    rewards: Tensor
    terminated: Tensor
    truncated: Tensor
    skipped: Tensor
    final_values: Tensor

    @classmethod
    def allocate(cls, length: int, observations: Tensor, policy: PolicyHead) -> Self:
        """Room for `length` steps of `policy` in dreams like those now observed (dreams, height, width, channels)."""
        shape, device = (length, len(observations)), observations.device

        def floats(*sizes: int) -> Tensor:
            return torch.zeros(sizes, device=device)

        def flags() -> Tensor:
            return torch.zeros(shape, dtype=torch.bool, device=device)

        return cls(
            observations=torch.zeros((length, *observations.shape), dtype=observations.dtype, device=device),
            actions=torch.from_numpy(policy.spec.zeros(*shape)).to(device),
            dist_inputs=floats(*shape, policy.dist_inputs),
            log_probabilities=floats(*shape),
            values=floats(*shape),
            rewards=floats(*shape),
            terminated=flags(),
            truncated=flags(),
            skipped=flags(),
            final_values=floats(len(observations)),
        )

    def __len__(self) -> int:
        return len(self.actions)

    def samples(self, *, gamma: float, lambda_: float, reward_scale: float, least_spread: float = 0.0) -> "Samples":
        """The rows to learn from, for an agent that is paid the rewards times `reward_scale`; see `rl.gae`."""
        advantages = generalized_advantages(
            reward_scale * self.rewards,
            self.values,
            self.final_values,
            self.terminated,
            self.truncated,
            gamma=gamma,
            lambda_=lambda_,
        )
        rows = (~self.skipped).flatten().nonzero().squeeze(-1)
        return Samples(
            observations=self.observations.flatten(0, 1),
            rows=rows,
            actions=self.actions.flatten(0, 1)[rows],
            dist_inputs=self.dist_inputs.flatten(0, 1)[rows],
            log_probabilities=self.log_probabilities.flatten()[rows],
            advantages=standardize(advantages.flatten()[rows], least_spread),
            targets=(advantages + self.values).flatten()[rows],
        )


@dataclass(frozen=True)
class Samples:
    """What PPO's loss takes, one row a transition.

    Attributes:
        observations: (time * dreams, height, width, channels): those of the whole rollout, where they lie.
        rows: int64, (samples,): which of the observations belong to the samples.
        actions: (samples, *spec.shape).
        dist_inputs: float32, (samples, ...).
        log_probabilities: float32, (samples,).
        advantages: float32, (samples,), standardised.
        targets: float32, (samples,), of the value.
    """

    observations: Tensor
    rows: Tensor
    actions: Tensor
    dist_inputs: Tensor
    log_probabilities: Tensor
    advantages: Tensor
    targets: Tensor

    def __len__(self) -> int:
        return len(self.rows)

    def minibatches(self, size: int, epochs: int, generator: torch.Generator) -> Iterator[dict[str, Tensor]]:
        """All samples, shuffled, `epochs` times over, in even minibatches of at most `size`, in RLlib's columns.

        Observations are copied here for the first time since they were recorded: RLlib's own minibatches copy them
        twice more, and never shuffle the first epoch.
        """
        for _ in range(epochs):
            shuffled = torch.randperm(len(self), generator=generator, device=self.rows.device)
            for index in shuffled.tensor_split(math.ceil(len(self) / size)):
                yield self.columns(index)

    def columns(self, index: Tensor) -> dict[str, Tensor]:
        """The samples at `index` (int64, (n,)), by the names that RLlib's PPO looks for."""
        return {
            Columns.OBS: self.observations[self.rows[index]],
            Columns.ACTIONS: self.actions[index],
            Columns.ACTION_DIST_INPUTS: self.dist_inputs[index],
            Columns.ACTION_LOGP: self.log_probabilities[index],
            Postprocessing.ADVANTAGES: self.advantages[index],
            Postprocessing.VALUE_TARGETS: self.targets[index],
        }
