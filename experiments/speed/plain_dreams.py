"""Imagination as one writes it down at first: what the fast way is measured beside, and has to agree with."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from envs.pool import StartPool
from rl.module import PixelModule
from worldmodel.base import Dream, Step, WorldModel
from worldmodel.spaces import Observation


class Row(NamedTuple):
    """A step of all dreams; the names are those of `rl.rollout.Rollout`."""

    observations: Tensor
    actions: Tensor
    log_probabilities: Tensor
    values: Tensor
    rewards: Tensor
    terminated: Tensor
    truncated: Tensor
    skipped: Tensor


@dataclass(frozen=True)
class Setting:
    """Who dreams what.

    Attributes:
        model: The world model.
        module: The agent.
        pool: Where dreams begin.
        dreams: How many dream at a time.
        horizon: Steps after which a dream is truncated.
        observation: What the agent sees.
    """

    model: WorldModel
    module: PixelModule
    pool: StartPool
    dreams: int
    horizon: int
    observation: Observation


class PlainDreams:
    """One network after another, in float32, nothing compiled, rows gathered in a list.

    From the same seed it dreams what `rl.imagination_runner.ImaginationEnvRunner` does in `envs.NeuralVectorEnv`.
    Finished dreams are found by waiting for the device, and begun anew where they are.
    """

    def __init__(self, setting: Setting, seed: int, step: Callable[..., tuple[Dream, Step]] | None = None) -> None:
        """Begin to dream; `step` in the place of the model's own."""
        self._setting, self._step_model = setting, step or setting.model.step
        device = setting.pool.stacks.device
        self._acting = torch.Generator(device).manual_seed(seed)
        self._dreaming = torch.Generator(device).manual_seed(seed)
        begun = setting.pool.draw(setting.dreams, self._dreaming)
        self._dreams, self._seen = begun.dreams, begun.stacks
        self._ended = torch.zeros(setting.dreams, dtype=torch.bool, device=device)
        self._age = torch.zeros(setting.dreams, dtype=torch.int64, device=device)

    @torch.no_grad()
    def imagine(self, length: int) -> Row:
        """Every dream, `length` steps further; (time, dreams, ...)."""
        return Row(*map(torch.stack, zip(*(self._row() for _ in range(length)), strict=True)))

    def _row(self) -> Row:
        setting, seen, skipped = self._setting, self._seen, self._ended
        inputs, values = setting.module.act(seen)
        actions, log_probabilities = setting.module.policy.draw(inputs, self._acting)
        fresh = setting.pool.draw(setting.dreams, self._dreaming)
        dreams, told = self._step_model(self._dreams, setting.module.policy.executed(actions), self._dreaming)
        picture = setting.model.observe(dreams, setting.observation)
        stacks = torch.cat([seen[..., picture.shape[-1] :], picture], dim=-1)
        rewards, terminated, doubted = told.rewards, told.terminated, told.doubt > setting.model.doubt_limit
        self._age += 1
        if skipped.any():
            dreams, stacks[skipped] = dreams.where(skipped, fresh.dreams), fresh.stacks[skipped]
            rewards[skipped], terminated[skipped], doubted[skipped], self._age[skipped] = 0.0, False, False, 0
        truncated = (doubted | (self._age >= setting.horizon)) & ~terminated & ~skipped
        self._dreams, self._seen, self._ended = dreams, stacks, terminated | truncated
        return Row(seen, actions, log_probabilities, values, rewards, terminated, truncated, skipped)
