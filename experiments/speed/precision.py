"""How far dreams by a faster backend stray from plain ones in float32: same weights, same noise, same actions."""

from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from envs.neural_vector import STARTS_FILE
from worldmodel.autotune import Backend, Bfloat16, ChannelsLast, Compiled, computes_bf16
from worldmodel.base import Dream, WorldModel
from worldmodel.data.starts import load_starts
from worldmodel.errors import UserError
from worldmodel.families import load_world_model

STEPS = 15
"""how long the dreams are"""
_DREAMS = 64


@dataclass(frozen=True)
class Strayed:
    """PSNR between frames dreamed by another backend and in float32, dB.

    Attributes:
        world_model: Whose dreams.
        median: By backend: over the dreams, after 1, 2, ... steps.
        lowest: By backend: of the dream that strayed furthest, after as many.
    """

    world_model: str
    median: dict[str, tuple[float, ...]]
    lowest: dict[str, tuple[float, ...]]


def measure_precision(world_model: Path, device: str) -> Strayed:
    """Dream on from the starts that lie beside the world model, under random actions; ends end nothing.

    Raises:
        UserError: See `open_playable`.
    """
    model = open_playable(world_model).to(device).eval()
    starts = load_starts(world_model / STARTS_FILE)
    rows = np.arange(_DREAMS) % len(starts)
    frames, actions, mask = (
        torch.from_numpy(array[rows]).to(device) for array in (starts.frames, starts.actions, starts.mask)
    )
    begun = model.begin(frames, actions, mask)
    expected = dreamed(model, begun)
    psnr = {
        name: _psnr(dreamed(_by(model, backend), begun), expected)
        for name, backend in backends(torch.device(device)).items()
    }
    return Strayed(
        str(world_model),
        {name: tuple(found.median(1).values.tolist()) for name, found in psnr.items()},
        {name: tuple(found.min(1).values.tolist()) for name, found in psnr.items()},
    )


def backends(device: torch.device) -> dict[str, type[Backend]]:
    """Those that are tried on such a device."""
    if computes_bf16(device):
        return {"bfloat16": Bfloat16, "bfloat16, compiled": Compiled}
    return {"channels last": ChannelsLast, "compiled": Compiled}


def open_playable(world_model: Path) -> WorldModel:
    """The world model in this folder.

    Raises:
        UserError: If there is no such world model, or no starts beside it.
    """
    model = load_world_model(world_model)
    if not (world_model / STARTS_FILE).exists():
        raise UserError(f"{world_model} has no {STARTS_FILE}: give the folder of a finished run's world model.")
    return model


@torch.no_grad()
def dreamed(model: WorldModel, begun: Dream) -> Tensor:
    """The frames that follow, uint8 (steps, dreams, height, width, 3); noise and actions are always the same."""
    device = next(model.parameters()).device
    generator, spec = torch.Generator(device).manual_seed(0), model.action_spec
    rng, frames, dream = np.random.default_rng(0), [], begun
    for _ in range(STEPS):
        acted = torch.from_numpy(spec.draw(rng, len(begun))).to(device)
        dream, _ = model.step(dream, acted, generator)
        frames.append(model.observe(dream))
    return torch.stack(frames)


def _by(model: WorldModel, backend: type[Backend]) -> WorldModel:
    """A copy that computes its networks by this backend."""
    copied = deepcopy(model)
    copied.use_backends([backend(network) for network in copied.networks])
    return copied


def _psnr(one: Tensor, other: Tensor) -> Tensor:
    """dB, (steps, dreams); of equal frames, that of half a level in a single number."""
    error = (one.float() - other.float()).square().flatten(2).mean(2)
    least = 0.25 / one[0, 0].numel()
    return 10 * (255**2 / error.clamp_min(least)).log10()
