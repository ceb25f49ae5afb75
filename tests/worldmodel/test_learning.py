"""A tiny model learns a tiny game: its dream of games that it has not seen beats standing still."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny import SPEC, slides, sliding, tiny

from worldmodel.fidelity import score
from worldmodel.fitting import FitConfig
from worldmodel.latent.fitter import LatentFitter
from worldmodel.metrics.replay import draw_replay, replay

HORIZONS = (1, 2, 4)


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    return slides(tmp_path_factory.mktemp("buffer"), [sliding(seed) for seed in range(40)])


@pytest.fixture(scope="module")
def fitted(reader, tmp_path_factory):
    model = tiny(stirred=False, shift=0.0, context=2)
    config = FitConfig(
        autoencoder_steps=200,
        first_steps=150,
        head_steps=200,
        head_batch_size=32,
        head_dreams=64,
        batch_size=16,
        unroll=1,
        dream=2,
        learning_rate=2e-3,
    )
    fitter = LatentFitter(model, config, reader, torch.device("cpu"), tmp_path_factory.mktemp("failures"))
    for stage in fitter.stages(first=True):
        fitter.begin(stage, 0)
        fitter.fit(stage.steps)
        fitter.finish()
    return model


@pytest.fixture(scope="module")
def windows(reader):
    return draw_replay(reader, 2, max(HORIZONS), count=64, seed=0)


def test_the_dream_beats_the_last_frame(fitted, reader, windows):
    fidelity = score(replay(fitted, reader, windows, seed=0), HORIZONS)
    for dream, floor in zip(fidelity.dream, fidelity.copy_last, strict=True):
        assert dream > floor + 2
    assert fidelity.dream_changing[0] > fidelity.copy_last_changing[0] + 5
    assert fidelity.ceiling[0] > fidelity.copy_last[0] + 3


def test_under_other_actions_the_dream_is_another(fitted, reader, windows):
    other = replace(windows, actions=(windows.actions + 1) % SPEC.sizes[0])
    true, shuffled = (score(replay(fitted, reader, w, seed=0), HORIZONS) for w in (windows, other))
    assert true.dream[0] > shuffled.dream[0] + 2
    assert true.dream_changing[0] > shuffled.dream_changing[0] + 5


def test_rewards_are_learned(fitted, reader, windows):
    frames = torch.from_numpy(reader.frames(windows.frame_ids[:, :2]))
    there = torch.from_numpy(windows.mask[:, :2])
    dream = fitted.begin(frames, torch.from_numpy(windows.actions[:, :1]), there)
    _, step = fitted.step(dream, torch.from_numpy(windows.actions[:, 1]), torch.Generator().manual_seed(0))
    right = step.rewards.numpy() == windows.rewards[:, 1]
    assert np.mean(right) > 0.6
