"""Everything that pre-training a base can be told, with the help that a person reads."""

from dataclasses import dataclass, field

from rl.settings import ClusterSettings
from worldmodel.bounds import Count, Share
from worldmodel.fitting import FitConfig, PretrainStage
from worldmodel.latent.config import LatentConfig

KEPT_OUT = (
    "CartPole-v0", "CartPole-v1", "LunarLander-v2", "LunarLander-v3", "LunarLanderContinuous-v2",
    "LunarLanderContinuous-v3", "ALE/Pong-v5", "ALE/Boxing-v5", "ALE/Breakout-v5", "ALE/Freeway-v5",
)  # fmt: skip
"""Games that results are claimed on: a base that had seen them would make their real steps uncounted."""


@dataclass(frozen=True)
class PlaySettings:
    """The play that a base learns from."""

    games: tuple[str, ...] = (
        "ALE/Alien-v5", "ALE/Asterix-v5", "ALE/Bowling-v5", "ALE/Enduro-v5", "ALE/Frostbite-v5", "ALE/Hero-v5",
        "ALE/IceHockey-v5", "ALE/MsPacman-v5", "ALE/Qbert-v5", "ALE/RoadRunner-v5", "ALE/Seaquest-v5",
        "ALE/Skiing-v5", "ALE/SpaceInvaders-v5", "ALE/Tennis-v5", "Acrobot-v1", "MountainCar-v0",
        "MountainCarContinuous-v0", "Pendulum-v1",
    )  # fmt: skip
    """the games that it learns"""
    strange: tuple[str, ...] = ("ALE/Gopher-v5", "ALE/KungFuMaster-v5")
    """games that it never learns: they tell how its autoencoder does on pictures that it does not know"""
    steps: int = 4000
    """real steps of each game"""
    expert: Share = 0.5
    """share of scripted experts' play, in the games that have one"""
    envs: int = 8
    """games of one kind that are played at a time"""
    max_steps: int = 1000
    """end a game (truncated) after this many steps, or at its own limit if that comes first"""


@dataclass(frozen=True)
class BudgetSettings:
    """How long a stage lasts: so many updates or so many minutes, whichever comes first."""

    steps: int = 100_000
    """updates, at most"""
    minutes: float | None = None
    """minutes, at most; None: no limit"""


@dataclass(frozen=True)
class PretrainSettings:
    """Pre-training a base: play many games, then fit one latent world model to all of them."""

    seed: Count = 0
    """seeds every random choice"""
    play: PlaySettings = field(default_factory=PlaySettings)
    model: LatentConfig = field(default_factory=LatentConfig)
    fit: FitConfig = field(default_factory=lambda: FitConfig(ema_decay=0.998))
    autoencoder: BudgetSettings = BudgetSettings(minutes=10.0)
    dynamics: BudgetSettings = BudgetSettings(minutes=19.0)
    checkpoint_minutes: float = 5.0
    """minutes between checkpoints, from which the same command goes on; a quarter of a stage that has no minutes"""
    games_per_update: int = 4
    """games that one update learns from; each has an equal part of fit.batch_size"""
    workers: int = 1
    """workers of Ray Train, each with a CPU, and a GPU where the cluster has so many; they average their gradients"""
    cluster: ClusterSettings = field(default_factory=ClusterSettings)

    def budget(self, stage: PretrainStage) -> BudgetSettings:
        """How long a stage lasts."""
        return self.autoencoder if stage == "autoencoder" else self.dynamics
