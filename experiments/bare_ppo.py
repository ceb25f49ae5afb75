"""PPO in plain torch, in one place: what a training loop costs without a framework."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from envs.tensors import TensorVectorEnv
from rl.gae import generalized_advantages, standardize
from rl.module import PixelModule


@dataclass(frozen=True)
class BareConfig:
    """PPO's settings (Schulman et al., 2017)."""

    rollout: int
    minibatch: int
    epochs: int = 1
    learning_rate: float = 5e-4
    gamma: float = 0.99
    gae_lambda: float = 0.95
    clip: float = 0.2
    entropy: float = 0.01
    value_coeff: float = 0.5
    max_grad_norm: float = 0.5


class BarePPO:
    """A rollout of many dreams, then a pass over it, as CleanRL does it; reset rows are learned from like any."""

    def __init__(self, dreams: TensorVectorEnv, module: PixelModule, config: BareConfig) -> None:
        """Allocate the rollout and begin the dreams."""
        self.dreams, self.module, self.config = dreams, module, config
        self.optimizer = torch.optim.Adam(module.parameters(), lr=config.learning_rate)
        self._last = dreams.reset_tensors()
        shape = (config.rollout, dreams.num_envs)
        self.observations = torch.zeros((*shape, *self._last.shape[1:]), dtype=self._last.dtype)
        self.actions = torch.zeros(shape, dtype=torch.int64)
        self.log_probabilities, self.values, self.rewards = torch.zeros((3, *shape))
        self.terminated, self.truncated = torch.zeros((2, *shape), dtype=torch.bool)

    def imagine(self) -> int:
        """One rollout and the update on it; returns the steps taken."""
        advantages = self._play()
        flat = [x.flatten(0, 1) for x in (self.observations, self.actions, self.log_probabilities)]
        flat += [standardize(advantages).flatten(), (advantages + self.values).flatten()]
        for _ in range(self.config.epochs):
            for index in torch.randperm(len(flat[1])).split(self.config.minibatch):
                self._update(*(column[index] for column in flat))
        return len(flat[1])

    @torch.no_grad()
    def _play(self) -> Tensor:
        for t in range(self.config.rollout):
            logits, self.values[t] = self.module.act(self._last)
            log_probabilities = logits.log_softmax(-1)
            self.observations[t] = self._last
            self.actions[t] = torch.multinomial(log_probabilities.exp(), 1).squeeze(-1)
            self.log_probabilities[t] = log_probabilities.gather(-1, self.actions[t, :, None]).squeeze(-1)
            self._last, self.rewards[t], self.terminated[t], self.truncated[t] = self.dreams.step_tensors(
                self.actions[t]
            )
        final_values = self.module.act(self._last)[1]
        signals = (self.rewards, self.values, final_values, self.terminated, self.truncated)
        return generalized_advantages(*signals, gamma=self.config.gamma, lambda_=self.config.gae_lambda)

    def _update(self, observations: Tensor, actions: Tensor, old: Tensor, advantages: Tensor, targets: Tensor) -> None:
        embeddings = self.module.embed(observations)
        log_probabilities = self.module.policy(embeddings).log_softmax(-1)
        ratio = (log_probabilities.gather(-1, actions[:, None]).squeeze(-1) - old).exp()
        clipped = ratio.clamp(1 - self.config.clip, 1 + self.config.clip)
        gain = torch.minimum(ratio * advantages, clipped * advantages).mean()
        error = (self.module.value(embeddings).squeeze(-1) - targets).square().mean()
        entropy = -(log_probabilities.exp() * log_probabilities).sum(-1).mean()
        self.optimizer.zero_grad(set_to_none=True)
        (self.config.value_coeff * error - gain - self.config.entropy * entropy).backward()
        nn.utils.clip_grad_norm_(self.module.parameters(), self.config.max_grad_norm)
        self.optimizer.step()
