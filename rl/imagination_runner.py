"""Who plays in the dreams, for RLlib: the rollouts stay on the device, as tensors."""

from typing import Any, Protocol, cast

import gymnasium as gym
import torch
from ray.rllib.env.single_agent_env_runner import SingleAgentEnvRunner
from ray.rllib.utils.metrics import EPISODE_LEN_MEAN, EPISODE_RETURN_MEAN
from torch import Tensor

from rl.dream_report import DreamReport, DreamTally
from rl.module import PixelModule
from rl.rollout import Rollout


class Dreams(Protocol):
    """The tensor face of a vector environment with NEXT_STEP autoreset, such as `envs.NeuralVectorEnv`.

    Attributes:
        num_envs: How many dreams.
        horizon: Steps after which a dream is truncated; infinite: never.
        needs_reset: bool, (dreams,): whose next step ignores its action, pays nothing and starts a new dream.
        world_model: The model that is dreamed in, or whose eyes see the real game.
    """

    num_envs: int
    horizon: float
    needs_reset: Tensor
    world_model: Any

    def reset_tensors(self, seed: int | None = None) -> Tensor:
        """Start every dream; the first observations, (dreams, height, width, channels)."""

    def step_tensors(self, actions: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Observations, rewards, terminated and truncated after `actions` (dreams, ...); fresh tensors."""

    def load_world_model(self, world_model: Any) -> None:
        """Go on with other weights."""

    def set_starts(self, starts: Any) -> None:
        """Begin from other starts."""


class ImaginationEnvRunner(SingleAgentEnvRunner):
    """Plays the policy in a batch of dreams on the dreams' own device, without episode objects.

    `imagine` is the way in; RLlib's own `sample`, through the environment's numpy face, still works.
    """

    env: gym.vector.VectorEnv
    module: PixelModule

    def make_env(self) -> None:
        """Make the dreams; policy and connectors go to their device, where RLlib would keep them on the CPU."""
        super().make_env()
        self._device = torch.device(getattr(self.dreams, "device", self._device))
        self._rollout: Rollout | None = None
        self.generator = torch.Generator(self._device)
        self.begin(self._seed)

    @property
    def dreams(self) -> Dreams:
        """The environment, without RLlib's wrapper."""
        return cast(Dreams, self.env.unwrapped)

    def begin(self, seed: int | None) -> None:
        """Let the next rollout start every dream afresh, and draw every random number from `seed`."""
        self._seed = seed
        self._needs_initial_reset = True
        if seed is None:
            self.generator.seed()
        else:
            self.generator.manual_seed(seed)

    def set_world_model(self, world_model: Any) -> None:
        """Dream on, from new starts, with another model: whatever the environment's `load_world_model` takes."""
        self.dreams.load_world_model(world_model)
        self._needs_initial_reset = True

    def set_starts(self, starts: Any) -> None:
        """Begin dreams from other starts: whatever the environment's `set_starts` takes."""
        self.dreams.set_starts(starts)
        self._needs_initial_reset = True

    @torch.no_grad()
    def imagine(self, length: int) -> tuple[Rollout, DreamReport]:
        """Play every dream `length` steps further; the rollout is overwritten by the next call."""
        if self._needs_initial_reset:
            self._restart()
        if self._rollout is None or len(self._rollout) != length:
            self._rollout = Rollout.allocate(length, self._observations, self.module.policy)
        for t in range(length):
            self._advance(self._rollout, t)
        self._rollout.final_values[:] = self.module.act(self._observations)[1]
        report = self._tally.report(self._rollout)
        self._log(report)
        return self._rollout, report

    def _restart(self) -> None:
        self._observations = self.dreams.reset_tensors(self._seed)
        self._seed = None
        self._tally = DreamTally(self.num_envs, self.dreams.horizon, self._device)
        self._needs_initial_reset = False

    def _advance(self, rollout: Rollout, t: int) -> None:
        policy = self.module.policy
        dist_inputs, values = self.module.act(self._observations)
        actions, log_probabilities = policy.draw(dist_inputs, self.generator)
        rollout.observations[t] = self._observations
        rollout.dist_inputs[t], rollout.values[t] = dist_inputs, values
        rollout.actions[t], rollout.log_probabilities[t] = actions, log_probabilities
        rollout.skipped[t] = self.dreams.needs_reset
        self._observations, rewards, terminated, truncated = self.dreams.step_tensors(policy.executed(actions))
        rollout.rewards[t], rollout.terminated[t], rollout.truncated[t] = rewards, terminated, truncated

    def _log(self, report: DreamReport) -> None:
        self._increase_sampled_metrics(report.steps, report.finished)
        if report.finished:
            self.metrics.log_value(EPISODE_RETURN_MEAN, report.mean_return, reduce="mean")
            self.metrics.log_value(EPISODE_LEN_MEAN, report.mean_length, reduce="mean")
            self.metrics.log_value("dreams_ended_share", report.ended_share, reduce="mean")
