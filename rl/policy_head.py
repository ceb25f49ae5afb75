"""The last layer of a policy, for every kind of action: RLlib's distributions, and draws that stay on the device."""

import math
from abc import ABC, abstractmethod
from typing import Any, cast

import torch
from ray.rllib.core.distribution.torch.torch_distribution import (
    TorchCategorical,
    TorchDiagGaussian,
    TorchMultiCategorical,
)
from torch import Tensor, nn
from torch.nn import functional

from worldmodel.spaces import ActionSpec

_NEVER = -1e9
"""logit of an alternative that there is not"""


class PolicyHead(nn.Linear, ABC):
    """From features to what an action distribution is made of, and from there to actions.

    Attributes:
        spec: The game's actions.
        distribution: RLlib's distribution, for its loss.
        dist_inputs: How many numbers `distribution.from_logits` takes.
    """

    distribution: Any

    def __init__(self, features: int, spec: ActionSpec, outputs: int) -> None:
        super().__init__(features, outputs)
        self.spec = spec
        self.dist_inputs = outputs
        nn.init.orthogonal_(self.weight, gain=0.01)
        nn.init.zeros_(self.bias)

    @abstractmethod
    def draw(self, inputs: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Sample actions and their log probabilities, as RLlib's distribution has them.

        Args:
            inputs: What the head said, (batch, dist_inputs).
            generator: Where the randomness comes from.

        Returns:
            Actions (batch, *spec.shape), of the spec's type, and float32 (batch,). Nothing waits for the device.
        """

    @abstractmethod
    def mode(self, inputs: Tensor) -> Tensor:
        """The likeliest actions."""

    def executed(self, actions: Tensor) -> Tensor:
        """What a game, real or dreamed, is given for the distribution's actions."""
        return actions


class CategoricalHead(PolicyHead):
    """One choice."""

    distribution = TorchCategorical

    def __init__(self, features: int, spec: ActionSpec) -> None:
        super().__init__(features, spec, spec.sizes[0])

    def draw(self, inputs: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """See `PolicyHead.draw`."""
        return _gumbel_max(inputs.log_softmax(-1), generator)

    def mode(self, inputs: Tensor) -> Tensor:
        """See `PolicyHead.mode`."""
        return inputs.argmax(-1)


class MultiCategoricalHead(PolicyHead):
    """Several choices at once, independent of each other given the observation; switches are choices of two.

    All components are drawn together, each padded to the largest.
    """

    column: Tensor

    def __init__(self, features: int, spec: ActionSpec) -> None:
        total, largest = sum(spec.sizes), max(spec.sizes)
        super().__init__(features, spec, total)
        self.distribution = cast(Any, TorchMultiCategorical).get_partial_dist_cls(input_lens=list(spec.sizes))
        sizes = torch.tensor(spec.sizes)[:, None]
        alternative = torch.arange(largest)
        column = torch.where(alternative < sizes, sizes.cumsum(0) - sizes + alternative, total)
        self.register_buffer("column", column, persistent=False)

    def draw(self, inputs: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """See `PolicyHead.draw`."""
        actions, log_probabilities = _gumbel_max(self._components(inputs).log_softmax(-1), generator)
        return actions, log_probabilities.sum(-1)

    def mode(self, inputs: Tensor) -> Tensor:
        """See `PolicyHead.mode`."""
        return self._components(inputs).argmax(-1)

    def _components(self, inputs: Tensor) -> Tensor:
        """Logits by component, (batch, components, alternatives)."""
        return functional.pad(inputs, (0, 1), value=_NEVER)[:, self.column]


class GaussianHead(PolicyHead):
    """Numbers, normally distributed, with one learned deviation for each whatever the observation.

    The agent's numbers are in units in which every bound is -1 or 1, as with RLlib's `normalize_actions`; samples go
    past them, and are clipped only where a game executes them.
    """

    distribution = TorchDiagGaussian
    low: Tensor
    high: Tensor

    def __init__(self, features: int, spec: ActionSpec) -> None:
        super().__init__(features, spec, len(spec))
        self.dist_inputs = 2 * len(spec)
        self.log_std = nn.Parameter(torch.zeros(len(spec)))
        self.register_buffer("low", torch.tensor(spec.low), persistent=False)
        self.register_buffer("high", torch.tensor(spec.high), persistent=False)

    def forward(self, features: Tensor) -> Tensor:
        """Means and logarithms of the deviations, (batch, 2 * components)."""
        mean = super().forward(features)
        return torch.cat([mean, self.log_std.expand_as(mean)], dim=-1)

    def draw(self, inputs: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """See `PolicyHead.draw`."""
        mean, log_std = inputs.chunk(2, dim=-1)
        noise = torch.empty_like(mean).normal_(generator=generator)
        log_probabilities = -(noise.square() / 2 + log_std + math.log(2 * math.pi) / 2)
        return mean + log_std.exp() * noise, log_probabilities.sum(-1)

    def mode(self, inputs: Tensor) -> Tensor:
        """See `PolicyHead.mode`."""
        return inputs.chunk(2, dim=-1)[0]

    def executed(self, actions: Tensor) -> Tensor:
        """The numbers in the game's own units, clipped to its bounds."""
        scaled = self.low + (actions + 1) * (self.high - self.low) / 2
        return scaled.clamp(self.low, self.high)


def policy_head(features: int, spec: ActionSpec) -> PolicyHead:
    """The head for these actions."""
    kinds: dict[str, type[CategoricalHead | MultiCategoricalHead | GaussianHead]] = {
        "discrete": CategoricalHead,
        "multi_discrete": MultiCategoricalHead,
        "multi_binary": MultiCategoricalHead,
        "box": GaussianHead,
    }
    return kinds[spec.kind](features, spec)


def _gumbel_max(log_probabilities: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """A choice for each row (..., alternatives), and its log probability, by the Gumbel-max trick: no host sync."""
    noise = torch.empty_like(log_probabilities).exponential_(generator=generator).log_()
    choices = (log_probabilities - noise).argmax(-1)
    return choices, log_probabilities.gather(-1, choices[..., None]).squeeze(-1)
