from dataclasses import replace

import pytest
import torch
from replays import still
from stand_ins import Means, Red

from worldmodel.errors import UserError
from worldmodel.metrics.extractors import Extractor
from worldmodel.metrics.frechet import fid, frechet_distance, fvd

MEANS, RED = Extractor("means", Means()), Extractor("red", Red())


def shades(*levels):
    """Plain frames, uint8 (n, 4, 4, 3)."""
    return torch.tensor(levels, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 4, 4, 3).contiguous()


def test_by_hand():
    # Of one number the distance is (m - m')^2 + (s - s')^2.
    real, other = shades(0, 10, 20), shades(60, 80, 100)
    assert frechet_distance(RED, real, other) == pytest.approx((80 - 10) ** 2 + (20 - 10) ** 2, rel=1e-4)


def test_identical_sets_are_no_distance_apart_whatever_their_order():
    frames = torch.randint(256, (64, 8, 8, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    assert frechet_distance(MEANS, frames, frames) == pytest.approx(0, abs=1e-4)
    assert frechet_distance(MEANS, frames, frames.flip(0)) == pytest.approx(0, abs=1e-4)
    assert frechet_distance(MEANS, frames, 255 - frames // 2) > 0.1


def drifting(batch=6, horizon=9, forced=False):
    """Games that grow brighter, perfectly dreamed."""
    seen = still(batch, horizon, size=8)
    level = 5 * torch.arange(horizon + 1)[None] + 20 * torch.arange(batch)[:, None]
    real = level.to(torch.uint8)[:, :, None, None, None].expand(-1, -1, 8, 8, 3).contiguous()
    return replace(seen, real=real, dream=real.clone(), ceiling=real.clone(), forced=forced)


@pytest.mark.parametrize("measure", [fid, lambda seen, extractor: fvd(seen, extractor, 3)], ids=["fid", "fvd"])
def test_a_perfect_dream_is_no_distance_away_and_a_frozen_one_as_far_as_the_copy(measure):
    seen = drifting()
    scores = measure(seen, MEANS)
    assert scores.dream == scores.ceiling == pytest.approx(0, abs=1e-4)
    frozen = measure(replace(seen, dream=seen.real[:, :1].expand_as(seen.real)), MEANS)
    assert frozen.dream == frozen.copy_last == scores.copy_last > 0.01


class Order(Means):
    """Tells whether time runs forwards."""

    def forward(self, clips):
        return (clips[:, :, -1] - clips[:, :, 0]).flatten(2).mean(2)


def test_clips_keep_their_order_and_frames_have_none():
    seen = drifting()
    backwards = replace(seen, dream=torch.cat([seen.real[:, :1], seen.real[:, 1:].flip(1)], 1))
    assert fid(backwards, MEANS).dream == pytest.approx(0, abs=1e-4)
    assert fvd(backwards, Extractor("order", Order()), 3).dream > 0.01
    assert fvd(seen, Extractor("order", Order()), 3).dream == pytest.approx(0, abs=1e-4)


def test_the_name_says_what_the_number_depends_on():
    seen = drifting()
    seen.mask[0, 5:] = False
    seen.dream[0, 5:] = 255
    assert fid(seen, MEANS).metric == "FID (means, 49 frames, 8x8)"
    scores = fvd(seen, MEANS, 4)
    assert scores.metric == "FVD (means, 11 clips of 4 frames, 8x8)"
    assert scores.dream == pytest.approx(0, abs=1e-4)


def test_clips_that_are_longer_than_the_games_are_refused():
    with pytest.raises(UserError, match="shorter clips"):
        fvd(drifting(), MEANS, 10)
