"""The whole of Dyna, small enough to go round in seconds."""

from dataclasses import replace
from pathlib import Path

from counting import SPECS

from rl.module import agent_network
from rl.policies import PolicySnapshot, PolicySpec, save_policy
from rl.settings import (
    ClusterSettings,
    CollectSettings,
    EvaluateSettings,
    GameSettings,
    ImagineSettings,
    Settings,
)
from worldmodel.fitting import FitConfig
from worldmodel.head_config import HeadConfig
from worldmodel.latent.config import AdapterConfig, AutoencoderConfig, DenoiserConfig, LatentConfig, SamplerConfig
from worldmodel.spaces import Observation

MINIATURE = Settings(
    rounds=2,
    game=GameSettings("counting:Counting-v0"),
    collect=CollectSettings(envs=2, first_steps=180, steps=120),
    model=LatentConfig(
        frame_size=32,
        context=2,
        autoencoder=AutoencoderConfig(channels=(8, 8, 8), latent_channels=4),
        denoiser=DenoiserConfig(channels=(32, 64)),
        adapter=AdapterConfig(rank=2, alpha=2),
        sampler=SamplerConfig(steps=1),
        head=HeadConfig(members=1, hidden=8),
    ),
    fit=FitConfig(
        autoencoder_steps=3,
        first_steps=3,
        steps=3,
        head_steps=1,
        head_dreams=8,
        more_fits=0,
        batch_size=4,
        unroll=1,
        dream=2,
    ),
    imagine=ImagineSettings(stack=2, dreams=4, horizon=5, steps=64, rollout=8, minibatch=16, epochs=2),
    evaluate=EvaluateSettings(episodes=3),
    cluster=ClusterSettings(threads=1),
)
"""Two rounds of the counting game, on one collector."""


def begun_from(
    folder: Path, observation: Observation, shape: tuple[int, int, int], encoder_hash: str | None = None
) -> tuple[ImagineSettings, PolicySnapshot]:
    """Settings of imagination that name a saved policy, and the policy."""
    imagine = replace(MINIATURE.imagine, observation=observation, policy=folder, learning_rate=1e-12)
    spec = PolicySpec(observation, shape, imagine.stack, SPECS["discrete"], agent_network(imagine), encoder_hash)
    policy = PolicySnapshot(spec, spec.build().get_state())
    save_policy(folder, policy)
    return imagine, policy
