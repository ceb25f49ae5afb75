"""RLlib's share of an imagined step: imagination PPO beside bare torch and stock RLlib, in dreams that cost nothing."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import gymnasium as gym
from ray.rllib.algorithms.ppo import PPO, PPOConfig
from ray.rllib.core.rl_module.rl_module import RLModuleSpec

from experiments import ppo
from experiments.bare_ppo import BarePPO, ModuleAgent
from experiments.fake_dreams import FakeDreams, TinyModule
from experiments.speed.timing import Rate, in_turns
from rl.imagination import ImaginationPPO, ImaginationPPOConfig
from rl.module import PixelModule

MODULES: dict[str, type[PixelModule]] = {"tiny": TinyModule, "default": PixelModule}
"""Agents: one that costs next to nothing, so that what is around it shows, and the one that dreams are played by."""
SHAPES = ((16, 16, 3), (64, 64, 3), (64, 64, 12))
"""observations: small frames, whole frames, and four of those stacked"""
_DREAMS, _ROLLOUT, _MINIBATCH = 256, 16, 1024
_GAME = "experiments.fake_dreams:FakeDreams-v0"


@dataclass(frozen=True)
class Learned:
    """How fast an agent plays and learns, in imagined steps a second: rollout, advantages and one epoch.

    Attributes:
        agent: Which; see `MODULES`.
        shape: (height, width, channels) of an observation.
        rates: By way: "bare torch", "stock RLlib", "ours".
    """

    agent: str
    shape: tuple[int, int, int]
    rates: dict[str, Rate]

    def times(self, way: str) -> float:
        """How many times as long as that way ours takes."""
        return self.rates[way].per_second / self.rates["ours"].per_second


def measure_agents(seconds: float) -> Iterator[Learned]:
    """Every agent on every kind of observation; Ray has to run."""
    for agent in MODULES:
        for shape in SHAPES:
            yield measure_agent(agent, shape, seconds)


def measure_agent(agent: str, shape: tuple[int, int, int], seconds: float) -> Learned:
    """One agent on observations of one shape."""
    ours, stock = _ours(agent, shape), _stock(agent, shape)
    bare = _bare(agent, shape)

    def stock_turn() -> int:
        stock.training_step()
        return _DREAMS * _ROLLOUT

    ways = {"bare torch": bare.imagine, "stock RLlib": stock_turn, "ours": lambda: ours.imagine().steps}
    rates = in_turns(ways, seconds)
    ours.stop()
    stock.stop()
    return Learned(agent, shape, rates)


def _ours(agent: str, shape: tuple[int, int, int]) -> ImaginationPPO:
    config = (
        ImaginationPPOConfig()
        .environment(_GAME, env_config={"shape": shape})
        .imagination(dreams=_DREAMS, rollout=_ROLLOUT)
        .training(num_epochs=1, minibatch_size=_MINIBATCH)
        .rl_module(rl_module_spec=_spec(agent))
    )
    return cast(ImaginationPPO, config.build_algo())


def _stock(agent: str, shape: tuple[int, int, int]) -> PPO:
    config = (
        PPOConfig()
        .environment(_GAME, env_config={"shape": shape})
        .env_runners(
            num_env_runners=0,
            num_envs_per_env_runner=_DREAMS,
            rollout_fragment_length=_ROLLOUT,
            gym_env_vectorize_mode=gym.VectorizeMode.VECTOR_ENTRY_POINT,
        )
        .training(
            train_batch_size_per_learner=_DREAMS * _ROLLOUT,
            minibatch_size=_MINIBATCH,
            num_epochs=1,
            use_kl_loss=False,
            vf_clip_param=float("inf"),
        )
        .rl_module(rl_module_spec=_spec(agent))
    )
    return cast(PPO, config.build_algo())


def _bare(agent: str, shape: tuple[int, int, int]) -> BarePPO:
    dreams = FakeDreams(_DREAMS, shape=shape)
    spec = _spec(agent)
    spec.observation_space, spec.action_space = dreams.single_observation_space, dreams.single_action_space
    module = cast(PixelModule, spec.build())
    return BarePPO(dreams, ModuleAgent(module), ppo.PPOConfig(rollout=_ROLLOUT, minibatch=_MINIBATCH, epochs=1))


def _spec(agent: str) -> RLModuleSpec:
    return RLModuleSpec(module_class=MODULES[agent], model_config={"stack": 1})
