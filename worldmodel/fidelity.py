"""How long a dream stays true, in the few numbers that each round of a run is judged by."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from worldmodel.metrics.events import Foretold, until_first
from worldmodel.metrics.outcomes import free_outcomes
from worldmodel.metrics.pictures import SSIM_KERNEL, changing, psnr, ssim
from worldmodel.metrics.replay import Replay

Curve = tuple[float, ...]
"""one number for each horizon"""


@dataclass(frozen=True)
class Similarity:
    """Structural similarity (Wang et al., 2004) of the same pictures as in `Fidelity`, 1 at best."""

    dream: Curve
    dream_changing: Curve
    copy_last: Curve
    copy_last_changing: Curve
    ceiling: Curve
    ceiling_changing: Curve


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
        end: Precision, recall and Brier score of the ends' probabilities, beside their own frequency's; None in
            reports of older versions, as the two errors are.
        rewards: The same of rewards above and below 0, as long as neither the dream nor the game is over.
        reward_error: Mean absolute error of the dreamed rewards.
        constant_error: The same of the median real reward.
        ssim: Structural similarities; None in reports of older versions, and of frames smaller than its kernel.
    """

    horizons: tuple[int, ...]
    dream: Curve
    dream_changing: Curve
    copy_last: Curve
    copy_last_changing: Curve
    ceiling: Curve
    ceiling_changing: Curve
    adapter_off: Curve | None
    adapter_off_changing: Curve | None
    starts: int
    ends: int
    ends_dreamed: int
    false_ends: float
    end: Foretold | None = None
    rewards: tuple[Foretold, ...] = ()
    reward_error: float | None = None
    constant_error: float | None = None
    ssim: Similarity | None = None


def score(seen: Replay, horizons: tuple[int, ...], adapter_off: Replay | None = None) -> Fidelity:
    """Score a free-running replay at the given horizons; those that no real game reached are left out."""
    horizons = seen.reached(horizons)
    dream, dream_changing = _curves(seen.dream, seen, horizons)
    copied, copied_changing = _curves(_copied(seen), seen, horizons)
    ceiling, ceiling_changing = _curves(seen.ceiling, seen, horizons)
    base, base_changing = _curves(adapter_off.dream, seen, horizons) if adapter_off else (None, None)
    dreamed_ends = seen.outcomes.terminated
    dreaming, real_ends = until_first(dreamed_ends), seen.terminated & until_first(seen.terminated)
    going_on = seen.mask[:, 1:] & ~seen.terminated & dreaming
    told = free_outcomes(seen)
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
        ends_dreamed=int((real_ends & dreamed_ends & dreaming).sum()),
        false_ends=float((dreamed_ends & going_on).sum() / going_on.sum().clamp_min(1)),
        end=told.events[0],
        rewards=told.events[1:],
        reward_error=told.reward_error,
        constant_error=told.constant_error,
        ssim=_similarity(seen, horizons) if min(seen.real.shape[2:4]) >= SSIM_KERNEL else None,
    )


def _similarity(seen: Replay, horizons: tuple[int, ...]) -> Similarity:
    dream, dream_changing = _curves(seen.dream, seen, horizons, ssim)
    copied, copied_changing = _curves(_copied(seen), seen, horizons, ssim)
    ceiling, ceiling_changing = _curves(seen.ceiling, seen, horizons, ssim)
    return Similarity(dream, dream_changing, copied, copied_changing, ceiling, ceiling_changing)


def _copied(seen: Replay) -> Tensor:
    return seen.real[:, :1].expand_as(seen.real)


def _curves(
    pictures: Tensor,
    seen: Replay,
    horizons: tuple[int, ...],
    of: Callable[[Tensor, Tensor, Tensor | None], float] = psnr,
) -> tuple[Curve, Curve]:
    """What the pictures score at each horizon: over all pixels, and over those that change."""
    over_all, over_changing = [], []
    for h in horizons:
        there = seen.mask[:, h]
        predicted, real = pictures[there, h], seen.real[there, h]
        over_all.append(of(predicted, real, None))
        over_changing.append(of(predicted, real, changing(real, seen.real[there, 0])))
    return tuple(over_all), tuple(over_changing)
