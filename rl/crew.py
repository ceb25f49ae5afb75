"""The actors of a run, and the plain calls that are made of them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import ray

from rl.buffer import BufferActor, BufferStatus
from rl.collector import CollectorActor, Shares
from rl.evaluator import EvaluatorActor
from rl.learner import LearnerActor
from rl.policies import PolicySnapshot
from rl.resources import Resources
from rl.settings import Settings
from rl.statistics import Evaluation
from worldmodel.spaces import ActionSpec

_PIECE = 500
"""real steps that one call to a collector asks for"""


class Crew:
    """Collectors, buffer, world-model learner and evaluator: started together, ended together."""

    def __init__(self, settings: Settings, spec: ActionSpec, buffer: Path, resources: Resources, threads: int) -> None:
        """Start them; `buffer` is the folder that play is kept in."""
        game, collect, size = settings.game, settings.collect, settings.model.frame_size
        self._settings = settings
        expert = collect.expert_policy if collect.expert else None
        self.buffer: Any = cast("Any", BufferActor).remote(buffer, (size, size, 3), spec, collect.capacity)
        self.collectors: list[Any] = [
            CollectorActor.options(num_cpus=1).remote(game, size, collect.envs, index, settings.seed, expert)
            for index in range(collect.collectors)
        ]
        self.learner: Any = LearnerActor.options(num_cpus=0, num_gpus=resources.learner_gpus).remote(
            settings.model, settings.fit, spec, buffer, settings.seed, threads
        )
        # Actors start in their own time; whoever reads the folder must find it there.
        self.status()
        envs = min(settings.evaluate.episodes, collect.envs)
        self.evaluator: Any = EvaluatorActor.options(num_cpus=0).remote(game, size, envs)

    def status(self) -> BufferStatus:
        """What the buffer holds."""
        return ray.get(self.buffer.status.remote())

    def collect(
        self, asked: int, wanted: int, number: int, shares: Shares, policy: PolicySnapshot | None, world_model: Path
    ) -> Iterator[int]:
        """Play until round `number` has `wanted` steps of which `asked` are there, all collectors at once.

        Yields steps as they come into the buffer.
        """
        snapshot = ray.put(policy)
        playing: dict[Any, Any] = {}
        idle = list(self.collectors)
        while asked < wanted or playing:
            while idle and asked < wanted:
                collector = idle.pop()
                piece = min(_PIECE, wanted - asked)
                playing[collector.collect.remote(piece, number, shares, snapshot, world_model, asked)] = collector
                asked += piece
            (done,), _ = ray.wait(list(playing), num_returns=1)
            idle.append(playing.pop(done))
            # The episodes go from the collector to the buffer without passing through here.
            before = self.status().collected_steps
            yield ray.get(self.buffer.append.remote(done)).collected_steps - before

    def evaluate(self, policy: PolicySnapshot | None, world_model: Path) -> Evaluation:
        """Judge a policy, or random play if it is None, on the run's own games for judging."""
        judged = self._settings.evaluate
        return ray.get(
            self.evaluator.evaluate.remote(judged.episodes, self._settings.seed, policy, world_model, judged.greedy)
        )

    def stop(self) -> None:
        """End all actors."""
        for actor in (*self.collectors, self.buffer, self.learner, self.evaluator):
            ray.kill(actor)
