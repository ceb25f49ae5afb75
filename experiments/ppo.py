"""PPO in plain torch, on one page: an agent that learns in a dream and nowhere else.

    python experiments/ppo.py runs/cartpole-seed0/world_model/best

It plays through Gymnasium's vector interface alone, so any `gymnasium.vector.VectorEnv` with pixels, Discrete actions
and NEXT_STEP autoreset will do. PPO is that of Schulman et al. (2017), its advantages those of Schulman et al. (2016).
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import gymnasium as gym
import numpy as np
import torch
import tyro
from gymnasium.spaces import Box, Discrete
from gymnasium.vector import AutoresetMode, VectorEnv
from torch import Tensor, nn

from experiments.cli import run_main
from worldmodel.errors import UserError

PROGRAM = "python experiments/ppo.py"


@dataclass(frozen=True)
class PPOConfig:
    """PPO's settings."""

    rollout: int = 16
    """steps of every dream between updates"""
    minibatch: int = 256
    """samples a minibatch"""
    epochs: int = 4
    """passes over a rollout"""
    learning_rate: float = 5e-4
    """Adam"""
    gamma: float = 0.99
    """discount"""
    gae_lambda: float = 0.95
    """generalised advantage estimation"""
    clip: float = 0.2
    """a sample counts no further once the policy is this much likelier to act so, or less likely"""
    entropy: float = 0.01
    """entropy bonus"""
    value_coeff: float = 0.5
    """weight of the value loss"""
    max_grad_norm: float = 0.5
    """gradients are clipped to this norm"""
    reward_scale: float = 0.1
    """the agent is paid the game's reward times this"""


class PixelAgent(nn.Module):
    """A small convolutional network for pictures of any size."""

    def __init__(self, channels: int, actions: int) -> None:
        super().__init__()
        self.look = nn.Sequential(
            nn.Conv2d(channels, 16, 7, stride=4, padding=3), nn.ReLU(), nn.Conv2d(16, 32, 3, stride=2, padding=1),
            nn.ReLU(), nn.AdaptiveMaxPool2d(8), nn.Flatten(), nn.Linear(32 * 8 * 8, 256), nn.ReLU(),
        )  # fmt: skip
        self.policy, self.value = nn.Linear(256, actions), nn.Linear(256, 1)

    def forward(self, observations: Tensor) -> tuple[Tensor, Tensor]:
        """Logits, (batch, actions), and values, (batch,), of uint8 observations, (batch, height, width, channels)."""
        seen = self.look(observations.permute(0, 3, 1, 2).float() / 255)
        return self.policy(seen), self.value(seen).squeeze(-1)


class PPO:
    """Plays many games at a time, `rollout` steps each, and learns from them; then again.

    Row t of a rollout holds what was seen, what was done on seeing it, and what came of that. Where a game ended the
    step before, row t still shows the end, and its action does nothing but begin the next game (NEXT_STEP autoreset).
    Such a row is `skipped`: nobody learns from it. Its value, though, is what a truncated game was still worth.
    """

    def __init__(self, envs: VectorEnv, agent: nn.Module, config: PPOConfig, seed: int = 0) -> None:
        """Begin the games and make room for a rollout.

        Args:
            envs: The games.
            agent: From observations, (batch, height, width, channels), to logits, (batch, actions), and values.
            config: How to learn.
            seed: Seeds the games, the actions and the order of the samples.

        Raises:
            UserError: If the games are not of the kind that this page is about.
        """
        check(envs)
        self.envs, self.agent, self.config = envs, agent, config
        self.optimizer = torch.optim.Adam(agent.parameters(), lr=config.learning_rate, fused=True)
        self.generator = torch.Generator().manual_seed(seed)
        self.newest = self.reset(seed)
        self.ended = torch.zeros(envs.num_envs, dtype=torch.bool)
        shape = (config.rollout, envs.num_envs)
        self.observations = torch.zeros((*shape, *self.newest.shape[1:]), dtype=self.newest.dtype)
        self.actions = torch.zeros(shape, dtype=torch.int64)
        self.log_probabilities, self.values, self.rewards = torch.zeros((3, *shape))
        self.terminated, self.truncated, self.skipped = torch.zeros((3, *shape), dtype=torch.bool)

    def train(self) -> float:
        """Play one rollout and learn from it. Returns the mean reward of a step, as the games paid it."""
        final_values = self.play()
        rows, advantages, targets = self.samples(final_values)
        for index in self.minibatches(rows):
            self.update(index, advantages, targets)
        return self.rewards.sum().item() / len(rows)

    @torch.no_grad()
    def play(self) -> Tensor:
        """Fill the rollout; the values of what is seen after it, (games,)."""
        for t in range(self.config.rollout):
            self.observations[t], self.skipped[t] = self.newest, self.ended
            logits, self.values[t] = self.agent(self.newest)
            self.actions[t] = torch.multinomial(logits.softmax(-1), 1, generator=self.generator).squeeze(-1)
            self.log_probabilities[t] = log_probability(logits, self.actions[t])
            self.newest, self.rewards[t], self.terminated[t], self.truncated[t] = self.step(self.actions[t])
            self.ended = self.terminated[t] | self.truncated[t]
        return self.agent(self.newest)[1]

    def samples(self, final_values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Which rows of the flat rollout to learn from; the advantages and the value targets of all rows."""
        advantages = self.advantages(final_values)
        rows = (~self.skipped).flatten().nonzero().squeeze(-1)
        targets = (advantages + self.values).flatten()
        counted = advantages.flatten()[rows]
        return rows, (advantages.flatten() - counted.mean()) / (counted.std(correction=0) + 1e-8), targets

    def advantages(self, final_values: Tensor) -> Tensor:
        """How much better each action was than expected, (time, games).

        An end is worth nothing further; a truncated game is worth what it was at its last observation. Nothing flows
        back across either.
        """
        gamma, rewards = self.config.gamma, self.config.reward_scale * self.rewards
        next_values = torch.cat([self.values[1:], final_values[None]]) * ~self.terminated
        errors = rewards + gamma * next_values - self.values
        carried = gamma * self.config.gae_lambda * ~(self.terminated | self.truncated)
        advantages, later = torch.zeros_like(errors), torch.zeros_like(final_values)
        for t in reversed(range(len(errors))):
            advantages[t] = later = errors[t] + carried[t] * later
        return advantages

    def minibatches(self, rows: Tensor) -> Iterator[Tensor]:
        """All rows, shuffled anew for every epoch, a minibatch at a time."""
        for _ in range(self.config.epochs):
            yield from rows[torch.randperm(len(rows), generator=self.generator)].split(self.config.minibatch)

    def update(self, index: Tensor, advantages: Tensor, targets: Tensor) -> None:
        """One gradient step on the rows at `index` of the flat rollout."""
        self.optimizer.zero_grad(set_to_none=True)
        self.loss(index, advantages, targets).backward()
        nn.utils.clip_grad_norm_(self.agent.parameters(), self.config.max_grad_norm)
        self.optimizer.step()

    def loss(self, index: Tensor, advantages: Tensor, targets: Tensor) -> Tensor:
        """PPO's clipped surrogate, the values' squared error and the entropy bonus."""
        logits, values = self.agent(self.observations.flatten(0, 1)[index])
        old, actions = self.log_probabilities.flatten()[index], self.actions.flatten()[index]
        ratio = (log_probability(logits, actions) - old).exp()
        clipped = ratio.clamp(1 - self.config.clip, 1 + self.config.clip)
        gain = torch.minimum(ratio * advantages[index], clipped * advantages[index]).mean()
        error = (values - targets[index]).square().mean()
        entropy = -(logits.softmax(-1) * logits.log_softmax(-1)).sum(-1).mean()
        return self.config.value_coeff * error - gain - self.config.entropy * entropy

    def reset(self, seed: int) -> Tensor:
        """Begin all games; the first observations."""
        return torch.from_numpy(self.envs.reset(seed=seed)[0])

    def step(self, actions: Tensor) -> tuple[Tensor, ...]:
        """Observations, rewards, terminated and truncated after `actions`."""
        return tuple(torch.from_numpy(np.asarray(told)) for told in self.envs.step(actions.numpy())[:4])


def log_probability(logits: Tensor, actions: Tensor) -> Tensor:
    """Of each action, (batch,), by its logits, (batch, actions)."""
    return logits.log_softmax(-1).gather(-1, actions[:, None]).squeeze(-1)


def check(envs: VectorEnv) -> None:
    """Refuse games that the rollout above would misread.

    Raises:
        UserError: Naming what they would have to be.
    """
    if envs.metadata.get("autoreset_mode") is not AutoresetMode.NEXT_STEP:
        raise UserError("the games begin anew in the step in which they end: give a vector environment of NEXT_STEP.")
    if not isinstance(envs.single_action_space, Discrete):
        raise UserError(
            f"this page is about Discrete actions, not {envs.single_action_space}: use experiments/dyna.py."
        )


@dataclass(frozen=True)
class Options:
    """Train a small agent in the dreams of a world model, in plain torch."""

    world_model: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="FOLDER")]
    """a world model's folder, such as runs/cartpole-seed0/world_model/best"""
    steps: int = 50_000
    """imagined steps"""
    dreams: int = 64
    """dreams at a time"""
    horizon: int = 48
    """steps after which a dream is truncated"""
    seed: int = 0
    """seeds every random choice"""
    ppo: PPOConfig = field(default_factory=PPOConfig)


def main(arguments: Sequence[str]) -> int:
    """Train as the command line says, telling how it goes. Returns the exit status."""
    options = tyro.cli(Options, args=arguments, prog=PROGRAM)
    torch.manual_seed(options.seed)
    envs = gym.make_vec(
        "envs:NeuralEnv-v0", options.dreams, "vector_entry_point",
        world_model=options.world_model, horizon=options.horizon,
    )  # fmt: skip
    check(envs)
    seen, actions = envs.single_observation_space, envs.single_action_space
    assert isinstance(seen, Box) and isinstance(actions, Discrete)
    ppo = PPO(envs, PixelAgent(seen.shape[-1], int(actions.n)), options.ppo, options.seed)
    batch = options.dreams * options.ppo.rollout
    for steps in range(batch, options.steps + batch, batch):
        print(f"{steps:>9,} imagined steps: mean reward {ppo.train():.3f}")
    return 0


if __name__ == "__main__":
    sys.exit(run_main(main, sys.argv[1:]))
