"""Where the agents of a comparison are trained and judged, for one seed."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from rich.console import Console

from experiments import cluster
from experiments.comparison import CompareSettings
from experiments.dyna import train_run
from experiments.progress import ConsoleProgress
from rl.dyna import STARTS
from rl.evaluator import Evaluator
from rl.players import Player
from rl.policies import load_policy
from rl.real_play import Agent
from rl.run_folder import RunFolder
from rl.settings import Settings
from worldmodel.data.reader import BufferReader
from worldmodel.data.starts import StartMix, Starts, draw_starts


@contextmanager
def ray_here(game: str) -> Iterator[None]:
    """Ray, for training in this process."""
    with cluster.ray_cluster(cluster.ONE_PROCESS, game):
        logging.getLogger("ray.rllib").setLevel(logging.ERROR)
        yield


@dataclass(frozen=True)
class Bench:
    """Where the agents of one seed are trained and judged.

    Attributes:
        settings: The run's, with its seed.
        compare: What is compared with it.
        run_path: The run's folder.
        ceiling_path: The folder of the run whose dream is the real game.
        console: Where it is shown.
    """

    settings: Settings
    compare: CompareSettings
    run_path: Path
    ceiling_path: Path
    console: Console

    @cached_property
    def progress(self) -> ConsoleProgress:
        """Where phases are shown."""
        return ConsoleProgress(self.console)

    def finished_run(self, dream: Literal["model", "real"] = "model") -> RunFolder:
        """The run with this dream, trained to its end if it was not before."""
        path = self.ceiling_path if dream == "real" else self.run_path
        settings = replace(self.settings, imagine=replace(self.settings.imagine, dream=dream))
        run = RunFolder(path, settings)
        if run.last_round < settings.rounds:
            train_run(run, self.console)
        return run

    def judge(self, who: Agent | Player | None, finished: bool = True) -> tuple[float, ...]:
        """The returns of an agent, a player or random play, in the games that judge all agents of this seed.

        Args:
            who: Who plays; None: at random.
            finished: Whether it is a finished agent, not one on its way.
        """
        judged = self.settings.evaluate
        games = (finished and self.compare.episodes) or judged.episodes
        with self.progress.phase("judge", games) as advance:
            if isinstance(who, Player):
                result = self._evaluator.watch(who, games, self.settings.seed)
            else:
                policy, eyes = (who.policy, who.eyes) if who else (None, None)
                result = self._evaluator.evaluate(games, self.settings.seed, policy, eyes, judged.greedy)
            advance(games, real_return=result.mean)
        return result.returns

    @cached_property
    def _evaluator(self) -> Evaluator:
        return evaluator_of(self.settings)


def evaluator_of(settings: Settings) -> Evaluator:
    """Who judges the agents of a run with these settings."""
    judged = settings.evaluate
    envs = min(judged.episodes, settings.collect.envs)
    return Evaluator(settings.game, settings.world_model.frame_size, envs, judged.max_steps)


def agent_of(run: RunFolder) -> Agent:
    """The run's last agent."""
    return Agent(load_policy(run.round_folder(run.last_round) / "policy"), world_model_of(run))


def world_model_of(run: RunFolder) -> Path:
    """The folder of the run's last world model."""
    return run.round_folder(run.last_round) / "world_model"


def starts_of(run: RunFolder, mix: StartMix) -> Starts:
    """Moments of the run's real play, for dreams to begin from: as many as in the run itself."""
    settings, rng = run.settings, np.random.default_rng([run.settings.seed, run.last_round])
    reader = BufferReader(run.buffer, lives_end=settings.game.atari.life_loss_ends)
    return draw_starts(reader, STARTS, settings.world_model.context, rng, mix)
