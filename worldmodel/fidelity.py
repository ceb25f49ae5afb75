"""How long a dream stays true: dreams beside what really happened, from the same start, under the same actions."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from worldmodel.base import WorldModel
from worldmodel.data.reader import BufferReader
from worldmodel.data.windows import Windows, WindowSampler

_VISIBLE = 10.0


@dataclass(frozen=True)
class Fidelity:
    """Free-running fidelity on held-out play: peak signal-to-noise ratios, dB, one for each horizon.

    Those that end in `_changing` are over the pixels that differ visibly from the start's newest frame, the others
    over all pixels.

    Attributes:
        horizons: Frames after the start; the first is 1.
        dream: The model's dream.
        copy_last: The start's newest frame, forever: the floor.
        ceiling: The real frames through the autoencoder: what a perfect dream would score.
        adapter_off: The dream of the base alone, or None where there is no adapter.
        starts: How many dreams.
        ends: Real ends within them; where a lost life is one, the first of each.
        ends_dreamed: Those of them where the dream ended at that very step, and not before.
        false_ends: Share of the other steps, up to a dream's first end, where the dream ended.
    """

    horizons: tuple[int, ...]
    dream: tuple[float, ...]
    dream_changing: tuple[float, ...]
    copy_last: tuple[float, ...]
    copy_last_changing: tuple[float, ...]
    ceiling: tuple[float, ...]
    ceiling_changing: tuple[float, ...]
    adapter_off: tuple[float, ...] | None
    adapter_off_changing: tuple[float, ...] | None
    starts: int
    ends: int
    ends_dreamed: int
    false_ends: float


@dataclass(frozen=True, eq=False)
class Replay:
    """Dreams and reality, step by step.

    Attributes:
        real: uint8, (batch, horizon + 1, height, width, 3): the start's newest frame and what really followed.
        dream: uint8, the same shape: the same frame and what was dreamed.
        ceiling: uint8, the same shape: the real frames through the autoencoder.
        mask: bool, (batch, horizon + 1): which real frames there were.
        terminated: bool, (batch, horizon): where the game really ended.
        dreamed_ends: bool, (batch, horizon): where the dream ended.
    """

    real: Tensor
    dream: Tensor
    ceiling: Tensor
    mask: Tensor
    terminated: Tensor
    dreamed_ends: Tensor


def draw_replay(reader: BufferReader, context: int, horizon: int, count: int, seed: int) -> Windows:
    """Held-out windows to dream through, `count` of them."""
    return WindowSampler(reader, context, horizon, split="held_out").sample(count, np.random.default_rng(seed))


@torch.no_grad()
def replay(model: WorldModel, reader: BufferReader, windows: Windows, seed: int) -> Replay:
    """Dream from the windows' contexts under their actions."""
    device = next(model.parameters()).device
    context = windows.context
    frames = torch.from_numpy(reader.frames(windows.frame_ids)).to(device)
    actions, mask = (torch.from_numpy(array).to(device) for array in (windows.actions, windows.mask))
    dream = model.begin(frames[:, :context], actions[:, : context - 1], mask[:, :context])
    generator = torch.Generator(device).manual_seed(seed)
    pictures, ends = [frames[:, context - 1]], []
    for step in range(context - 1, actions.shape[1]):
        dream, outcome = model.step(dream, actions[:, step], generator)
        pictures.append(model.observe(dream))
        ends.append(outcome.terminated)
    real = frames[:, context - 1 :]
    ended = torch.from_numpy(windows.terminated).to(device)[:, context - 1 :]
    return Replay(
        real=real,
        dream=torch.stack(pictures, 1),
        ceiling=torch.stack([model.reconstruct(frame) for frame in real.unbind(1)], 1),
        mask=mask[:, context - 1 :],
        terminated=ended,
        dreamed_ends=torch.stack(ends, 1),
    )


def score(seen: Replay, horizons: tuple[int, ...], adapter_off: Replay | None = None) -> Fidelity:
    """Score a replay at the given horizons; those that no real game reached are left out."""
    horizons = tuple(h for h in horizons if h < seen.mask.shape[1] and seen.mask[:, h].any())
    dream, dream_changing = _curves(seen.dream, seen, horizons)
    copied, copied_changing = _curves(seen.real[:, :1].expand_as(seen.real), seen, horizons)
    ceiling, ceiling_changing = _curves(seen.ceiling, seen, horizons)
    base, base_changing = _curves(adapter_off.dream, seen, horizons) if adapter_off else (None, None)
    dreaming, real_ends = _until_first(seen.dreamed_ends), seen.terminated & _until_first(seen.terminated)
    going_on = seen.mask[:, 1:] & ~seen.terminated & dreaming
    return Fidelity(
        horizons=horizons,
        dream=dream,
        dream_changing=dream_changing,
        copy_last=copied,
        copy_last_changing=copied_changing,
        ceiling=ceiling,
        ceiling_changing=ceiling_changing,
        adapter_off=base,
        adapter_off_changing=base_changing,
        starts=len(seen.real),
        ends=int(real_ends.sum()),
        ends_dreamed=int((real_ends & seen.dreamed_ends & dreaming).sum()),
        false_ends=float((seen.dreamed_ends & going_on).sum() / going_on.sum().clamp_min(1)),
    )


def _until_first(ends: Tensor) -> Tensor:
    """The steps (bool, (batch, horizon)) before which nothing has ended."""
    return ends.cumsum(1) - ends.long() == 0


def _curves(pictures: Tensor, seen: Replay, horizons: tuple[int, ...]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    errors = list(_errors(pictures, seen, horizons))
    return tuple(_psnr(error) for error, _ in errors), tuple(_psnr(error) for _, error in errors)


def _errors(pictures: Tensor, seen: Replay, horizons: tuple[int, ...]) -> Iterator[tuple[Tensor, Tensor]]:
    for h in horizons:
        there = seen.mask[:, h]
        real, start = seen.real[there, h].float(), seen.real[there, 0].float()
        error = (pictures[there, h].float() - real).square().mean(-1)
        yield error, error[(real - start).abs().amax(-1) > _VISIBLE]


def _psnr(error: Tensor) -> float:
    """Over all pixels together, not a mean of ratios; no pixels or no error is capped at 99 dB."""
    mean = error.mean().item() if error.numel() else 0.0
    return 99.0 if mean < 1e-5 else float(10 * np.log10(255**2 / mean))
