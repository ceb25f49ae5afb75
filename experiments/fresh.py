"""Fresh agents, trained in a finished world model that no longer changes: is the dream good for those it never met?

An agent that grew up with its world model may owe its return to what both learned together. These never touch the real
game, and the model was fitted to none of their play.
"""

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from envs.neural_vector import NeuralVectorEnv
from experiments.bench import agent_of, starts_of, world_model_of
from experiments.ppo import PPO, PixelAgent, PPOConfig
from rl.dream_report import DreamReport
from rl.dyna_config import DynaConfig
from rl.imagination import ImaginationPPO, ImaginationPPOConfig
from rl.learner import hash_seed
from rl.players import Player, View
from rl.progress import Progress
from rl.real_play import Agent
from rl.run_folder import RunFolder
from rl.settings import ImagineSettings, Settings
from worldmodel.data.episode import Source

_SEED = "fresh"


@dataclass(frozen=True)
class Fresh:
    """An agent that learned in a finished world model.

    Attributes:
        agent: The agent.
        steps: Imagined steps that it learned from.
        last: How its last dreams went.
    """

    agent: Agent
    steps: int
    last: DreamReport


def fresh_rllib(run: RunFolder, imagine: ImagineSettings, progress: Progress) -> Fresh:
    """An agent like the run's own, of other weights, trained as `imagine` says in the run's last world model.

    Args:
        run: A finished run.
        imagine: How to learn: as the run's own agent did, or otherwise; its `observation`, `stack` and `normalized` are
            the run's.
        progress: Where it is shown.
    """
    settings, model = replace(run.settings, imagine=imagine), world_model_of(run)
    seed, spec = hash_seed(settings.seed, _SEED), agent_of(run).policy.spec
    torch.manual_seed(seed)
    config: Any = ImaginationPPOConfig().agent(imagine).dream_in(model, imagine)
    config.rl_module(model_config=spec.model_config).debugging(seed=seed).training(lr=DynaConfig(settings).lr)
    algorithm = config.build_algo()
    try:
        algorithm.runner.set_starts(starts_of(run, imagine.starts))
        steps, last = _learn(algorithm, _steps(settings), progress)
        return Fresh(Agent(algorithm.snapshot(spec), model), steps, last)
    finally:
        algorithm.stop()


def _learn(algorithm: ImaginationPPO, total: int, progress: Progress) -> tuple[int, DreamReport]:
    steps, last = 0, DreamReport()
    with progress.phase("fresh RLlib", total) as advance:
        while steps < total:
            report = algorithm.imagine()
            steps, last = steps + report.steps, report if report.finished else last
            advance(report.steps, imagined_return=last.mean_return)
    return steps, last


def fresh_torch(run: RunFolder, progress: Progress) -> tuple[Player, int]:
    """The agent of `experiments/ppo.py`, which sees decoded frames, after as many imagined steps in the same model.

    Returns:
        The agent, and the imagined steps that it learned from.
    """
    imagine, total = run.settings.imagine, _steps(run.settings)
    seed = hash_seed(run.settings.seed, _SEED) % 2**31
    torch.manual_seed(seed)
    dreams = NeuralVectorEnv(
        world_model_of(run), imagine.dreams, stack=imagine.stack, horizon=imagine.horizon,
        doubt_limit=imagine.doubt_limit, starts=starts_of(run, imagine.starts),
    )  # fmt: skip
    agent = PixelAgent(3 * imagine.stack, dreams.action_spec.sizes[0])
    ppo = PPO(dreams, agent, _alike(imagine), seed)
    steps = 0
    with progress.phase("fresh torch", total) as advance:
        while steps < total:
            ppo.train()
            learned = int((~ppo.skipped).sum())
            steps += learned
            advance(learned)
    return Player(TorchPolicy(agent, run.settings.evaluate.greedy), View(imagine.stack)), steps


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


def _steps(settings: Settings) -> int:
    """Imagined steps from which the last agent of a run with these settings learns."""
    imagine = settings.imagine
    return imagine.steps if imagine.afresh else settings.rounds * imagine.steps


def _alike(imagine: ImagineSettings) -> PPOConfig:
    """What the page's PPO calls by the same names as RLlib's is settled by."""
    return PPOConfig(**{field.name: getattr(imagine, field.name) for field in fields(PPOConfig)})
