"""RLlib's PPO, trained on dreams that stay on the device, as tensors, from the rollout to the loss."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self, cast

import numpy as np
import torch
from ray.rllib.algorithms.ppo import PPO
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.learner.learner import Learner
from ray.rllib.core.learner.learner_group import LearnerGroup
from ray.rllib.env.env_runner_group import EnvRunnerGroup
from ray.rllib.policy.sample_batch import MultiAgentBatch, SampleBatch
from ray.rllib.utils.metrics import (
    ENV_RUNNER_RESULTS,
    ENV_RUNNER_SAMPLING_TIMER,
    LEARNER_RESULTS,
    LEARNER_UPDATE_TIMER,
    NUM_ENV_STEPS_SAMPLED_LIFETIME,
    SYNCH_WORKER_WEIGHTS_TIMER,
    TIMERS,
)
from ray.rllib.utils.metrics.metrics_logger import MetricsLogger

from rl.agent_learner import AgentLearner
from rl.dream_report import DreamReport
from rl.imagination_runner import ImaginationEnvRunner
from rl.pixel_ppo import PixelPPOConfig
from rl.policies import PolicySnapshot, PolicySpec
from rl.rollout import Rollout
from rl.settings import ImagineSettings


class ImaginationPPO(PPO):
    """PPO (Schulman et al., 2017) whose every gradient comes from imagined transitions.

    RLlib's stock learner, loss and checkpoints.
    """

    config: "ImaginationPPOConfig"  # type: ignore[assignment]
    _begun_at: int = 0
    """imagined steps before those of this agent"""
    env_runner_group: EnvRunnerGroup
    learner_group: LearnerGroup
    metrics: MetricsLogger

    @classmethod
    def get_default_config(cls) -> "ImaginationPPOConfig":
        """The config that RLlib starts from."""
        return ImaginationPPOConfig()

    @property
    def runner(self) -> ImaginationEnvRunner:
        """Who plays in the dreams."""
        return cast(ImaginationEnvRunner, self.env_runner_group.local_env_runner)

    def training_step(self) -> None:
        """One rollout and the update on it; called by RLlib's `train`."""
        self.imagine()

    def imagine(self, length: int | None = None) -> DreamReport:
        """Play one rollout in every dream, learn from it, and report how the dreams went.

        Args:
            length: Steps of every dream; None: as the config has it.
        """
        with self.metrics.log_time((TIMERS, ENV_RUNNER_SAMPLING_TIMER)):
            rollout, report = self.runner.imagine(length or self.config.get_rollout_fragment_length())
            self.metrics.aggregate([self.runner.get_metrics()], key=ENV_RUNNER_RESULTS)
        with self.metrics.log_time((TIMERS, LEARNER_UPDATE_TIMER)):
            self._learn(rollout)
        with self.metrics.log_time((TIMERS, SYNCH_WORKER_WEIGHTS_TIMER)):
            self.env_runner_group.sync_weights(
                from_worker_or_learner_group=self.learner_group, policies=[DEFAULT_MODULE_ID]
            )
        return report

    def take_figures(self) -> dict[str, float]:
        """What PPO's updates said since this was asked last: the mean of each of `AGENT_FIGURES`, if there were any."""

        def take(learner: Learner, _: object = None) -> dict[str, float]:
            return learner.take_figures() if isinstance(learner, AgentLearner) else {}

        told = [result.get() for result in self.learner_group.foreach_learner(take)]
        return {name: float(np.mean([figures[name] for figures in told])) for name in told[0]}

    def begin_anew(self, weights: Mapping[str, Any]) -> None:
        """Go on as an agent with these weights (as a module's `get_state` has them) that has learned nothing yet.

        Its learning-rate schedule begins anew. A checkpoint does not know when an agent was begun.
        """

        def forget(learner: Learner, _: object = None) -> None:
            learner.module[DEFAULT_MODULE_ID].set_state(dict(weights))
            for _, optimizer in learner.get_optimizers_for_module(DEFAULT_MODULE_ID):
                optimizer.state.clear()

        for result in self.learner_group.foreach_learner(forget):
            result.get()
        self._begun_at = self._steps()
        # A runner takes weights from learners only once they have made an update since the last time.
        self.runner.module.set_state(dict(weights))

    def restore_from_path(self, path: str | Path, *args: Any, **kwargs: Any) -> None:
        """Go on from `save_to_path`, at once: RLlib's runner keeps weights that are newer than those it is given."""

        def weights(learner: Learner, _: object = None) -> Any:
            return learner.module[DEFAULT_MODULE_ID].get_state()

        super().restore_from_path(path, *args, **kwargs)
        result, *_ = self.learner_group.foreach_learner(weights)
        self.runner.module.set_state(result.get())

    def snapshot(self, spec: PolicySpec, real_steps: int = 0) -> PolicySnapshot:
        """The policy as it is now.

        Args:
            spec: What its network is built of.
            real_steps: Real steps that it has learned from.
        """
        state = self.runner.module.get_state(inference_only=False)
        weights = {name: np.asarray(value).copy() for name, value in state.items()}
        return PolicySnapshot(spec, weights, version=1, real_steps=real_steps)

    def _learn(self, rollout: Rollout) -> None:
        config = self.config
        samples = rollout.samples(
            gamma=config.gamma,
            lambda_=config.lambda_,
            reward_scale=config.reward_scale,
            least_spread=config.least_spread,
        )
        # A rollout may be so short that every dream only began anew in it.
        if not len(samples):
            return
        size = config.minibatch_size or len(samples)
        total = config.num_epochs * -(-len(samples) // size)
        steps = self._steps() - self._begun_at
        minibatches = samples.minibatches(size, config.num_epochs, self.runner.generator)
        for done, columns in enumerate(minibatches, start=1):
            batch = SampleBatch(columns)
            results = self.learner_group.update(
                batch=MultiAgentBatch({DEFAULT_MODULE_ID: batch}, env_steps=len(batch)),
                timesteps={NUM_ENV_STEPS_SAMPLED_LIFETIME: steps},
                _no_metrics_reduce=done < total,
            )
        self.metrics.aggregate(results, key=LEARNER_RESULTS)

    def _steps(self) -> int:
        return int(self.metrics.peek((ENV_RUNNER_RESULTS, NUM_ENV_STEPS_SAMPLED_LIFETIME), default=0))


class ImaginationPPOConfig(PixelPPOConfig):
    """Reads like any RLlib config; `num_envs_per_env_runner` is the number of dreams.

    Another module than the `PixelModule` must have its `act` and its `policy`.
    """

    def __init__(self, algo_class: type[PPO] | None = None) -> None:
        """PPO for pixels, played in dreams."""
        super().__init__(algo_class=algo_class or ImaginationPPO)
        self.reward_scale = 1.0
        self.least_spread = 0.0
        self.env_runners(env_runner_cls=ImaginationEnvRunner)
        self.imagination(dreams=64, rollout=16)

    def get_default_learner_class(self) -> type[Learner]:
        """An `AgentLearner`, unless the config names another."""
        return AgentLearner

    def imagination(
        self,
        *,
        dreams: int | None = None,
        rollout: int | None = None,
        reward_scale: float | None = None,
        least_spread: float | None = None,
    ) -> Self:
        """Set how the agent dreams; what is None stays as it is.

        Args:
            dreams: Dreams at a time.
            rollout: Steps of every dream between updates.
            reward_scale: The agent is paid the game's reward times this.
            least_spread: Advantages are divided by their standard deviation, or by this if that is less.
        """
        self.num_envs_per_env_runner = dreams or self.num_envs_per_env_runner
        self.rollout_fragment_length = rollout or self.rollout_fragment_length
        self.reward_scale = self.reward_scale if reward_scale is None else reward_scale
        self.least_spread = self.least_spread if least_spread is None else least_spread
        return self

    def agent(self, settings: ImagineSettings) -> Self:
        """Take everything at once that says how an agent learns."""
        return self.imagination(
            dreams=settings.dreams,
            rollout=settings.rollout,
            reward_scale=settings.reward_scale,
            least_spread=settings.least_spread,
        ).training(
            lr=settings.learning_rate,
            gamma=settings.gamma,
            lambda_=settings.gae_lambda,
            num_epochs=settings.epochs,
            minibatch_size=settings.minibatch,
            clip_param=settings.clip,
            vf_loss_coeff=settings.value_coeff,
            entropy_coeff=settings.entropy,
            grad_clip=settings.max_grad_norm,
        )

    def dream_in(
        self, world_model: Path, settings: ImagineSettings, gpus: float | None = None, rounds: int = 1
    ) -> Self:
        """Dream in a world model.

        Args:
            world_model: The model's folder.
            settings: How to dream.
            rounds: How many times as many steps as `settings` say are to come.
            gpus: Share of a GPU for agent and dreams; None: a whole one if there is any.
        """
        gpus = float(torch.cuda.is_available()) if gpus is None else gpus
        self.learners(num_gpus_per_learner=gpus)
        only = {
            "shuffled": settings.dream == "shuffled",
            "doubt_limit": settings.doubt_limit,
            "steps_ahead": rounds * settings.steps // settings.dreams,
        }
        return self.environment("envs:NeuralEnv-v0", env_config=dream_face(world_model, settings, gpus) | only)

    def validate(self) -> None:
        """Check the config as a whole; called by RLlib before anything is built."""
        if self.in_evaluation:
            super().validate()
            return
        if self.rollout_fragment_length != "auto":
            rollout = self.num_envs_per_env_runner * self.rollout_fragment_length
            self.train_batch_size_per_learner = rollout // (self.num_learners or 1)
        super().validate()
        if self.num_env_runners > 0:
            self._value_error("Imagination runs beside the learner: leave `num_env_runners` at 0 and raise the dreams.")
        if self.use_kl_loss:
            self._value_error(
                "A minibatch is an update here, too often to adapt the KL coefficient: unset `use_kl_loss`."
            )


def dream_face(world_model: Path, settings: ImagineSettings, gpus: float) -> dict[str, Any]:
    """What dreams are told, imagined or real, so that agents find the same in both; `gpus` is the share of a GPU."""
    return {
        "world_model": str(world_model),
        "observation": settings.observation,
        "stack": settings.stack,
        "horizon": settings.horizon,
        "device": "cuda" if gpus and torch.cuda.is_available() else "cpu",
    }
