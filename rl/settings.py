"""Everything a run can be told, with the help that a person reads."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from envs.atari_config import AtariConfig
from worldmodel.bounds import Count, NotNegative, Share
from worldmodel.data.starts import StartMix
from worldmodel.families import Family, ModelConfig
from worldmodel.fitting import FitConfig
from worldmodel.latent.config import LatentConfig
from worldmodel.pixel.config import PixelConfig
from worldmodel.spaces import FrameSize, Observation


@dataclass(frozen=True)
class GameSettings:
    """The real game."""

    id: Annotated[str, tyro.conf.arg(aliases=("--env",))] = "CartPole-v1"
    """the Gymnasium id: `CartPole-v1`, `ALE/Pong-v5`, or `my_game:MyGame-v0` for a game in my_game.py in this folder"""
    max_steps: int | None = None
    """end a game (truncated) after this many steps, or at its own limit if that comes first"""
    patience: float | None = 60.0
    """seconds that one call of the game may take before it counts as hanging; None: for ever"""
    kwargs: dict[str, Any] = field(default_factory=dict)
    """keyword arguments of the environment, as in `gravity=-5.0 enable_wind=true`; values in JSON"""
    atari: AtariConfig = field(default_factory=AtariConfig)

    @property
    def options(self) -> dict[str, Any]:
        """What `envs.make_real` is told of the game beside its id."""
        return {"max_steps": self.max_steps, "patience": self.patience, "kwargs": self.kwargs, "atari": self.atari}


@dataclass(frozen=True)
class CollectSettings:
    """Gathering real play."""

    collectors: int = 1
    """collector actors"""
    envs: int = 8
    """games that one collector plays at a time"""
    first_steps: int = 4000
    """real steps in the first round, all collectors together"""
    rare_rewards: Count = 0
    """the first round plays on until so many of its steps brought a reward of another sign than most"""
    most_first_steps: int = 40_000
    """real steps at which it no longer waits for them"""
    steps: int = 2000
    """real steps in each later round"""
    random: Share = 0.25
    """share of random play in later rounds; the first round is random and expert play alone"""
    hold: int = 1
    """steps for which random play holds an action at most, most often few; more where much has to be done in a row"""
    expert: Share = 0.0
    """share of expert play, in every round"""
    exploring: Share = 0.0
    """share of later rounds that the agent plays with random actions mixed in, so that its games end in more ways"""
    epsilon: Share = 0.3
    """how often it acts at random there"""
    expert_policy: Path | None = None
    """folder that `experiments/expert.py` wrote; needed if the expert's share is not 0"""
    capacity: int = 200_000
    """real steps that the buffer keeps; the oldest chunks go first"""
    timeout: float = 900.0
    """seconds within which a collector must bring its next 500 steps, or it is ended and started again"""

    @property
    def longest_first(self) -> int:
        """Real steps that the first round may take."""
        return self.most_first_steps if self.rare_rewards else self.first_steps


@dataclass(frozen=True)
class ImagineSettings:
    """Training the agent in the dream: RLlib's PPO."""

    dream: Literal["model", "real", "shuffled"] = "model"
    """model: the world model; real: the real game instead (the ceiling); shuffled: actions swapped (the floor)"""
    observation: Observation = "latents"
    """what the agent sees: decoded frames, or the encoder's latents"""
    stack: int = 4
    """newest observations that the agent sees at once"""
    normalized: bool = False
    """normalise every layer of the agent's network: where little of the picture matters it learns in fewer steps"""
    dreams: int = 64
    """dreams at a time"""
    horizon: int = 48
    """steps after which a dream is truncated"""
    steps: int = 49_152
    """imagined steps a round"""
    afresh: bool = False
    """let a new agent learn in every round, in the newest world model alone: one that goes on keeps habits of what
    older models got wrong (primacy bias: Nikishin et al., 2022); a round must have steps enough to learn the game"""
    policy: Annotated[Path | None, tyro.conf.arg(metavar="FOLDER")] = None
    """the first agent goes on from the policy in this folder, as runs/NAME/rounds/002/policy; None: it is new"""
    starts: StartMix = field(default_factory=StartMix)
    rollout: int = 16
    """steps between updates, of every dream"""
    minibatch: int = 256
    """samples a minibatch"""
    epochs: int = 4
    """passes over a rollout"""
    learning_rate: float = 5e-4
    """Adam, at first"""
    learning_rate_end: NotNegative | None = None
    """what the learning rate has fallen to, evenly, by the end of the last round, or of each if its agent is new;
    None: it stays"""
    gamma: Share = 0.99
    """discount"""
    gae_lambda: Share = 0.95
    """generalised advantage estimation (Schulman et al., 2016)"""
    clip: float = 0.2
    """PPO's clip"""
    entropy: NotNegative = 0.01
    """entropy bonus"""
    value_coeff: NotNegative = 0.5
    """weight of the value loss"""
    max_grad_norm: float = 0.5
    """gradients are clipped to this norm"""
    reward_scale: float = 0.1
    """the agent is paid the game's reward times this"""
    least_spread: NotNegative = 0.0
    """advantages are divided by their standard deviation, or by this if that is less: where rewards are rare, most
    rollouts bring none, and only the value's own errors would be blown up"""
    doubt_limit: NotNegative | None = None
    """truncate a dream whose doubt exceeds this; None: what 97% of 64-step stretches of real play stay below, measured
    after every fit"""


@dataclass(frozen=True)
class RealPlaySettings:
    """Training an agent in the real game, with no model: the PPO of `imagine`, but for what stands here."""

    envs: int = 8
    """games at a time"""
    rollout: int = 64
    """steps of every game between updates"""
    minibatch: int = 128
    """samples a minibatch"""
    epochs: int = 4
    """passes over a rollout"""
    learning_rate: float = 5e-4
    """Adam"""

    def over(self, imagine: ImagineSettings) -> ImagineSettings:
        """How to learn: what stands here, and `imagine` for the rest."""
        return replace(
            imagine,
            dreams=self.envs,
            rollout=self.rollout,
            minibatch=self.minibatch,
            epochs=self.epochs,
            learning_rate=self.learning_rate,
        )


@dataclass(frozen=True)
class EvaluateSettings:
    """Judging the agent in the real game."""

    episodes: int = 30
    """real games, played to their end"""
    greedy: bool = True
    """play the likeliest action, not a sampled one"""
    max_steps: int = 10_000
    """cut a judged game off after this many steps, where neither the game nor `game.max_steps` has a limit"""
    timeout: float = 7200.0
    """seconds within which the games of one judgement must be over"""


@dataclass(frozen=True)
class ClusterSettings:
    """Where it runs."""

    address: str | None = None
    """join the Ray cluster at this address; None: start one on this machine"""
    num_cpus: int | None = None
    """logical CPUs of the cluster started here; None: as many as the machine has"""
    threads: int | None = None
    """torch threads for fitting, for imagination and for judging; collectors share as many; None: one a CPU core. With
    fewer than cores, agents are judged beside the fit and the dream, and nothing else changes"""
    object_store_mb: int = 300
    """memory for Ray's object store, MB, of the cluster started here"""
    learner_gpus: NotNegative | None = None
    """GPUs for the world model's learner; None: half of one if the cluster has any"""
    agent_gpus: NotNegative | None = None
    """GPUs for the agent and its dream; None: half of one if the cluster has any"""
    patience: float = 300.0
    """seconds to wait for room in a cluster that others use too"""
    dashboard: bool = False
    """show Ray's dashboard, to this machine alone, of the cluster started here"""


@dataclass(frozen=True)
class Settings:
    """Dyna: collect, fit, imagine, judge, and round again."""

    seed: Count = 0
    """seeds every random choice"""
    rounds: int = 2
    """rounds of collect, fit, imagine and evaluate"""
    family: Family = "latent"
    """the world model: diffusion of latents, set up by model, or of pixels as in DIAMOND, set up by pixel"""
    game: GameSettings = field(default_factory=GameSettings)
    collect: CollectSettings = field(default_factory=CollectSettings)
    model: LatentConfig = field(default_factory=LatentConfig)
    pixel: PixelConfig = field(default_factory=PixelConfig)
    fit: FitConfig = field(default_factory=FitConfig)
    imagine: ImagineSettings = field(default_factory=ImagineSettings)
    evaluate: EvaluateSettings = field(default_factory=EvaluateSettings)
    cluster: ClusterSettings = field(default_factory=ClusterSettings)

    @property
    def world_model(self) -> ModelConfig:
        """What defines the world model of the chosen family."""
        return self.pixel if self.family == "pixel" else self.model

    @property
    def signs_alone(self) -> bool:
        """Whether the world model learns no more of a reward than its sign."""
        return self.family == "pixel" or self.model.head.rewards == "sign"


@dataclass(frozen=True)
class ExpertSettings:
    """Training an expert: RLlib's own PPO in the real game."""

    seed: Count = 0
    """seeds every random choice"""
    steps: int = 100_000
    """real steps that the training takes at most; the games that judge the expert come on top"""
    game: GameSettings = field(default_factory=GameSettings)
    frame_size: FrameSize = 64
    """height and width of a frame, pixels, as in the runs that the expert will play for: one number, or two"""
    stack: int = 4
    """newest frames that it sees at once"""
    envs: int = 16
    """games at a time"""
    rollout: int = 64
    """steps of every game between updates"""
    minibatch: int = 256
    """samples a minibatch"""
    epochs: int = 4
    """passes over a rollout"""
    learning_rate: float = 5e-4
    """Adam"""
    gamma: Share = 0.99
    """discount"""
    reward_scale: float = 0.1
    """it is paid the game's reward times this, which should keep returns near 1 to 10"""
    threads: int | None = None
    """torch threads; None: one a CPU core"""
    evaluate: EvaluateSettings = field(default_factory=EvaluateSettings)

    @property
    def longest_rollout(self) -> int:
        """Most steps of a rollout: it ends in the middle of a step of all games, which is played to its end."""
        return self.envs * (self.rollout + 1) - 1
