"""Dyna (Sutton, 1991): collect real play, fit the world model to it, train the agent in the dream, judge, go round."""

import json
import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, Never, cast

import numpy as np
import ray
import torch
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.tune import PlacementGroupFactory

from envs.real import action_spec, make_real
from envs.replay import find_replays
from rl.collector import Shares
from rl.crew import Crew
from rl.dream_report import DreamReport
from rl.dyna_config import DynaConfig
from rl.expert import expert_steps
from rl.figures import buffer_figures, rates
from rl.gathering import Gathering, Order, play_until
from rl.gpu_memory import take_peak_mb
from rl.imagination import ImaginationPPO, dream_face
from rl.learner import Judgement, hash_seed
from rl.module import PixelModule, agent_network
from rl.phases import Phases
from rl.policies import PolicySnapshot, PolicySpec, check_suits, load_policy, save_policy
from rl.progress import Progress
from rl.reporting import trial_results
from rl.resources import Resources, cluster_gpus, usable_cores
from rl.round_report import RoundReport
from rl.run_folder import best_world_model
from rl.settings import Settings
from rl.space import check_space
from rl.statistics import Evaluation
from rl.supervised import Question
from worldmodel.base import WorldModel
from worldmodel.data.episode import Source
from worldmodel.data.outcomes import rare_rewards
from worldmodel.data.reader import BufferReader
from worldmodel.data.sources import Played
from worldmodel.data.starts import draw_starts, frame_ids
from worldmodel.errors import UserError
from worldmodel.files import write_json
from worldmodel.spaces import ActionSpec

STARTS = 1024
"""moments of real play from which a round's dreams begin"""
_FILMS = 4

__all__ = ["Dyna", "DynaConfig"]


class Dyna(ImaginationPPO):
    """Dyna (Sutton, 1991) as an RLlib algorithm: one `train()` is one round, `evaluate()` is the real game.

    Attributes:
        last_report: What the last round brought.
        judges_beside: Whether agents are judged while the model and the agent learn, and not before they go on.
    """

    config: DynaConfig
    last_report: RoundReport
    judges_beside: bool
    _number: int
    _imagined_steps: int
    _evaluation_steps: int

    @classmethod
    def get_default_config(cls) -> DynaConfig:
        """The config that RLlib starts from."""
        return DynaConfig()

    @classmethod
    def default_resource_request(cls, config: Any) -> PlacementGroupFactory:
        """What a trial of Ray Tune must reserve: the actors' share too, or they would wait for ever."""
        given = config if isinstance(config, DynaConfig) else cls.get_default_config().update_from_dict(config)
        return PlacementGroupFactory(
            Resources.of(given.copy(copy_frozen=False).resolved().settings, cluster_gpus()).bundles
        )

    def setup(self, config: AlgorithmConfig) -> None:  # type: ignore[override]
        """Start the actors and build the agent; called by RLlib."""
        given = cast(DynaConfig, config).copy(copy_frozen=False).resolved()
        self.settings = given.settings
        self._phases = Phases()
        cores = usable_cores()
        threads = self.settings.cluster.threads or cores
        torch.set_num_threads(threads)
        resources = Resources.of(self.settings, cluster_gpus())
        resources.check()
        self._spec = _action_spec(self.settings)
        self._expert_steps = expert_steps(self.settings, self._spec)
        self._folder = given.folder or Path(self.logdir)
        # Collectors rest while the model and the agent learn: theirs are the cores that judging takes.
        self.judges_beside = threads < cores or resources.agent_gpus > 0
        with self._phases.phase("start"):
            self._crew = Crew(self.settings, self._spec, self._folder, resources, threads, self._phases)
        check_space(self._folder, self.settings, self._spec, self._crew.status(), self._crew.world_model.folder)
        self._forget()
        with self._phases.phase("start"):
            self.config = self._with_dreams(given, resources)
            super().setup(self.config)

    @property
    def progress(self) -> Progress:
        """Where the phases of a round are shown."""
        return self._phases.progress

    @progress.setter
    def progress(self, progress: Progress) -> None:
        self._phases.progress = progress

    def cleanup(self) -> None:
        """End the actors; called by RLlib's `stop`."""
        super().cleanup()
        self._crew.stop()

    def training_step(self) -> None:
        """One round."""
        number = self._number + 1
        torch.manual_seed(hash_seed(self.settings.seed, number, "agent"))
        self._take_up(number)
        self._collect(number)
        random = self._judge_agent("random play", None) if number == 1 else None
        trained, losses = self._crew.world_model.fit(number, latents_only=self._plays_for_real)
        played = self._hand_over(number)
        # The encoder may have been fitted since.
        self._take_up(number)
        untrained = self._judge_agent("untrained agent", self._policy()) if number == 1 else None
        scalars = _named("loss", losses) | self._imagine(number)
        agent = self._judge_agent("evaluate", self._policy(number))
        judgement = self._judge_model()
        before, after = untrained() if untrained else None, agent()
        by_chance = random() if random else None
        self._number, spent = number, self._phases.take()
        scalars |= rates(spent) | buffer_figures(played, self.settings.collect.capacity) | self._gpu_peaks()
        self.last_report = RoundReport(
            round=number,
            real_steps=self._crew.status().collected_steps,
            evaluation_steps=self._evaluation_steps,
            imagined_steps=self._imagined_steps,
            seconds={phase: what.seconds for phase, what in spent.items()},
            parameters_trained=trained,
            parameters_total=self._crew.world_model.parameters(),
            scalars=scalars | _named("held_out", judgement.losses if judgement else {}),
            after=after,
            before=before,
            random=by_chance,
            fidelity=judgement.fidelity if judgement else None,
            incumbent=judgement.incumbent if judgement else None,
            films=judgement.films if judgement else (),
            expert_steps=self._expert_steps,
            restarts=self._crew.take_deaths(),
        )

    def step(self) -> dict[str, Any]:
        """One round and what came of it: RLlib's results, with ours under "dyna"."""
        results = super().step()
        results["dyna"] = trial_results(self.last_report)
        return results

    def evaluate(self, parallel_train_future: Any = None) -> dict[str, Any]:
        """The agent in the real game, over games that are settled beforehand.

        RLlib's own evaluation counts the first games to finish in a vector of environments, which favours short ones.
        """
        judged = self._judge_agent("evaluate", self._policy(self._number))()
        return {"env_runners": {"episode_return_mean": judged.mean, "num_episodes": len(judged.returns)}}

    @classmethod
    def from_checkpoint(cls, path: Any, *args: Any, **kwargs: Any) -> Never:
        """Refused: RLlib would begin with another world model, and restore no more than the agent in it.

        Raises:
            UserError: Always; it names the way.
        """
        raise UserError(
            f"{path}: build Dyna from its DynaConfig, with the folder of its run, and give restore() what save() wrote:"
            " a checkpoint holds world model and agent, but not the play."
        )

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Everything, for Ray Tune."""
        self.save_round(Path(checkpoint_dir))

    def load_checkpoint(self, checkpoint_dir: str) -> None:  # type: ignore[override]
        """Go on from `save_checkpoint`."""
        self.load_round(Path(checkpoint_dir))

    def save_to_path(self, path: str | Path | None = None) -> str:  # type: ignore[override]
        """Everything, as RLlib's users save it; RLlib itself would write the agent alone.

        Args:
            path: A folder; None: a new one among the temporary files.

        Returns:
            The folder.
        """
        folder = Path(path or tempfile.mkdtemp(prefix="dyna-"))
        self.save_round(folder)
        return str(folder)

    def restore_from_path(self, path: str | Path) -> None:  # type: ignore[override]
        """Go on from `save_to_path`."""
        self.load_round(Path(path))

    def save_round(self, folder: Path) -> None:
        """Write all that the next round needs to `folder`."""
        super().save_to_path(folder / "agent")
        self._crew.world_model.copy(folder / "world_model")
        save_policy(folder / "policy", self._policy(self._number))
        state = {
            "round": self._number,
            "evaluation_steps": self._evaluation_steps,
            "imagined_steps": self._imagined_steps,
        }
        write_json(folder / "state.json", state)

    def load_round(self, folder: Path) -> None:
        """Go on from what `save_round` wrote."""
        state = json.loads((folder / "state.json").read_text())
        self._number, self._imagined_steps = state["round"], state["imagined_steps"]
        self._evaluation_steps = state["evaluation_steps"]
        self._crew.world_model.load(folder / "world_model", self._number)
        self._hand_over(self._number)
        with self._phases.phase("start"):
            super().restore_from_path(folder / "agent")

    def _forget(self) -> None:
        self._number = self._imagined_steps = self._evaluation_steps = 0

    def _with_dreams(self, config: DynaConfig, resources: Resources) -> DynaConfig:
        imagine, world_model = self.settings.imagine, self._crew.world_model.folder
        if self._plays_for_real:
            game = self.settings.game
            real = {"game": game.id, "frame_size": self.settings.world_model.frame_size, **game.options}
            face = dream_face(world_model, imagine, resources.agent_gpus)
            config.environment("envs:RealDreams-v0", env_config=face | real)
            config.learners(num_gpus_per_learner=resources.agent_gpus)
        else:
            config.dream_in(world_model, imagine, resources.agent_gpus, self.settings.rounds)
        return config.rl_module(rl_module_spec=RLModuleSpec(module_class=PixelModule, model_config=self._network))

    def _collect(self, number: int) -> None:
        collect = self.settings.collect
        wanted = collect.first_steps if number == 1 else collect.steps
        gathering = self._crew.gathering(self._order(number))
        with self._phases.phase("collect", max(wanted - gathering.steps, 0)) as advance:
            for steps in gathering.run(wanted):
                advance(steps)
        if number == 1 and collect.rare_rewards:
            self._await_rewards(gathering)

    def _await_rewards(self, gathering: Gathering) -> None:
        """Play on until enough rare rewards are seen; a world model cannot learn what nobody came upon."""
        collect = self.settings.collect
        with self._phases.phase("await rewards", collect.rare_rewards) as advance:
            for seen in play_until(gathering, self._rare_rewards, collect.rare_rewards, collect.most_first_steps):
                advance(seen)

    def _rare_rewards(self) -> int:
        return rare_rewards(BufferReader(self._folder / "buffer").steps.rewards)

    def _order(self, number: int) -> Order:
        collect = self.settings.collect
        if number == 1:
            shares = Shares(random=1 - collect.expert, expert=collect.expert, hold=collect.hold)
        else:
            others = collect.random + collect.expert + collect.exploring
            shares = Shares(
                collect.random, collect.expert, max(1 - others, 0.0), collect.exploring, collect.epsilon, collect.hold
            )
        policy = self._policy(number - 1) if shares.policy + shares.exploring > 1e-9 else None
        return Order(number, shares, ray.put(policy), self._crew.world_model.folder)

    @property
    def _plays_for_real(self) -> bool:
        """Whether the real game stands in for the dream: then only the encoder is fitted that it is seen through."""
        return self.settings.imagine.dream == "real"

    def _hand_over(self, number: int) -> dict[Source, Played]:
        """Give the fitted model, and starts from the newest play, to the dreams; who played what of it."""
        with self._phases.phase("hand over"):
            weights = self._crew.world_model.weights()
            self.runner.set_world_model({name: torch.from_numpy(array.copy()) for name, array in weights.items()})
            reader = BufferReader(self._folder / "buffer", lives_end=self.settings.game.atari.life_loss_ends)
            rng = np.random.default_rng([self.settings.seed, number])
            starts = draw_starts(reader, STARTS, self.settings.world_model.context, rng, self.settings.imagine.starts)
            if self._plays_for_real:
                self.runner.set_starts(find_replays(reader, starts))
            else:
                latents = self._crew.world_model.encoded(frame_ids(reader, starts))
                self.runner.set_starts(replace(starts, latents=latents))
            return reader.by_source()

    def _take_up(self, number: int) -> None:
        """Let the first round's agent go on from the saved policy that the settings name, if they name one."""
        folder = self.settings.imagine.policy
        if number == 1 and folder:
            policy = load_policy(folder)
            check_suits(policy, self._policy(), folder)
            self.begin_anew(policy.weights)

    def _imagine(self, number: int) -> dict[str, float]:
        imagine = self.settings.imagine
        if imagine.afresh and number > 1:
            torch.manual_seed(hash_seed(self.settings.seed, number, "afresh"))
            self.begin_anew(self._policy().spec.build().get_state())
        self.runner.begin(hash_seed(self.settings.seed, number, "imagine"))
        seen, total = DreamReport(), DreamReport()
        with self._phases.phase("imagine", imagine.steps) as advance:
            while total.steps < imagine.steps:
                report = self.imagine()
                total = total + report
                seen = report if report.finished else seen
                advance(report.steps, imagined_return=seen.mean_return, ended=seen.ended_share)
        self._imagined_steps += total.steps
        return {
            "imagined/return": total.mean_return,
            "imagined/length": total.mean_length,
            "imagined/ended_share": total.ended_share,
            "imagined/doubted_share": total.doubted_share,
            "imagined/last_length": seen.mean_length,
            **{f"agent/{name}": value for name, value in self.take_figures().items()},
        }

    def _gpu_peaks(self) -> dict[str, float]:
        """The most memory (MB) that learner and agent took of their GPUs in this round; nothing where there is none."""
        peaks = {"learner": self._crew.world_model.take_gpu_peak(), "agent": take_peak_mb(self.runner.generator.device)}
        return {f"gpu_mb/{part}": peak for part, peak in peaks.items() if peak is not None}

    def _judge_agent(self, phase: str, policy: PolicySnapshot | None) -> Callable[[], Evaluation]:
        """Begin to judge an agent; where a core is free, beside what comes next, until the verdict is asked for."""
        question = self._crew.judge(policy)
        verdict = cache(lambda: self._verdict(phase, question))
        if not self.judges_beside:
            verdict()
        return verdict

    def _verdict(self, phase: str, question: Question) -> Evaluation:
        judge = self.settings.evaluate
        with self._phases.phase(phase, judge.episodes) as advance:
            judged: Evaluation = question.answer(judge.timeout)
            advance(judge.episodes, real_return=judged.mean)
        self._evaluation_steps += judged.steps
        return judged

    def _judge_model(self) -> Judgement | None:
        if self._plays_for_real:
            return None
        best = best_world_model(self._folder)
        with self._phases.phase("judge dream", 1) as advance:
            judgement = self._crew.world_model.judge(_FILMS, best if best.exists() else None)
            advance(1)
        return judgement

    @property
    def _network(self) -> dict[str, Any]:
        return agent_network(self.settings.imagine)

    def _policy(self, version: int = 0) -> PolicySnapshot:
        imagine = self.settings.imagine
        model = cast(WorldModel, self.runner.dreams.world_model)
        latents = imagine.observation == "latents"
        spec = PolicySpec(
            observation=imagine.observation,
            observation_shape=model.observation_shape(imagine.observation),
            stack=imagine.stack,
            actions=self._spec,
            model_config=self._network,
            encoder_hash=model.encoder_hash() if latents else None,
        )
        return replace(self.snapshot(spec), version=version, world_model_version=version)


def _action_spec(settings: Settings) -> ActionSpec:
    env = make_real(settings.game.id, 1, frame_size=settings.world_model.frame_size, **settings.game.options)
    try:
        return action_spec(env)
    finally:
        env.close()


def _named(group: str, figures: dict[str, float]) -> dict[str, float]:
    return {f"{group}/{name}": value for name, value in figures.items()}
