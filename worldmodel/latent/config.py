"""What defines the `latent` family: its networks and its sampler."""

from dataclasses import dataclass, field
from typing import Literal

from worldmodel.head_config import HeadConfig


@dataclass(frozen=True)
class AutoencoderConfig:
    """The picture's compression."""

    channels: tuple[int, ...] = (32, 32, 32, 32)
    """width at each resolution, all the same; every one after the first halves it (64x64 frames become 8x8 latents)"""
    latent_channels: int = 8
    """channels of a latent"""


@dataclass(frozen=True)
class DenoiserConfig:
    """The U-Net that dreams the next latent."""

    channels: tuple[int, ...] = (48, 96)
    """width at each resolution"""
    layers: int = 1
    """residual blocks at each resolution"""
    attention_heads: int = 32
    """attention heads in the middle, where the action tokens are read"""
    action_dim: int = 64
    """width of an action token"""


@dataclass(frozen=True)
class AdapterConfig:
    """The LoRA adapter (Hu et al., 2021) on the denoiser."""

    rank: int = 16
    """rank of the low-rank updates"""
    alpha: int = 16
    """scale of the updates, over the rank"""
    targets: tuple[str, ...] = ("to_q", "to_k", "to_v", "to_out.0", "conv1", "conv2")
    """layers that get an adapter, by the end of their name"""


@dataclass(frozen=True)
class SamplerConfig:
    """How a latent is drawn."""

    solver: Literal["ddim", "euler", "dpm"] = "ddim"
    """the scheduler from diffusers that takes the steps"""
    steps: int = 2
    """network calls a frame, 1 to 8"""


@dataclass(frozen=True)
class LatentConfig:
    """The `latent` family: autoencoder, diffusion U-Net with a LoRA adapter, reward and termination head."""

    frame_size: int = 64
    """height and width of a frame, pixels"""
    context: int = 4
    """frames that the model is shown"""
    residual: bool = True
    """predict the change from the newest latent; False for a base that predicts whole pictures"""
    shift: float = 0.5
    """share of the windows that are shifted by whole latent cells in training, so that motion is learned everywhere"""
    max_context_noise: float = 0.1
    """strongest noise added to the context in training, in standard deviations of a latent"""
    context_noise: float = 0.0
    """noise added to the context when dreaming"""
    noise_levels: int = 10
    """steps in which the model is told the context's noise"""
    autoencoder: AutoencoderConfig = AutoencoderConfig()
    denoiser: DenoiserConfig = DenoiserConfig()
    adapter: AdapterConfig = AdapterConfig()
    sampler: SamplerConfig = SamplerConfig()
    head: HeadConfig = field(default_factory=HeadConfig)
