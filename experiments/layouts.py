"""Stable Diffusion's networks in their real size, by the settings that were published with them; without weights."""

from dataclasses import dataclass
from typing import Any, Literal

from diffusers import AutoencoderKL, UNet2DConditionModel

from worldmodel.latent.bases import Base
from worldmodel.latent.schedule import Schedule

LayoutName = Literal["sd1.5", "sd2.1"]


@dataclass(frozen=True)
class Layout:
    """What diffusers' config files say of a base.

    Attributes:
        unet: As `UNet2DConditionModel` takes it.
        prediction: What the U-Net predicts.
    """

    unet: dict[str, Any]
    prediction: str

    def build(self) -> Base:
        """The networks as diffusers initialises them, on torch's default device."""
        schedule = Schedule(_SCHEDULE | {"prediction_type": self.prediction})
        return Base(UNet2DConditionModel(**_UNET | self.unet), AutoencoderKL(**_VAE), schedule)


_UNET: dict[str, Any] = {
    "block_out_channels": (320, 640, 1280, 1280),
    "down_block_types": ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
    "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
    "in_channels": 4,
    "out_channels": 4,
    "layers_per_block": 2,
    "norm_num_groups": 32,
}
_VAE: dict[str, Any] = {
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "in_channels": 3,
    "out_channels": 3,
    "latent_channels": 4,
    "layers_per_block": 2,
    "norm_num_groups": 32,
}
_SCHEDULE: dict[str, Any] = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "num_train_timesteps": 1000,
}

LAYOUTS: dict[LayoutName, Layout] = {
    "sd1.5": Layout({"attention_head_dim": 8, "cross_attention_dim": 768, "sample_size": 64}, "epsilon"),
    "sd2.1": Layout(
        {
            "attention_head_dim": (5, 10, 20, 20),
            "cross_attention_dim": 1024,
            "sample_size": 96,
            "upcast_attention": True,
            "use_linear_projection": True,
        },
        "v_prediction",
    ),
}
