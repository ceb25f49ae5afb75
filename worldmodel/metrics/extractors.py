"""Networks that a metric looks through: the user brings them, nothing is ever downloaded."""

import hashlib
import warnings
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from worldmodel.errors import UserError, in_short
from worldmodel.metrics.pictures import Distance


@dataclass(frozen=True, eq=False)
class Extractor:
    """Makes features of pictures, or a distance of two batches of them.

    Attributes:
        name: The file with the beginning of its SHA-256, or the importable name; part of the metric's own name.
        network: Takes float32 in [-1, 1].
    """

    name: str
    network: nn.Module


def load_extractor(source: str, device: torch.device) -> Extractor:
    """The network that `source` names, on `device`.

    Args:
        source: "FILE", TorchScript; or "module:name" of an importable `nn.Module`, or of what makes one when called.
        device: Where it will be used.

    Raises:
        UserError: If there is none.
    """
    name, network = _imported(source) if _is_importable(source) else _scripted(Path(source))
    return Extractor(name, network.to(device).eval())


def feature_extractor(source: str, device: torch.device, shape: tuple[int, ...]) -> Extractor:
    """A network, tried out, that makes features (n, d) of (n, *shape): pictures (3, h, w), clips (3, time, h, w).

    Raises:
        UserError: If there is none, or it makes something else.
    """
    extractor = load_extractor(source, device)
    made = _tried(extractor, shape, device, 1)
    if made.ndim != 2 or len(made) != 2:
        raise UserError(f"{source} makes {tuple(made.shape)} of {(2, *shape)}: its features must be (2, any number).")
    return extractor


def distance_of(source: str, device: torch.device, shape: tuple[int, ...]) -> tuple[str, Distance]:
    """A network, tried out, that measures how far two batches of pictures (n, *shape) are apart, and its name.

    Raises:
        UserError: If there is none, or it measures something else.
    """
    extractor = load_extractor(source, device)
    measured = _tried(extractor, shape, device, 2)
    if measured.numel() != 2:
        raise UserError(
            f"{source} makes {tuple(measured.shape)} of two batches {(2, *shape)}: give a network that makes one"
            " distance a pair."
        )
    return extractor.name, lambda one, other: extractor.network(one, other).flatten()


def _is_importable(source: str) -> bool:
    return ":" in source and not Path(source).exists()


def _imported(source: str) -> tuple[str, nn.Module]:
    module, _, name = source.partition(":")
    try:
        made: Any = getattr(import_module(module), name)
        network = made if isinstance(made, nn.Module) else made()
    except Exception as error:
        raise UserError(f"no network could be imported as {source!r} ({in_short(error)}): mend it there.") from error
    if not isinstance(network, nn.Module):
        raise UserError(f"{source!r} is no torch.nn.Module and makes none: name one, or what makes one when called.")
    return source, network


def _scripted(path: Path) -> tuple[str, nn.Module]:
    try:
        name = f"{path.name}@{hashlib.sha256(path.read_bytes()).hexdigest()[:8]}"
        with warnings.catch_warnings():
            # Deprecated or not, it is how such networks are handed on.
            warnings.simplefilter("ignore", DeprecationWarning)
            return name, torch.jit.load(path, map_location="cpu")
    except (OSError, RuntimeError, ValueError) as error:
        raise UserError(
            f"{path} could not be read as TorchScript ({in_short(error)}): give a file that `torch.jit.save` wrote,"
            " or module:name of an importable network."
        ) from error


@torch.no_grad()
def _tried(extractor: Extractor, shape: tuple[int, ...], device: torch.device, inputs: int) -> Tensor:
    given = [torch.zeros(2, *shape, device=device)] * inputs
    try:
        made = extractor.network(*given)
    except Exception as error:
        raise UserError(
            f"{extractor.name} does not take {inputs} of {(2, *shape)} ({in_short(error)}): give a network that does."
        ) from error
    if not isinstance(made, Tensor):
        raise UserError(f"{extractor.name} makes a {type(made).__name__}: give a network that makes a tensor.")
    return made
