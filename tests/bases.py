"""Stable Diffusion 1.x and 2.x in small: randomly initialised, with the settings that diffusers publishes for them.

Only widths and depths are smaller than theirs; keys, kinds of layers, attention and prediction are the same.
"""

import json
from pathlib import Path
from typing import Any, Literal

import torch
from diffusers import AutoencoderKL, AutoencoderTiny, DDIMScheduler, PNDMScheduler, UNet2DConditionModel

Layout = Literal["sd1", "sd2"]
VaeKind = Literal["kl", "tiny"]
Prediction = Literal["epsilon", "v_prediction"]

LAYOUTS: tuple[Layout, ...] = ("sd1", "sd2")

_UNET: dict[str, Any] = {
    "act_fn": "silu",
    "center_input_sample": False,
    "down_block_types": ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
    "downsample_padding": 1,
    "flip_sin_to_cos": True,
    "freq_shift": 0,
    "in_channels": 4,
    "layers_per_block": 1,  # theirs: 2
    "mid_block_scale_factor": 1,
    "norm_eps": 1e-05,
    "out_channels": 4,
    "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
}
_UNETS: dict[Layout, dict[str, Any]] = {
    "sd1": {
        "attention_head_dim": 8,
        "block_out_channels": (16, 16, 32, 32),  # theirs: (320, 640, 1280, 1280)
        "cross_attention_dim": 768,
        "norm_num_groups": 8,  # theirs: 32
        "sample_size": 64,
    },
    "sd2": {
        "attention_head_dim": (5, 10, 20, 20),
        "block_out_channels": (20, 20, 40, 40),
        "cross_attention_dim": 1024,
        "dual_cross_attention": False,
        "norm_num_groups": 5,
        "num_class_embeds": None,
        "only_cross_attention": False,
        "sample_size": 96,
        "upcast_attention": True,
        "use_linear_projection": True,
    },
}
_SCHEDULE: dict[str, Any] = {
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "num_train_timesteps": 1000,
    "set_alpha_to_one": False,
    "steps_offset": 1,
    "trained_betas": None,
}


def unet(layout: Layout) -> UNet2DConditionModel:
    """A U-Net of the layout."""
    return UNet2DConditionModel(**_UNET | _UNETS[layout])


def kl() -> AutoencoderKL:
    """Stable Diffusion's autoencoder; its config did not always say the scaling factor."""
    return AutoencoderKL(
        act_fn="silu",
        block_out_channels=(4, 8, 8, 8),  # theirs: (128, 256, 512, 512)
        down_block_types=("DownEncoderBlock2D",) * 4,
        in_channels=3,
        latent_channels=4,
        layers_per_block=1,  # theirs: 2
        norm_num_groups=4,  # theirs: 32
        out_channels=3,
        sample_size=512,
        up_block_types=("UpDecoderBlock2D",) * 4,
    )


def taesd() -> AutoencoderTiny:
    """The tiny autoencoder that knows the same latents."""
    return AutoencoderTiny(
        encoder_block_out_channels=(8, 8, 8, 8),  # theirs: (64, 64, 64, 64)
        decoder_block_out_channels=(8, 8, 8, 8),
        num_encoder_blocks=(1, 1, 1, 1),  # theirs: (1, 3, 3, 3)
        num_decoder_blocks=(1, 1, 1, 1),
        latent_channels=4,
        scaling_factor=1.0,
    )


def scheduler(layout: Layout, prediction: Prediction) -> DDIMScheduler | PNDMScheduler:
    """Their schedulers: SD 1.x has PNDM, whose config does not say the prediction; SD 2.x has DDIM."""
    if layout == "sd1" and prediction == "epsilon":
        return PNDMScheduler(**_SCHEDULE, skip_prk_steps=True)
    return DDIMScheduler(**_SCHEDULE, clip_sample=False, prediction_type=prediction)


def write_base(
    folder: Path,
    layout: Layout = "sd2",
    vae: VaeKind = "kl",
    prediction: Prediction = "v_prediction",
    seed: int = 0,
    variant: str | None = None,
) -> Path:
    """Save a small pipeline in `folder` as diffusers would, without the parts that no world model needs."""
    torch.manual_seed(seed)
    networks = {"unet": unet(layout), "vae": kl() if vae == "kl" else taesd()}
    for name, network in networks.items():
        _stir(network)
        network.to(torch.float16 if variant == "fp16" else torch.float32)
        network.save_pretrained(folder / name, variant=variant)
    scheduler(layout, prediction).save_pretrained(folder / "scheduler")
    _forget(folder / "scheduler" / "scheduler_config.json", layout == "sd1" and prediction == "epsilon")
    index = {"_class_name": "StableDiffusionPipeline", "_diffusers_version": "0.10.0"}
    parts = {"scheduler": "PNDMScheduler", "unet": "UNet2DConditionModel", "vae": type(networks["vae"]).__name__}
    named = {name: ["diffusers", kind] for name, kind in parts.items()}
    (folder / "model_index.json").write_text(json.dumps(index | named))
    return folder


@torch.no_grad()
def _stir(network: torch.nn.Module) -> None:
    """No weight left at zero, where a test would not notice that it is not used."""
    for parameter in network.parameters():
        parameter.add_(torch.randn_like(parameter) * 0.02)


def _forget(path: Path, epsilon: bool) -> None:
    """Leave out the keys that SD 1.x' config, written by an older version, does not have."""
    if epsilon:
        settings = json.loads(path.read_text())
        settings.pop("prediction_type")
        settings.pop("timestep_spacing")
        path.write_text(json.dumps(settings))
