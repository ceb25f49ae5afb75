"""Fitting the dynamics as one writes it down at first: what the fitter is measured beside, and has to agree with."""

import numpy as np
import torch
from diffusers.training_utils import EMAModel
from torch import Tensor, nn

from worldmodel.data.reader import BufferReader
from worldmodel.data.segment import Segment
from worldmodel.data.windows import WindowSampler, segment
from worldmodel.fitting import FitConfig
from worldmodel.latent.losses import LatentLosses
from worldmodel.latent.model import LatentWorldModel
from worldmodel.latent.shift import shift


class StepByStep(LatentLosses):
    """Predicts each step of the windows, with its gradient, before it goes on to the next; the same losses."""

    def denoising(self, played: Segment) -> Tensor:
        """The denoising loss of windows."""
        latents, _ = shift(self._latents(played), self._model.config.shift)
        there = played.mask[:, played.context :]
        history = self._model.known(played.actions, played.mask)
        context, losses = latents[:, : played.context], []
        for k in range(played.horizon):
            now = played.context + k
            batch = self._batch(context, history[:, k:now], latents[:, now])
            predicted = self._denoise(*batch.inputs)
            error = (predicted - batch.target).square().mean((1, 2, 3))
            losses.append((error * there[:, k]).sum() / there[:, k].sum().clamp_min(1))
            context = torch.cat([context[:, 1:], self._guess(batch, predicted.detach())[:, None]], dim=1)
        return torch.stack(losses).mean()


class PlainFit:
    """Updates of the whole denoiser in float32: frames are encoded for every batch, nothing is compiled or cached."""

    def __init__(self, model: LatentWorldModel, config: FitConfig, reader: BufferReader, device: str) -> None:
        self._model, self._config, self._reader, self._device = model.train(), config, reader, device
        model.autoencoder.requires_grad_(False)
        self._parameters: list[nn.Parameter] = list(model.denoiser.parameters())
        self._optimizer = torch.optim.AdamW(self._parameters, config.learning_rate, weight_decay=config.weight_decay)
        self._average = EMAModel(self._parameters, decay=config.ema_decay)
        self._losses = StepByStep(model, sampled_share=config.sampled_share)
        self._windows = WindowSampler(reader, model.context, config.unroll)
        self._rng = np.random.default_rng(0)

    def fit(self, steps: int) -> None:
        """Take so many updates."""
        for _ in range(steps):
            self.update(self.draw())

    def draw(self) -> Segment:
        """A batch of windows, as frames."""
        batch = self._windows.sample(self._config.batch_size, self._rng)
        return segment(self._reader, batch).to(torch.device(self._device))

    def update(self, batch: Segment) -> None:
        """Take one update; frames are encoded where the batch has no latents."""
        self._optimizer.zero_grad()
        self._losses.denoising(batch).backward()
        nn.utils.clip_grad_norm_(self._parameters, self._config.max_grad_norm)
        self._optimizer.step()
        self._average.step(self._parameters)
