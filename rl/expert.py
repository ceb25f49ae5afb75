"""An expert: RLlib's own PPO, trained in the real game within a budget of real steps."""

import math
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import gymnasium as gym
import numpy as np
import torch
from gymnasium.vector import VectorEnv
from gymnasium.wrappers.vector import TransformReward
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.utils.metrics import ENV_RUNNER_RESULTS, EPISODE_RETURN_MEAN, NUM_ENV_STEPS_SAMPLED_LIFETIME

from envs.real import make_real
from rl.evaluator import Evaluator
from rl.module import PixelModuleConfig
from rl.pixel_ppo import PixelPPOConfig
from rl.policies import PolicySnapshot, PolicySpec, load_policy
from rl.progress import Advance, Progress
from rl.resources import usable_cores
from rl.settings import ExpertSettings, Settings
from rl.statistics import Evaluation
from worldmodel.errors import UserError
from worldmodel.spaces import ActionSpec, FrameShape, shape_of


def scaled_game(env_id: str, num_envs: int, *, reward_scale: float, **settings: Any) -> VectorEnv:
    """`envs.make_real`, paid the game's reward times `reward_scale`."""
    return TransformReward(make_real(env_id, num_envs, **settings), lambda rewards: rewards * np.float32(reward_scale))


gym.register("ScaledGame-v0", vector_entry_point="rl.expert:scaled_game")


def train_expert(settings: ExpertSettings, progress: Progress) -> PolicySnapshot:
    """Train PPO on at most `settings.steps` real steps; `real_steps` of what comes back says how many it took."""
    torch.set_num_threads(settings.threads or usable_cores())
    torch.manual_seed(settings.seed)
    algorithm = expert_config(settings).build_algo()
    try:
        with progress.phase("train", settings.steps) as advance:
            steps = _train(algorithm, settings, advance)
        return _snapshot(algorithm, settings, steps)
    finally:
        algorithm.stop()


def expert_config(settings: ExpertSettings) -> PPOConfig:
    """RLlib's PPO in the real game, as its own env runner plays it."""
    game = {
        "env_id": settings.game.id,
        "frame_size": settings.frame_size,
        "stack": settings.stack,
        "reward_scale": settings.reward_scale,
        "lives_end": settings.game.atari.life_loss_ends,
        **settings.game.options,
    }
    return (
        PixelPPOConfig()
        .environment("rl.expert:ScaledGame-v0", env_config=game)
        .env_runners(num_envs_per_env_runner=settings.envs)
        .learners(num_gpus_per_learner=int(torch.cuda.is_available()))
        .training(
            train_batch_size_per_learner=settings.envs * settings.rollout,
            minibatch_size=settings.minibatch,
            num_epochs=settings.epochs,
            lr=settings.learning_rate,
            gamma=settings.gamma,
        )
        .rl_module(model_config=asdict(PixelModuleConfig(stack=settings.stack)))
        .debugging(seed=settings.seed)
    )


def judge_expert(settings: ExpertSettings, expert: PolicySnapshot, progress: Progress) -> Evaluation:
    """Play the expert in real games, to their end."""
    judged = settings.evaluate
    evaluator = Evaluator(settings.game, settings.frame_size, min(judged.episodes, settings.envs), judged.max_steps)
    with progress.phase("evaluate", judged.episodes) as advance:
        result = evaluator.evaluate(judged.episodes, settings.seed, expert, greedy=judged.greedy)
        advance(judged.episodes, real_return=result.mean)
    return result


def expert_steps(settings: Settings, spec: ActionSpec) -> int:
    """Real steps that trained the expert of a run; 0 if it has none.

    Raises:
        UserError: If there is no expert in its folder, or it has other actions or frames than the run.
    """
    collect, shape = settings.collect, settings.world_model.frame_shape
    if not collect.expert or collect.expert_policy is None:
        return 0
    snapshot = load_policy(collect.expert_policy, source="expert")
    _check_fits(snapshot.spec, spec, shape, collect.expert_policy)
    return snapshot.real_steps


def _check_fits(expert: PolicySpec, spec: ActionSpec, shape: FrameShape, folder: Path) -> None:
    if not expert.actions.fits(spec):
        raise UserError(
            f"the expert in {folder} has {expert.actions}, the game has {spec}; give one that was trained in this game."
        )
    if expert.observation == "frames" and expert.observation_shape != shape:
        seen, wanted = (" x ".join(map(str, size[:2])) for size in (expert.observation_shape, shape))
        raise UserError(
            f"the expert in {folder} sees frames of {seen} pixels, the run has {wanted};"
            " train it with --frame-size as model.frame_size."
        )


def _train(algorithm: Algorithm, settings: ExpertSettings, advance: Advance) -> int:
    """Train as long as another rollout surely keeps to the budget. Returns the steps that were taken."""
    steps = 0
    while steps + settings.longest_rollout <= settings.steps:
        results = algorithm.train()[ENV_RUNNER_RESULTS]
        sampled = int(results[NUM_ENV_STEPS_SAMPLED_LIFETIME])
        # Long games may all be still under way.
        paid = results.get(EPISODE_RETURN_MEAN, math.nan)
        advance(sampled - steps, real_return=paid / settings.reward_scale)
        steps = sampled
    return steps


def _snapshot(algorithm: Algorithm, settings: ExpertSettings, steps: int) -> PolicySnapshot:
    module = cast(Any, algorithm.get_module())
    spec = PolicySpec(
        observation="frames",
        observation_shape=shape_of(settings.frame_size),
        stack=settings.stack,
        actions=module.policy.spec,
        model_config=asdict(PixelModuleConfig(stack=settings.stack)),
    )
    weights = {name: np.asarray(value) for name, value in module.get_state().items()}
    return PolicySnapshot(spec, weights, version=1, source="expert", real_steps=steps)
