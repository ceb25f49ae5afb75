"""How a world model is fitted: what a round of fitting costs and how it learns."""

from dataclasses import dataclass


@dataclass(frozen=True)
class FitConfig:
    """Fitting the world model to real play."""

    autoencoder_steps: int = 1000
    """updates of the autoencoder in the first round; it is frozen afterwards"""
    first_steps: int = 1200
    """updates of the dynamics and the head in the first round, in full"""
    steps: int = 300
    """updates in each later round, of the adapter and the head"""
    batch_size: int = 32
    """windows a batch"""
    unroll: int = 3
    """frames predicted from each window, the later ones from the model's own predictions"""
    learning_rate: float = 3e-4
    """AdamW, the dynamics and the head"""
    autoencoder_learning_rate: float = 1e-3
    """AdamW, the autoencoder"""
    weight_decay: float = 0.01
    """AdamW"""
    warmup: int = 50
    """updates over which the learning rate rises"""
    max_grad_norm: float = 1.0
    """gradients are clipped to this norm"""
    ema_decay: float = 0.995
    """decay of the averaged weights that dream"""
