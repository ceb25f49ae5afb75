"""What DIAMOND's own code gives for known weights: names, shapes, inputs and outputs.

Tensor j of the sorted names has at place i the value sin(0.7 i + j + 0.25), scaled as layers of its kind are.
"""

import json
from functools import cache
from math import prod
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

_HERE = Path(__file__).parent
SHAPES: dict[str, list[int]] = json.loads((_HERE / "diamond_parity.json").read_text())


@cache
def outputs() -> dict[str, Tensor]:
    """What went in and what came out, for one game; pictures (1, 3, 64, 64), the frames as ours have them."""
    with np.load(_HERE / "diamond_parity.npz") as arrays:
        return {name: torch.from_numpy(arrays[name]) for name in arrays}


def published_weights() -> dict[str, Tensor]:
    """The contents of a file of the published format."""
    return {name: _filled(j, name) for j, name in enumerate(sorted(SHAPES))}


def published_file(folder: Path) -> Path:
    """Such a file."""
    path = folder / "Breakout.pt"
    torch.save(published_weights(), path)
    return path


def _filled(j: int, name: str) -> Tensor:
    shape = SHAPES[name]
    wave = np.sin(0.7 * np.arange(prod(shape)) + j + 0.25).reshape(shape)
    scaled = wave / np.sqrt(prod(shape[1:])) if len(shape) > 1 else 0.1 * wave + name.endswith("weight")
    return torch.from_numpy(scaled.astype(np.float32))
