"""The actors of a run, and the plain calls that are made of them."""

from pathlib import Path
from typing import Any, cast

import ray

from rl.buffer import BufferActor, BufferStatus
from rl.collector import CollectorActor
from rl.evaluator import EvaluatorActor
from rl.fitted_model import FittedModel, untrained_model
from rl.gathering import Gathering, Order
from rl.learner import LearnerActor
from rl.phases import Phases
from rl.policies import PolicySnapshot
from rl.resources import Resources
from rl.settings import Settings
from rl.supervised import Question, Supervised, wait_until_started
from worldmodel.spaces import ActionSpec


class Crew:
    """Collectors, buffer, world-model learner and evaluator: started together, ended together.

    Attributes:
        buffer: The one that writes.
        collectors: Those who play.
        world_model: The model that is fitted, with its learner.
        evaluator: The judge of agents.
    """

    def __init__(
        self, settings: Settings, spec: ActionSpec, folder: Path, resources: Resources, threads: int, phases: Phases
    ) -> None:
        """Start them, and wait until they are there.

        Args:
            settings: The run's.
            spec: The game's actions.
            folder: The run's folder, for the play and for the model as it is being fitted; all nodes must see it.
            resources: What the actors may take.
            threads: Torch threads of the learner, of the evaluator and of all collectors, of whom one works at a time.
            phases: Where deaths are told.

        Raises:
            UserError: If the cluster has no room for them.
        """
        self._settings, self._spec, self._resources, self._threads = settings, spec, resources, threads
        self._play = folder / "buffer"
        self._phases = phases
        self.buffer = Supervised("the buffer", self._start_buffer, phases.say)
        self.collectors = [self._collector(index) for index in range(settings.collect.collectors)]
        self.evaluator = Supervised("the evaluator", self._start_evaluator, phases.say)
        # Whoever reads the play must find its folder.
        wait_until_started([self.buffer], settings.cluster.patience, phases.say)
        untrained = untrained_model(settings.world_model, spec, settings.seed)
        self.world_model = FittedModel(untrained, self._start_learner, folder / "fitted", phases, settings.fit)
        wait_until_started(self.all, settings.cluster.patience, phases.say)
        for collector in self.collectors:
            collector.prepare()

    @property
    def all(self) -> list[Supervised]:
        """Every actor."""
        return [*self.collectors, self.buffer, self.world_model.learner, self.evaluator]

    def status(self) -> BufferStatus:
        """What the buffer holds."""
        status: BufferStatus = self.buffer.ask(lambda actor: actor.status.remote())
        return status

    def gathering(self, order: Order) -> Gathering:
        """A round's collecting, not yet begun."""
        return Gathering(self.collectors, self.buffer, self._play, order, self._settings.collect.timeout)

    def judge(self, policy: PolicySnapshot | None) -> Question:
        """Begin to judge a policy, or random play if it is None, on the run's own games for judging.

        Returns:
            The question whose answer is an `Evaluation`.
        """
        judged, seed, eyes = self._settings.evaluate, self._settings.seed, self.world_model.folder
        # As it is now: by the time a new evaluator is asked, the agent may have learned on.
        player = ray.put(policy)
        return Question(
            self.evaluator, lambda actor: actor.evaluate.remote(judged.episodes, seed, player, eyes, judged.greedy)
        )

    def take_deaths(self) -> dict[str, int]:
        """How often each actor died since this was asked last; those that lived are left out."""
        deaths = {member.name: member.deaths for member in self.all if member.deaths}
        for member in self.all:
            member.deaths = 0
        return deaths

    def stop(self) -> None:
        """End all actors, and remove what only they needed."""
        for member in self.all:
            ray.kill(member.actor)
        self.world_model.remove()

    def _start_buffer(self) -> Any:
        actor = cast("Any", BufferActor)
        shape, capacity = self._settings.world_model.frame_shape, self._settings.collect.capacity
        return actor.remote(self._play, shape, self._spec, capacity)

    def _start_evaluator(self) -> Any:
        envs = min(self._settings.evaluate.episodes, self._settings.collect.envs)
        size, longest = self._settings.world_model.frame_size, self._settings.evaluate.max_steps
        return EvaluatorActor.remote(self._settings.game, size, envs, longest, self._threads)

    def _start_learner(self) -> Any:
        settings, gpus = self._settings, self._resources.learner_gpus
        return LearnerActor.options(num_gpus=gpus).remote(
            settings.world_model, settings.fit, self._spec, self._play, settings.seed, self._threads,
            lives_end=settings.game.atari.life_loss_ends, on_gpu=gpus > 0,
        )  # fmt: skip

    def _collector(self, index: int) -> Supervised:
        game, collect, seed = self._settings.game, self._settings.collect, self._settings.seed
        size, name = self._settings.world_model.frame_size, f"collector {index}"
        expert = collect.expert_policy if collect.expert else None
        threads = max(self._threads // collect.collectors, 1)

        def start() -> Any:
            return CollectorActor.remote(game, size, collect.envs, index, seed, expert, threads)

        def take_up(actor: Any) -> None:
            if lost := ray.get(actor.take_up.remote(self._play)):
                self._phases.say(f"{name}: {lost} of its games could not be played again and begin anew")

        return Supervised(name, start, self._phases.say, take_up)
