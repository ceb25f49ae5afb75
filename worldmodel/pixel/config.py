"""What defines the `pixel` family; the defaults are DIAMOND's published Atari models (Alonso et al., 2024)."""

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Interval

from worldmodel.bounds import NotNegative, Unbounded
from worldmodel.errors import UserError
from worldmodel.spaces import FrameShape, FrameSize, shape_of

Quantise = Literal["round", "floor"]


@dataclass(frozen=True)
class NoiseConfig:
    """The noise that the denoiser is trained on (Karras et al., 2022); pixels go from -1 to 1."""

    data: float = 0.5
    """standard deviation of a pixel"""
    offset: NotNegative = 0.3
    """strength of the noise that a whole colour channel shares, in training alone"""
    mean: Unbounded = -0.4
    """mean of the logarithm of the noise's strength"""
    std: float = 1.2
    """standard deviation of that logarithm"""
    min: float = 2e-3
    """weakest noise"""
    max: float = 20.0
    """strongest noise"""


@dataclass(frozen=True)
class UNetConfig:
    """The U-Net that predicts the next frame."""

    channels: tuple[int, ...] = (64, 64, 64, 64)
    """width at each resolution; every one after the first halves it"""
    layers: int = 2
    """residual blocks at each resolution, one more on the way up"""
    condition: int = 256
    """width of its conditioning on noise and actions; each action of the context has an equal part of it"""


@dataclass(frozen=True)
class OutcomeConfig:
    """The recurrent network that predicts reward and end."""

    channels: tuple[int, ...] = (32, 32, 32, 32)
    """width at each resolution; every one after the first halves it"""
    layers: int = 2
    """residual blocks at each resolution"""
    condition: int = 128
    """width of its conditioning on the action"""
    hidden: int = 512
    """width of its LSTM"""


@dataclass(frozen=True)
class EulerConfig:
    """How a frame is drawn: Euler's steps down a schedule of Karras et al. (2022)."""

    steps: int = 3
    """network calls a frame"""
    min: float = 2e-3
    """noise of the last call"""
    max: float = 5.0
    """noise of the first call"""
    rho: float = 7.0
    """how much the calls crowd where the noise is weak"""


@dataclass(frozen=True)
class PixelConfig:
    """The `pixel` family: a diffusion U-Net on frames, and a recurrent network for reward and end."""

    frame_size: FrameSize = 64
    """height and width of a frame, pixels: one number for both, or one each"""
    context: Annotated[int, Interval(ge=2)] = 4
    """frames that the model is shown: one alone shows no motion"""
    quantise: Quantise = "round"
    """how a drawn frame gets its 256 levels; DIAMOND's published weights were trained with floor, which darkens"""
    noise: NoiseConfig = NoiseConfig()
    unet: UNetConfig = UNetConfig()
    outcomes: OutcomeConfig = OutcomeConfig()
    sampler: EulerConfig = EulerConfig()

    def __post_init__(self) -> None:
        if self.context > 0 and self.unet.condition % self.context:
            raise UserError(
                f"pixel.unet.condition is {self.unet.condition}, which does not divide among the {self.context} actions"
                " of pixel.context: choose a multiple."
            )
        for width in (*self.unet.channels, *self.outcomes.channels):
            if width not in (8, 16, 24) and width % 32:
                raise UserError(
                    f"neither pixel.unet.channels nor pixel.outcomes.channels can be {width}: take 8, 16, 24, or a"
                    " multiple of 32."
                )

    @property
    def frame_shape(self) -> FrameShape:
        """(height, width, 3) of a frame."""
        return shape_of(self.frame_size)
