"""How a world model is fitted: what a round of fitting costs and how it learns."""

from dataclasses import dataclass


@dataclass(frozen=True)
class FitConfig:
    """Fitting the world model to real play."""

    autoencoder_steps: int = 700
    """updates of the autoencoder in the first round; it is frozen afterwards"""
    first_steps: int = 600
    """updates of the dynamics and the head in the first round, in full"""
    steps: int = 200
    """updates in each later round, of the adapter and the head"""
    head_steps: int = 60
    """updates of the head alone, in every round, on dreams that run free"""
    batch_size: int = 32
    """windows a batch"""
    unroll: int = 2
    """frames predicted from each window, the later ones from the model's own predictions"""
    dream: int = 8
    """steps that a dream runs free for the head to learn from"""
    learning_rate: float = 1e-3
    """AdamW, the dynamics and the head; rises over the first tenth of a stage, then falls to zero"""
    autoencoder_learning_rate: float = 2e-3
    """AdamW, the autoencoder; the same course"""
    weight_decay: float = 0.01
    """AdamW"""
    max_grad_norm: float = 1.0
    """gradients are clipped to this norm"""
    ema_decay: float = 0.995
    """decay of the averaged weights; a fit ends by adopting them"""
    bf16: bool = True
    """train the autoencoder in bfloat16 where that is faster (on the CPU its convolutions are)"""


@dataclass(frozen=True)
class Stage:
    """A stretch of fitting: which part of the model, for how many updates."""

    name: str
    steps: int
