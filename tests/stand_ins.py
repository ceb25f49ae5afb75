"""Small networks in place of the large ones that metrics are known by."""

import torch
from torch import Tensor, nn


class Means(nn.Module):
    """The mean of each colour: of pictures (n, 3, h, w) or clips (n, 3, time, h, w)."""

    def forward(self, pictures: Tensor) -> Tensor:
        return pictures.flatten(2).mean(2)


class Red(nn.Module):
    """The mean of the first colour alone, times 127.5."""

    def forward(self, pictures: Tensor) -> Tensor:
        return 127.5 * pictures[:, 0].flatten(1).mean(1, keepdim=True)


class Apart(nn.Module):
    """Mean absolute difference of two batches of pictures, shaped as LPIPS is."""

    def forward(self, one: Tensor, other: Tensor) -> Tensor:
        return (one - other).abs().mean((1, 2, 3), keepdim=True)


class Map(nn.Module):
    """Takes any picture and makes no features."""

    def forward(self, pictures: Tensor) -> Tensor:
        return pictures


def scripted(network: nn.Module, path) -> str:
    """The path of the network, saved as TorchScript."""
    torch.jit.save(torch.jit.script(network), path)
    return str(path)


made = Means()
no_network = 3
