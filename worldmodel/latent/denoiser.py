"""The U-Net that predicts the next latent, and what it is told."""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import cast

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import Attention, AttnProcessor
from diffusers.models.embeddings import TimestepEmbedding
from peft import PeftModel
from torch import Tensor, nn

from worldmodel.actions import ActionEncoder
from worldmodel.latent.config import LatentConfig, latent_size
from worldmodel.spaces import ActionSpec

_THIN = 16
"""numbers in an attention head from which on fused attention is faster"""


class Conditioner(nn.Module):
    """Turns the action history and the context's noise level into tokens and one vector.

    The history is ordered: every token carries its position, the last one is the action that causes the frame. Some
    may be "not known" (before the game began).
    """

    def __init__(self, spec: ActionSpec, context: int, noise_levels: int, width: int, dim: int) -> None:
        """A conditioner for tokens of `width` numbers, projected to `dim`, zero at first, if a U-Net takes others."""
        super().__init__()
        self.action = ActionEncoder(spec, width)
        self.position = nn.Parameter(torch.randn(context, width) * 0.02)
        self.noise = nn.Embedding(noise_levels, width)
        self.project = nn.Identity() if width == dim else _zero(nn.Linear(width, dim))

    def forward(self, actions: Tensor, noise_level: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens (batch, context + 1, dim) and a vector (batch, (context + 1) * width).

        Args:
            actions: (batch, context, *spec.shape), oldest first, the causing one last.
            noise_level: int64, (batch,).
        """
        tokens = torch.cat([self.action(actions) + self.position, self.noise(noise_level)[:, None]], dim=1)
        return self.project(tokens), tokens.flatten(1)


class Denoiser(nn.Module):
    """A `UNet2DConditionModel` that sees the context beside the noisy target (as GameNGen: Valevski et al., 2024).

    Context frames enter as channels through the widened `conv_in` (the target's channels last, as the base had them),
    the action history as cross-attention tokens and, in order, through the class embedding.

    Attributes:
        dtype: What the frozen weights are kept in, and everything is computed with.
    """

    def __init__(self, unet: UNet2DConditionModel, conditioner: Conditioner) -> None:
        super().__init__()
        self.take(unet)
        self.conditioner = conditioner
        self.dtype = torch.float32

    def forward(self, noisy: Tensor, timesteps: Tensor, context: Tensor, actions: Tensor, level: Tensor) -> Tensor:
        """The network's prediction, float32 (batch, channels, h, w).

        Args:
            noisy: (batch, channels, h, w).
            timesteps: int64, (batch,).
            context: (batch, context, channels, h, w).
            actions: (batch, context, *spec.shape).
            level: int64, (batch,), the context's noise level.
        """
        stacked = torch.cat([context.flatten(1, 2), noisy], dim=1)
        with self._precision(stacked.device.type):
            tokens, vector = self.conditioner(actions, level)
            return self.unet(stacked, timesteps, tokens, class_labels=vector).sample.float()

    def take(self, unet: UNet2DConditionModel) -> None:
        """Predict with this U-Net."""
        _multiply_in_thin_heads(unet)
        self.unet = unet

    def cast(self, dtype: torch.dtype) -> None:
        """Keep the weights in `dtype` from here on, and compute with it."""
        self.to(dtype)
        self.dtype = dtype

    def _precision(self, device: str) -> AbstractContextManager[object]:
        return nullcontext() if self.dtype == torch.float32 else torch.autocast(device, self.dtype)


def _multiply_in_thin_heads(unet: UNet2DConditionModel) -> None:
    """Where attention heads are thin, matrices are multiplied faster one by one than in a fused attention."""
    for module in unet.modules():
        if isinstance(module, Attention) and module.inner_dim // module.heads < _THIN:
            module.set_processor(AttnProcessor())


def plain_denoiser(denoiser: nn.Module) -> Denoiser:
    """The denoiser itself, from under its adapter if it wears one."""
    return cast(Denoiser, denoiser.get_base_model() if isinstance(denoiser, PeftModel) else denoiser)


def build_unet(config: LatentConfig) -> UNet2DConditionModel:
    """A small U-Net of our own, to be trained from scratch."""
    channels, net = config.autoencoder.latent_channels, config.denoiser
    return UNet2DConditionModel(
        sample_size=latent_size(config.frame_size, config.autoencoder.scale),
        in_channels=channels,
        out_channels=channels,
        block_out_channels=net.channels,
        layers_per_block=net.layers,
        down_block_types=("DownBlock2D",) * len(net.channels),
        up_block_types=("UpBlock2D",) * len(net.channels),
        mid_block_type="UNetMidBlock2DCrossAttn",
        cross_attention_dim=net.action_dim,
        attention_head_dim=net.attention_heads,  # diffusers' old name for their number
        norm_num_groups=16,
    )


def condition(unet: UNet2DConditionModel, config: LatentConfig, spec: ActionSpec) -> Denoiser:
    """Give a U-Net the context, the actions and the noise level; at first it behaves as it did before.

    One that has been given them already, that of a base of our own, stays as it is.
    """
    width, dim = config.denoiser.action_dim, unet.config.cross_attention_dim
    if unet.config.class_embed_type is None:
        widen_conv_in(unet, config.context)
        add_class_embedding(unet, (config.context + 1) * width)
    return Denoiser(unet, Conditioner(spec, config.context, config.noise_levels, width, dim))


@torch.no_grad()
def widen_conv_in(unet: UNet2DConditionModel, context: int) -> None:
    """Let `conv_in` take `context` latents before the target's, whose filters stay; the new filters are zero."""
    old = unet.conv_in
    new = nn.Conv2d(old.in_channels * (context + 1), old.out_channels, old.kernel_size, padding=old.padding)
    weight = torch.zeros_like(new.weight)
    weight[:, -old.in_channels :] = old.weight
    new.load_state_dict({"weight": weight, "bias": old.bias})
    unet.conv_in = new
    unet.register_to_config(in_channels=new.in_channels)


def add_class_embedding(unet: UNet2DConditionModel, dim: int) -> None:
    """Add a projection of a vector to the time embedding, zero at first."""
    width = unet.time_embedding.linear_2.out_features
    unet.class_embedding = TimestepEmbedding(dim, width)
    _zero(unet.class_embedding.linear_2)
    unet.register_to_config(class_embed_type="projection", projection_class_embeddings_input_dim=dim)


def is_addition(name: str) -> bool:
    """Whether a denoiser's weight of this name is in no plain U-Net."""
    return name.startswith(("conditioner.", "unet.class_embedding."))


def without_context(unet: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A conditioned U-Net's weights as it had them before: no class embedding, and `conv_in` as narrow as it was."""
    plain = {name: tensor for name, tensor in unet.items() if not name.startswith("class_embedding.")}
    channels = len(plain["conv_out.bias"])
    return plain | {"conv_in.weight": plain["conv_in.weight"][:, -channels:]}


def _zero(layer: nn.Linear) -> nn.Linear:
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
