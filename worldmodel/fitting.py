"""How a world model is fitted: what a round of fitting costs and how it learns."""

from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from worldmodel.bounds import Count, NotNegative, Share
from worldmodel.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

OptimizerName = Literal["adamw", "adafactor", "adamw8bit"]
Precision = Literal["auto", "fp32", "bf16", "fp16"]
Weighting = Literal["none", "min_snr", "edm"]
PretrainStage = Literal["autoencoder", "dynamics"]
"""What a base of our own is trained in, one after the other."""


@dataclass(frozen=True)
class FitConfig:
    """Fitting the world model to real play."""

    autoencoder_steps: Count = 700
    """updates of the autoencoder in the first round, if it is our own; it is frozen afterwards"""
    base_autoencoder_steps: Count = 0
    """the same of a base's autoencoder, where the base is of our own kind: from what it knows towards the game"""
    autoencoder_shift: Share = 2 / 3
    """share of its pictures that are shifted by up to half a frame, so that what was seen at one place is drawn well at
    any; where walls and lanes never move, 0 draws them sharper"""
    decoder_steps: Count | None = None
    """updates of the decoder alone in the first round; None: autoencoder_steps for that of a base, whose encoder stays
    as it is, else 0"""
    first_steps: Count = 600
    """updates of the dynamics in the first round: all of our own U-Net, the adapter of a base's"""
    steps: Count = 200
    """updates in each later round, of the adapter"""
    full: bool = False
    """train the whole U-Net wherever only an adapter would be trained"""
    head_steps: Count = 600
    """updates of the head in every round, half on real steps and half on dreamed ones; 0: beside the dynamics"""
    head_batch_size: int = 128
    """steps a batch of those"""
    head_dreams: int = 768
    """dreams a round that run free for the head to learn from"""
    batch_size: int = 32
    """windows a batch"""
    accumulate: int = 1
    """parts that a batch is taken in, one after another: a part's memory, the whole batch's gradients"""
    checkpointing: bool = False
    """compute the U-Net's activations again in the backward pass: less memory, about a third more time"""
    precision: Precision = "auto"
    """arithmetic of the U-Net (autocast), and of the head where it is a lower one; weights stay in float32. auto:
    float32, or bfloat16 where the machine is built for it, and in a long stage compiled, where that is faster, which is
    tried at its beginning"""
    unroll: int = 2
    """frames predicted from each window, the later ones from the model's own predictions"""
    rare_share: Share = 0.0
    """share of the latent dynamics' windows that lead to what is rare: an end, or a reward of another sign than most"""
    hard_share: Share = 0.0
    """share of the latent dynamics' windows that lead to a step that was predicted badly when it last was"""
    recent_share: Share = 0.0
    """share of the dynamics' windows that lead to a step of the newest round's play, where the agent went last; the
    others, but for the rare and the hard ones, to any"""
    sampled_share: Share = 0.5
    """share of the predictions made from noise levels that the sampler uses, the others from any; 1 suits a sampler of
    one step, and such a model is of use to no other"""
    dream: int = 8
    """steps that such a dream runs free at most"""
    end_recall: Share = 0.5
    """imagination waits for more fitting while dreams that run free come to less than this share of held-out ends"""
    more_fits: Count = 1
    """how often a round's adapter and head are fitted again for it, at most"""
    learning_rate: float = 1e-3
    """of the dynamics and the head; rises over the first tenth of a stage, then falls to zero"""
    autoencoder_learning_rate: float = 2e-3
    """of the autoencoder; the same schedule"""
    decoder_learning_rate: float = 1e-4
    """of the decoder alone; the same schedule"""
    optimizer: OptimizerName = "adamw"
    """beside the weights, adamw8bit (extra: 8bit) and adafactor keep about a quarter of what adamw does"""
    weight_decay: NotNegative = 0.01
    """of the optimiser"""
    weighting: Weighting = "none"
    """weight of the denoising error by noise level: min-SNR (Hang et al., 2023) or EDM (Karras et al., 2022)"""
    snr_gamma: float = 5.0
    """min-SNR's limit"""
    max_grad_norm: float = 1.0
    """gradients are clipped to this norm"""
    ema_decay: Share = 0.995
    """decay of the averaged weights; a fit ends by adopting them"""
    bf16: bool = True
    """train the autoencoder and the head in bfloat16 where the machine is built for it: convolutions are faster so"""


@dataclass(frozen=True)
class Stage:
    """A stretch of fitting: which part of the model, for how many updates; "latents" are measured, not trained."""

    name: str
    steps: int

    @property
    def makes_latents(self) -> bool:
        """Whether frames have other latents afterwards."""
        return self.name in ("autoencoder", "latents")

    @property
    def makes_dreams(self) -> bool:
        """Whether it teaches how the game goes on, not how its pictures look."""
        return self.makes_motion or self.name == "head"

    @property
    def makes_motion(self) -> bool:
        """Whether it teaches which picture comes next."""
        return self.name in ("dynamics", "adapter")


class Fitter(Protocol):
    """Fits one model, stage by stage."""

    def stages(self, first: bool) -> list[Stage]:
        """What a round consists of; `first` says whether the model is still untrained."""

    def begin(self, stage: Stage, seed: int) -> None:
        """Prepare a stage; everything drawn in it follows from `seed`."""

    def fit(self, steps: int) -> dict[str, float]:
        """Take `steps` updates of the stage. Returns the mean of every loss."""

    def finish(self) -> None:
        """End the stage."""

    def trained_parameters(self) -> int:
        """How many numbers this round's stages have trained so far."""

    def encoded(self, frame_ids: NDArray[np.int64]) -> "Tensor | None":
        """What `WorldModel.encode` makes of these frames, (*frame_ids.shape, h, w, channels), where dreams need it."""

    def ends_recalled(self) -> float | None:
        """The share of held-out ends that free-running dreams come to, where it decides how long the fit goes on."""


def check_optimizer(name: OptimizerName) -> None:
    """Refuse an optimiser whose package is not installed.

    Raises:
        UserError: Naming the extra.
    """
    if name == "adamw8bit" and find_spec("bitsandbytes") is None:
        raise UserError('fit.optimizer adamw8bit needs an extra: pip install -e ".[8bit]", or choose adafactor.')
