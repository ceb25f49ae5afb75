"""Fresh agents, trained in a finished world model that no longer changes: is the dream good for those it never met?

An agent that grew up with its world model may owe its return to what both learned together. These never touch the real
game, and the model was fitted to none of their play.
"""

from dataclasses import fields
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from ray.rllib.utils.metrics import ENV_RUNNER_RESULTS, NUM_ENV_STEPS_SAMPLED_LIFETIME

from envs.neural_vector import NeuralVectorEnv
from experiments.bench import agent_of, last_report, starts_of, world_model_of
from experiments.ppo import PPO, PixelAgent, PPOConfig
from rl.dyna_config import DynaConfig
from rl.imagination import ImaginationPPOConfig
from rl.learner import hash_seed
from rl.players import Player, View
from rl.progress import Progress
from rl.real_play import Agent
from rl.run_folder import RunFolder
from rl.settings import ImagineSettings
from worldmodel.data.episode import Source

_SEED = "fresh"


def fresh_rllib(run: RunFolder, progress: Progress) -> Agent:
    """An agent like the run's own, of other weights, after as many imagined steps in its last world model."""
    imagine, total = run.settings.imagine, _steps(run)
    seed, spec = hash_seed(run.settings.seed, _SEED), agent_of(run).policy.spec
    torch.manual_seed(seed)
    config: Any = ImaginationPPOConfig().agent(imagine).dream_in(world_model_of(run), imagine)
    config.rl_module(model_config=spec.model_config).debugging(seed=seed).training(lr=DynaConfig(run.settings).lr)
    algorithm = config.build_algo()
    try:
        algorithm.runner.set_starts(starts_of(run))
        steps = 0
        with progress.phase("fresh RLlib", total) as advance:
            while steps < total:
                before, steps = steps, algorithm.train()[ENV_RUNNER_RESULTS][NUM_ENV_STEPS_SAMPLED_LIFETIME]
                advance(steps - before)
        return Agent(algorithm.snapshot(spec), world_model_of(run))
    finally:
        algorithm.stop()


def fresh_torch(run: RunFolder, progress: Progress) -> Player:
    """The agent of `experiments/ppo.py`, which sees decoded frames, after as many imagined steps in the same model."""
    imagine, total = run.settings.imagine, _steps(run)
    seed = hash_seed(run.settings.seed, _SEED) % 2**31
    torch.manual_seed(seed)
    dreams = NeuralVectorEnv(
        world_model_of(run), imagine.dreams, stack=imagine.stack, horizon=imagine.horizon,
        doubt_limit=imagine.doubt_limit, starts=starts_of(run),
    )  # fmt: skip
    agent = PixelAgent(3 * imagine.stack, dreams.action_spec.sizes[0])
    ppo = PPO(dreams, agent, _alike(imagine), seed)
    with progress.phase("fresh torch", total) as advance:
        for _ in range(0, total, imagine.dreams * imagine.rollout):
            ppo.train()
            advance(imagine.dreams * imagine.rollout)
    return Player(TorchPolicy(agent, run.settings.evaluate.greedy), View(imagine.stack))


class TorchPolicy:
    """Plays by the network of `experiments/ppo.py`."""

    version = 1
    world_model_version = 1
    source: Source = "policy"

    def __init__(self, agent: PixelAgent, greedy: bool) -> None:
        self._agent, self._greedy = agent, greedy

    @torch.inference_mode()
    def act(self, observations: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
        """See `rl.policies.Policy.act`."""
        logits = self._agent(torch.from_numpy(observations))[0].numpy()
        if self._greedy:
            return logits.argmax(-1)
        return (logits + rng.gumbel(size=logits.shape)).argmax(-1)


def _steps(run: RunFolder) -> int:
    """Imagined steps from which the run's own agent has learned."""
    imagine = run.settings.imagine
    return imagine.steps if imagine.afresh else last_report(run).imagined_steps


def _alike(imagine: ImagineSettings) -> PPOConfig:
    """What the page's PPO calls by the same names as RLlib's is settled by."""
    return PPOConfig(**{field.name: getattr(imagine, field.name) for field in fields(PPOConfig)})
