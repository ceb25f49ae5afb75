"""The layers of DIAMOND's networks (Alonso et al., 2024, appendix D).

Parts carry the names that they have in published files, so that those load as they are.
"""

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

_GROUP = 32
"""channels that are normalised together"""
_ATTENTION_HEAD = 8
"""channels of an attention head"""


def conv3x3(channels: int, filters: int) -> nn.Conv2d:
    """A convolution that keeps the picture's size."""
    return nn.Conv2d(channels, filters, 3, padding=1)


def zero_weight(layer: nn.Conv2d) -> nn.Conv2d:
    """The layer, with a weight of zeros: its block begins as the identity."""
    nn.init.zeros_(layer.weight)
    return layer


class Norm(nn.Module):
    """Group normalisation (Wu and He, 2018)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(_groups(channels), channels)

    def forward(self, x: Tensor) -> Tensor:
        """Normalised, (batch, channels, h, w)."""
        return self.norm(x)


class ConditionedNorm(nn.Module):
    """Group normalisation whose scale and shift are told by a vector (Perez et al., 2018)."""

    def __init__(self, channels: int, condition: int) -> None:
        super().__init__()
        self.groups = _groups(channels)
        self.linear = nn.Linear(condition, 2 * channels)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """Normalised, (batch, channels, h, w), by a condition (batch, width)."""
        scale, shift = self.linear(condition)[:, :, None, None].chunk(2, dim=1)
        return functional.group_norm(x, self.groups) * (1 + scale) + shift


class SelfAttention(nn.Module):
    """Every cell of the picture looks at every other one; what it finds is added to the normalised picture."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.heads = max(1, channels // _ATTENTION_HEAD)
        self.norm = Norm(channels)
        self.qkv_proj = nn.Conv2d(channels, 3 * channels, 1)
        self.out_proj = zero_weight(nn.Conv2d(channels, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, h, w)."""
        x = self.norm(x)
        heads = self.qkv_proj(x).flatten(2).unflatten(1, (3, self.heads, -1)).transpose(-1, -2)
        found = functional.scaled_dot_product_attention(*heads.unbind(1))
        return x + self.out_proj(found.transpose(-1, -2).reshape(x.shape))


class ResBlock(nn.Module):
    """Two convolutions beside a shortcut, perhaps followed by attention."""

    def __init__(self, channels: int, filters: int, condition: int, attention: bool) -> None:
        super().__init__()
        self.proj = nn.Identity() if channels == filters else nn.Conv2d(channels, filters, 1)
        self.norm1 = ConditionedNorm(channels, condition)
        self.conv1 = conv3x3(channels, filters)
        self.norm2 = ConditionedNorm(filters, condition)
        self.conv2 = zero_weight(conv3x3(filters, filters))
        self.attn = SelfAttention(filters) if attention else nn.Identity()

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """(batch, filters, h, w) of (batch, channels, h, w)."""
        hidden = self.conv1(functional.silu(self.norm1(x, condition)))
        hidden = self.conv2(functional.silu(self.norm2(hidden, condition)))
        return self.attn(self.proj(x) + hidden)


class ResBlocks(nn.Module):
    """Residual blocks at one resolution.

    Attributes:
        recompute: Forget what is within a block in the forward pass, and compute it again in the backward pass.
    """

    def __init__(self, widths: Sequence[tuple[int, int]], condition: int, attention: bool = False) -> None:
        """Blocks with these (channels, filters)."""
        super().__init__()
        self.resblocks = nn.ModuleList(ResBlock(*pair, condition, attention) for pair in widths)
        self.recompute = False

    def forward(self, x: Tensor, condition: Tensor, skips: Sequence[Tensor] = ()) -> list[Tensor]:
        """What comes out of every block; the skips, if there are any, go in beside what comes from the one before."""
        outputs = []
        for index, block in enumerate(self.resblocks):
            entering = torch.cat([x, skips[index]], dim=1) if skips else x
            if self.recompute and torch.is_grad_enabled():
                x = checkpoint(block, entering, condition, use_reentrant=False)
            else:
                x = block(entering, condition)
            outputs.append(x)
        return outputs


class Downsample(nn.Module):
    """Halves the picture's sides, rounded up."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2, padding=1)
        nn.init.orthogonal_(self.conv.weight)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, h / 2, w / 2)."""
        return self.conv(x)


class Upsample(nn.Module):
    """Doubles the picture's sides."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = conv3x3(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, 2 h, 2 w)."""
        return self.conv(functional.interpolate(x, scale_factor=2.0, mode="nearest"))


class FourierFeatures(nn.Module):
    """A number as waves of random, fixed frequencies (Tancik et al., 2020)."""

    weight: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.randn(1, width // 2))

    def forward(self, x: Tensor) -> Tensor:
        """(batch, width) of (batch,)."""
        angle = 2 * math.pi * x[:, None] @ self.weight
        return torch.cat([angle.cos(), angle.sin()], dim=-1)


class UNet(nn.Module):
    """U-Net (Ronneberger et al., 2015): down, across and up again, with skips; attention in the middle alone."""

    def __init__(self, channels: Sequence[int], layers: int, condition: int) -> None:
        super().__init__()
        levels = list(pairwise([channels[0], *channels]))  # the width above and the level's own
        down = [[(above, own), *[(own, own)] * (layers - 1)] for above, own in levels]
        up = [[*[(2 * own, own)] * layers, (above + own, above)] for above, own in reversed(levels)]
        self.d_blocks = nn.ModuleList(ResBlocks(widths, condition) for widths in down)
        self.mid_blocks = ResBlocks([(channels[-1], channels[-1])] * 2, condition, attention=True)
        self.u_blocks = nn.ModuleList(ResBlocks(widths, condition) for widths in up)
        self.downsamples = _after_first(Downsample(width) for width in channels[:-1])
        self.upsamples = _after_first(Upsample(width) for width in reversed(channels[:-1]))

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """(batch, channels[0], h, w) of the same; any size: it is padded to what can be halved, and cropped back."""
        height, width = x.shape[-2:]
        multiple = 2 ** (len(self.d_blocks) - 1)
        x = functional.pad(x, (0, -width % multiple, 0, -height % multiple))
        skips = []
        for blocks, downsample in zip(self.d_blocks, self.downsamples, strict=True):
            entered = downsample(x)
            skips.append([entered, *blocks(entered, condition)])
            x = skips[-1][-1]
        x = self.mid_blocks(x, condition)[-1]
        for blocks, upsample, beside in zip(self.u_blocks, self.upsamples, reversed(skips), strict=True):
            x = blocks(upsample(x), condition, beside[::-1])[-1]
        return x[..., :height, :width]


class Encoder(nn.Module):
    """The way down alone, with two blocks of attention at its end."""

    def __init__(self, entering: int, channels: Sequence[int], layers: int, condition: int) -> None:
        super().__init__()
        levels = pairwise([channels[0], *channels])
        self.conv_in = conv3x3(entering, channels[0])
        self.blocks = nn.ModuleList(
            ResBlocks([(above, own), *[(own, own)] * (layers - 1)], condition) for above, own in levels
        )
        self.downsamples = _after_first(Downsample(width) for width in channels[:-1])
        self.blocks.append(ResBlocks([(channels[-1], channels[-1])] * 2, condition, attention=True))
        self.downsamples.append(nn.Identity())

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """(batch, channels[-1], h', w') of (batch, entering, h, w)."""
        x = self.conv_in(x)
        for blocks, downsample in zip(self.blocks, self.downsamples, strict=True):
            x = blocks(downsample(x), condition)[-1]
        return x


def recompute_activations(network: nn.Module, recompute: bool) -> None:
    """Whether to forget activations in the forward pass and compute them again in the backward pass (Chen, 2016)."""
    for module in network.modules():
        if isinstance(module, ResBlocks):
            module.recompute = recompute


def _groups(channels: int) -> int:
    return max(1, channels // _GROUP)


def _after_first(layers: Iterable[nn.Module]) -> nn.ModuleList:
    """These layers, and nothing before the first resolution."""
    return nn.ModuleList([nn.Identity(), *layers])
