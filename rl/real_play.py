"""Learning from the real game alone, within a budget of real steps: the PPO of imagination, without a dream."""

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.core import COMPONENT_LEARNER, COMPONENT_RL_MODULE, DEFAULT_MODULE_ID

from rl.imagination import ImaginationPPO, ImaginationPPOConfig
from rl.module import agent_network
from rl.policies import PolicySnapshot, PolicySpec
from rl.progress import Advance, Progress
from rl.resources import usable_cores
from rl.settings import RealPlaySettings, Settings


@dataclass(frozen=True, eq=False)
class Agent:
    """A policy, and the folder of the world model through whose encoder it sees; None if it sees frames."""

    policy: PolicySnapshot
    eyes: Path | None


@dataclass(frozen=True, eq=False)
class Milestone:
    """An agent on its way.

    Attributes:
        agent: The agent as it is then.
        steps: Real steps that it has learned from.
        seconds: Wall time that playing and learning took.
    """

    agent: Agent
    steps: int
    seconds: float


def learn_for_real(
    settings: Settings,
    play: RealPlaySettings,
    goals: Sequence[int],
    progress: Progress,
    begin: Agent | None = None,
) -> Iterator[Milestone]:
    """Train an agent in the real game.

    Args:
        settings: The game, the frames, and what `play` does not say of how the agent learns.
        play: How it plays and learns.
        goals: Real steps, increasing: an agent is handed out when it has taken so many; the last is the budget. It is
            kept to within a minibatch of play, which may come on top.
        progress: Where it is shown.
        begin: The agent to go on from, which sees what `settings.imagine` says; None: a fresh one that sees frames.
    """
    torch.set_num_threads(settings.cluster.threads or usable_cores())
    torch.manual_seed(settings.seed)
    algorithm = cast(RealPlayPPO, _config(settings, play, begin).build_algo())
    algorithm.budget, eyes = goals[-1], begin.eyes if begin else None
    try:
        if begin:
            algorithm.take_up(begin.policy)
        spec = begin.policy.spec if begin else _fresh_spec(settings, algorithm)
        seconds = 0.0
        for goal in goals:
            began = time.monotonic()
            with progress.phase("real play", goal - algorithm.steps) as advance:
                algorithm.learn_until(goal, advance)
            seconds += time.monotonic() - began
            agent = Agent(algorithm.snapshot(spec, algorithm.steps), eyes)
            yield Milestone(agent, algorithm.steps, seconds)
    finally:
        algorithm.stop()


class RealPlayPPO(ImaginationPPO):
    """PPO in the real game.

    Attributes:
        steps: Real steps that it has learned from.
        budget: Real steps that it may take in all.
    """

    steps: int
    budget: int

    def setup(self, config: AlgorithmConfig) -> None:  # type: ignore[override]
        """Open the games; called by RLlib."""
        super().setup(config)
        self.steps = self.budget = 0

    def take_up(self, policy: PolicySnapshot) -> None:
        """Go on from the weights of `policy`; the optimiser begins anew."""
        weights = {COMPONENT_RL_MODULE: {DEFAULT_MODULE_ID: dict(policy.weights)}}
        self.learner_group.set_state({COMPONENT_LEARNER: weights})
        self.env_runner_group.sync_weights(
            from_worker_or_learner_group=self.learner_group, policies=[DEFAULT_MODULE_ID]
        )

    def learn_until(self, goal: int, advance: Advance) -> None:
        """Play and learn until `goal` real steps are taken; each rollout is whole, so it may be more of them."""
        while self.steps < goal:
            before = self.steps
            self.train()
            advance(self.steps - before)

    def training_step(self) -> None:
        """One rollout and the update on it; called by RLlib's `train`."""
        self.steps += self.imagine(self._length()).steps

    def _length(self) -> int:
        """Steps of every game in the next rollout: what is left, but a minibatch at least: less is noise."""
        config = self.config
        left = max(self.budget - self.steps, config.minibatch_size or 1)
        return min(config.get_rollout_fragment_length(), math.ceil(left / config.num_envs_per_env_runner))


def _config(settings: Settings, play: RealPlaySettings, begin: Agent | None) -> ImaginationPPOConfig:
    seen = begin.policy.spec if begin else None
    game = {
        "game": settings.game.id,
        "world_model": str(begin.eyes) if begin and begin.policy.spec.observation == "latents" else None,
        "observation": seen.observation if seen else "frames",
        "stack": seen.stack if seen else settings.imagine.stack,
        "frame_size": settings.world_model.frame_size,
        "sign_rewards": settings.signs_alone,
        "device": "cuda" if torch.cuda.is_available() else "cpu",
        **settings.game.options,
    }
    config: Any = ImaginationPPOConfig(algo_class=RealPlayPPO).agent(play.over(settings.imagine))
    return (
        config.environment("envs:RealGames-v0", env_config=game)
        .learners(num_gpus_per_learner=int(torch.cuda.is_available()))
        .rl_module(model_config=seen.model_config if seen else agent_network(settings.imagine))
        .debugging(seed=settings.seed)
    )


def _fresh_spec(settings: Settings, algorithm: RealPlayPPO) -> PolicySpec:
    return PolicySpec(
        observation="frames",
        observation_shape=settings.world_model.frame_shape,
        stack=settings.imagine.stack,
        actions=algorithm.runner.module.policy.spec,
        model_config=agent_network(settings.imagine),
    )
