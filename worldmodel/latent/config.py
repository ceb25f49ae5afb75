"""What defines the `latent` family: its networks and its sampler."""

from dataclasses import dataclass, field
from typing import Annotated, Literal

from annotated_types import Interval

from worldmodel.bounds import NotNegative, Share
from worldmodel.errors import UserError
from worldmodel.head_config import HeadConfig
from worldmodel.spaces import FrameShape, FrameSize, shape_of


@dataclass(frozen=True)
class BaseConfig:
    """The diffusion model to begin from; without a name, the small networks of our own, trained from scratch."""

    name: str | None = None
    """a base of our own (`small` comes with the project), or a folder in diffusers' layout or a hub id, of the kind of
    Stable Diffusion 1.x or 2.x; the same as --base"""
    variant: str | None = None
    """take the weights of this variant, such as fp16"""
    revision: str | None = None
    """branch, tag or commit on the hub"""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """what the frozen weights are kept in and computed with; what is trained stays in float32"""


@dataclass(frozen=True)
class AutoencoderConfig:
    """The picture's compression."""

    channels: tuple[int, ...] = (32, 32, 32, 32)
    """width at each resolution, all the same; every one after the first halves it (64x64 frames become 8x8 latents)"""
    latent_channels: int = 8
    """channels of a latent"""
    patch_size: int = 1
    """pixels on a side of the squares that the networks take and give as one; most of the work is done at the first
    resolution, so 2 and one resolution less cost a quarter"""

    @property
    def scale(self) -> int:
        """Pixels to a cell of the latent, in height as in width."""
        return self.patch_size * 2 ** (len(self.channels) - 1)


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
    """width of an action token, before a base's own width"""


@dataclass(frozen=True)
class AdapterConfig:
    """The LoRA adapter (Hu et al., 2021) on the denoiser."""

    rank: int = 16
    """rank of the low-rank updates"""
    alpha: int = 16
    """scale of the updates, over the rank"""
    targets: tuple[str, ...] = ("to_q", "to_k", "to_v", "to_out.0", "conv1", "conv2")
    """layers that get an adapter, by the end of their name"""
    modules_to_save: tuple[str, ...] = (
        "conditioner", "conv_in", "conv_out", "time_embedding", "class_embedding", "time_emb_proj", "norm",
    )  # fmt: skip
    """parts that are trained and saved whole beside it, by the end of their name, numbers left out"""
    rslora: bool = False
    """scale by alpha over the root of the rank (Kalajdzievski, 2023), for high ranks"""


@dataclass(frozen=True)
class SamplerConfig:
    """How a latent is drawn."""

    solver: Literal["ddim", "euler", "dpm"] = "ddim"
    """diffusers' scheduler that takes the steps: ddim (Song et al., 2021), euler (Karras et al., 2022) or dpm, which is
    DPM-Solver++ (Lu et al., 2022)"""
    steps: Annotated[int, Interval(ge=1, le=8)] = 2
    """network calls a frame"""


@dataclass(frozen=True)
class LatentConfig:
    """The `latent` family: autoencoder, diffusion U-Net with a LoRA adapter, reward and termination head."""

    base: BaseConfig = BaseConfig()
    frame_size: FrameSize = 64
    """height and width of a frame, pixels: one number for both, or one each"""
    context: Annotated[int, Interval(ge=2)] = 4
    """frames that the model is shown: one alone shows no motion"""
    residual: bool | None = None
    """predict the change from the newest latent, not the whole picture; None: unless the base is from elsewhere"""
    context_dropout: Share = 0.0
    """share of the training windows whose context is withheld, so that guidance has something to guide away from"""
    guidance: NotNegative = 1.0
    """classifier-free guidance on the context when dreaming (Ho and Salimans, 2022); 1: off, and half as costly"""
    shift: Share = 0.5
    """share of the windows that are shifted in training, by any number of pixels, so that motion is learned everywhere;
    the head is shown the same share of its steps shifted by less than a cell"""
    max_context_noise: NotNegative = 0.5
    """strongest noise added to the context in training, in spreads of the change from one latent to the next"""
    context_noise: NotNegative = 0.0
    """noise added to the context when dreaming, in the same unit"""
    scatter: NotNegative = 0.0
    """share of the variance that predictions leave out, which dreams draw beside them; measured after every fit"""
    noise_levels: int = 10
    """steps in which the model is told the context's noise"""
    autoencoder: AutoencoderConfig = AutoencoderConfig()
    denoiser: DenoiserConfig = DenoiserConfig()
    adapter: AdapterConfig = AdapterConfig()
    sampler: SamplerConfig = SamplerConfig()
    head: HeadConfig = field(default_factory=HeadConfig)

    def __post_init__(self) -> None:
        if self.guidance != 1 and not self.context_dropout:
            raise UserError(
                f"model.guidance is {self.guidance}, but no window is trained without its context:"
                " train with model.context-dropout above 0, or leave guidance at 1."
            )

    @property
    def frame_shape(self) -> FrameShape:
        """(height, width, 3) of a frame."""
        return shape_of(self.frame_size)


def latent_size(frame_size: FrameSize, scale: int) -> tuple[int, int]:
    """Height and width of a frame's latent, in cells of `scale` pixels.

    Raises:
        UserError: If the frame does not divide into whole cells, with the nearest size that does.
    """
    height, width, _ = shape_of(frame_size)
    rows, columns = (max(round(side / scale), 1) for side in (height, width))
    if (rows * scale, columns * scale) != (height, width):
        raise UserError(
            f"model.frame_size is {height} x {width} pixels, but the autoencoder needs multiples of {scale}:"
            f" the nearest is {rows * scale} {columns * scale}."
        )
    return rows, columns
