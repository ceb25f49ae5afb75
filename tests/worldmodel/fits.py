"""Fits of a tiny latent world model, begun."""

from dataclasses import replace
from pathlib import Path

import torch
from tiny import tiny

from worldmodel.fitting import FitConfig
from worldmodel.latent.fitter import LatentFitter

CONFIG = FitConfig(
    autoencoder_steps=6, decoder_steps=6, first_steps=6, steps=6, head_steps=6, head_batch_size=8, head_dreams=12,
    batch_size=8, unroll=2, dream=3, decoder_learning_rate=2e-3, bf16=False,
)  # fmt: skip
CPU = torch.device("cpu")
NOWHERE = Path("/tmp/nowhere/failures")


def fitting(reader, stage, model=None, seed=0, failures=NOWHERE, **changes):
    """A fitter that has begun the stage of this name."""
    fitter = LatentFitter(model or tiny(), replace(CONFIG, **changes), reader, CPU, failures)
    fitter.begin(named(fitter, stage), seed)
    return fitter


def named(fitter, name):
    return next(stage for first in (True, False) for stage in fitter.stages(first) if stage.name == name)


def weights(model):
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
