from dataclasses import replace

import numpy as np
import pytest
import torch
from replays import still
from torchmetrics.functional.image import peak_signal_noise_ratio

from worldmodel.metrics.pictures import PSNR, SSIM, changing, lpips, psnr, score_pictures, ssim

SIZE = 24


def noise(*shape, seed=0):
    return torch.randint(256, (*shape, SIZE, SIZE, 3), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def absolute(a, b):
    """A stand-in for a perceptual network: mean absolute difference."""
    return (a - b).abs().mean((1, 2, 3))


LPIPS = lpips("absolute", absolute)
METRICS = (PSNR, SSIM, LPIPS)
BEST = {"PSNR, dB": 99.0, "SSIM": 1.0, "LPIPS (absolute)": 0.0}


def moving(batch=3, horizon=4, forced=False):
    """Real play in which everything changes, perfectly dreamed."""
    seen = still(batch, horizon, size=SIZE)
    real = noise(batch, horizon + 1)
    return replace(seen, real=real, dream=real.clone(), ceiling=real.clone(), forced=forced)


def curves(seen, horizons=(1, 2, 4)):
    return {(c.prediction, c.metric, c.pixels): c.values for c in score_pictures(seen, horizons, METRICS).curves}


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
@pytest.mark.parametrize("pixels", ["all", "changing"])
def test_identical_pictures_score_best_and_shuffled_or_frozen_ones_worse(metric, pixels):
    seen = moving()
    perfect = curves(seen)
    assert perfect["dream", metric.name, pixels] == pytest.approx([BEST[metric.name]] * 3, abs=1e-6)
    frozen = replace(seen, dream=seen.real[:, :1].expand_as(seen.real))
    shuffled = replace(seen, dream=seen.real.roll(1, 0))
    for other in (frozen, shuffled):
        assert all(_worse(a, BEST[metric.name]) for a in curves(other)["dream", metric.name, pixels])
    assert curves(frozen)["dream", metric.name, pixels] == perfect["last frame copied", metric.name, pixels]
    assert perfect["autoencoder (ceiling)", metric.name, pixels] == perfect["dream", metric.name, pixels]


def _worse(value, best):
    return abs(value - best) > 0.2


@pytest.mark.parametrize("forced", [False, True])
def test_the_last_frame_that_is_copied_is_the_last_one_known(forced):
    seen = moving(forced=forced)
    copied = curves(seen, (1, 3))["last frame copied", "PSNR, dB", "all"]
    assert copied[0] == psnr(seen.real[:, 0], seen.real[:, 1])
    assert copied[1] == psnr(seen.real[:, 2 if forced else 0], seen.real[:, 3])


def test_psnr_is_that_of_the_library():
    a, b = noise(4, seed=1), noise(4, seed=2)
    assert psnr(a, b) == pytest.approx(float(peak_signal_noise_ratio(a.float(), b.float(), data_range=255.0)), abs=1e-4)


def test_ssim_by_hand():
    flat, brighter = (torch.full((2, SIZE, SIZE, 3), level, dtype=torch.uint8) for level in (100, 120))
    # Without structure only the means are compared: (2 a b + c1) / (a^2 + b^2 + c1).
    c1 = (0.01 * 255) ** 2
    expected = (2 * 100 * 120 + c1) / (100**2 + 120**2 + c1)
    assert ssim(flat, brighter) == pytest.approx(expected, abs=1e-3)
    assert ssim(flat, brighter, torch.ones(2, SIZE, SIZE, dtype=torch.bool)) == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_where_some_pixels_count_alone_the_others_do_not(metric):
    real = noise(2)
    where = torch.zeros(2, SIZE, SIZE, dtype=torch.bool)
    where[:, :4, :4] = True
    elsewhere, here = real.clone(), real.clone()
    elsewhere[:, -4:, -4:] = 0
    here[:, :4, :4] = 0
    assert metric.of(elsewhere, real, where) == pytest.approx(BEST[metric.name], abs=1e-6)
    assert _worse(metric.of(here, real, where), BEST[metric.name]) or metric is LPIPS
    assert metric.of(here, real, where) != metric.of(real, real, where)


def test_a_perceptual_distance_sees_pictures_as_networks_want_them():
    seen = []
    metric = lpips("spy", lambda a, b: (seen.extend((a, b)), torch.tensor([1.0, 2.0]))[1])
    real = torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1).expand(2, SIZE, SIZE, 3)
    assert metric.of(real, real, None) == 1.5
    for pictures in seen:
        assert pictures.shape == (2, 3, SIZE, SIZE)
        assert pictures[0].unique().item() == -1
        assert pictures[1].unique().item() == 1


def test_what_changes_is_what_a_person_would_see():
    known = torch.full((1, 2, 2, 3), 100, dtype=torch.uint8)
    real = known.clone()
    real[0, 0, 0, 1], real[0, 0, 1, 2], real[0, 1, 0, 0] = 110, 111, 89
    assert changing(real, known).tolist() == [[[False, True], [True, False]]]


def test_each_horizon_says_how_many_frames_it_had():
    seen = moving(batch=3, horizon=4)
    seen.mask[0, 2:] = seen.mask[1:, 4:] = False
    scores = score_pictures(seen, (1, 2, 3, 4, 9), (PSNR,))
    assert (scores.horizons, scores.frames) == ((1, 2, 3), (3, 2, 2))
    seen.dream[0, 2:] = 0
    assert score_pictures(seen, (1, 2, 3), (PSNR,)).curves[0].values == (99.0,) * 3


def test_where_nothing_changes_nothing_is_said_of_what_does():
    seen = still(size=SIZE)
    seen.dream[:] = 0
    scored = curves(seen, (1,))
    for metric, best in BEST.items():
        assert scored["dream", metric, "changing"] == (None,)
        assert scored["dream", metric, "all"] != (best,)


def test_over_all_pixels_small_movements_hide_what_matters():
    seen = still(size=SIZE)
    seen.real[:, 1:, :2, :2] = 200
    scored = curves(replace(seen, dream=seen.real[:, :1].expand_as(seen.real)), (1,))
    (whole,), (part,) = (scored["dream", "PSNR, dB", pixels] for pixels in ("all", "changing"))
    assert part == pytest.approx(20 * np.log10(255 / 100))
    assert whole == pytest.approx(part + 10 * np.log10(SIZE**2 / 4))
