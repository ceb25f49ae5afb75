"""A short name for weights, made of their values."""

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor


def fingerprint(weights: Mapping[str, Tensor], precision: torch.dtype = torch.float32) -> str:
    """16 hexadecimal digits that tell weights apart by names and values.

    Args:
        weights: By name, in any order and of any floating type.
        precision: What the values are rounded to first: in float16, weights and their "fp16" variant are one.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(weights.items()):
        digest.update(name.encode() + tensor.detach().to("cpu", precision).contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
