"""Fitting the latent family to a buffer."""

from collections import defaultdict
from collections.abc import Iterator
from contextlib import nullcontext

import numpy as np
import torch
from diffusers.training_utils import EMAModel
from torch import Tensor, nn

from worldmodel.data.reader import BufferReader
from worldmodel.data.segment import Segment
from worldmodel.data.windows import WindowSampler
from worldmodel.errors import UserError
from worldmodel.fitting import FitConfig, Stage
from worldmodel.latent.latent_cache import LatentCache
from worldmodel.latent.model import LatentWorldModel
from worldmodel.latent.pictures import Pictures


class LatentFitter:
    """Fits a model in stages: first the autoencoder and the whole dynamics, in later rounds the adapter alone.

    A stage is complete in itself: it has its own optimiser and course of the learning rate and ends by adopting the
    averaged weights. So all that has to be kept between rounds is the model.
    """

    def __init__(self, model: LatentWorldModel, config: FitConfig, reader: BufferReader, device: torch.device) -> None:
        self.model = model.to(device)
        self.config = config
        self._reader = reader
        self._device = device
        self._cache = LatentCache(reader, model.autoencoder, device)
        self._windows = WindowSampler(reader, model.context, config.unroll)
        self._dreams = WindowSampler(reader, model.context, config.dream)
        self._ever_trained: dict[int, int] = {}

    def stages(self, first: bool) -> list[Stage]:
        """What a round consists of; `first` says whether the model is still untrained."""
        self._ever_trained.clear()
        config = self.config
        if first:
            dynamics = [Stage("autoencoder", config.autoencoder_steps), Stage("dynamics", config.first_steps)]
        else:
            dynamics = [Stage("adapter", config.steps)]
        return [*dynamics, Stage("head", config.head_steps)]

    def begin(self, stage: Stage, seed: int) -> None:
        """Prepare a stage; everything drawn in it follows from `seed`."""
        self._rng = np.random.default_rng(seed)
        torch.manual_seed(seed)
        self._stage = stage
        self._reader.refresh()
        if stage.name == "autoencoder":
            self._pictures = Pictures(self._reader, self._rng)
        elif stage.name == "adapter":
            self.model.adapt()
        self.model.to(self._device)
        self._optimise(
            self.config.autoencoder_learning_rate if stage.name == "autoencoder" else self.config.learning_rate
        )
        if stage.name != "autoencoder":
            self._cache.extend()

    def fit(self, steps: int) -> dict[str, float]:
        """Take `steps` updates of the stage.

        Returns:
            The mean of every loss.

        Raises:
            UserError: If a loss is not finite; the model is spoiled then, and the last saved one has to take its place.
        """
        self.model.train()
        sums: dict[str, Tensor] = defaultdict(lambda: torch.zeros((), device=self._device))
        for _ in range(steps):
            for name, value in self._update().items():
                sums[name] += value
        return {name: self._finite(name, total.item() / steps) for name, total in sums.items()}

    def finish(self) -> None:
        """End the stage: adopt the averaged weights and, after the autoencoder, measure its latents."""
        self._ema.copy_to(self._trained)
        self.model.eval()
        if self._stage.name == "autoencoder":
            self._cache.clear()
            self.model.autoencoder.standardise(*self._raw_pairs())

    def trained_parameters(self) -> int:
        """How many numbers this round's stages have trained so far, each counted once."""
        return sum(self._ever_trained.values())

    def _optimise(self, rate: float) -> None:
        for parameter in self.model.autoencoder.parameters():
            parameter.requires_grad_(self._stage.name == "autoencoder")
        self._trained = list(self._parts())
        self._ever_trained |= {id(parameter): parameter.numel() for parameter in self._trained}
        self._optimizer = torch.optim.AdamW(self._trained, rate, weight_decay=self.config.weight_decay)
        total = max(self._stage.steps, 2)
        self._course = torch.optim.lr_scheduler.OneCycleLR(self._optimizer, rate, total_steps=total, pct_start=0.1)
        self._ema = EMAModel(self._trained, decay=self.config.ema_decay, use_ema_warmup=True, power=3 / 4)

    def _parts(self) -> Iterator[nn.Parameter]:
        model = self.model
        alone: dict[str, list[nn.Module]] = {"autoencoder": [model.autoencoder], "head": [model.head]}
        parts = alone.get(self._stage.name, [model.denoiser, model.head])
        return (parameter for part in parts for parameter in _by_name(part) if parameter.requires_grad)

    def _update(self) -> dict[str, Tensor]:
        losses = self._losses()
        total = torch.stack(list(losses.values())).sum()
        self._optimizer.zero_grad(set_to_none=True)
        total.backward()
        nn.utils.clip_grad_norm_(self._trained, self.config.max_grad_norm)
        self._optimizer.step()
        self._course.step()
        self._ema.step(self._trained)
        return {name: value.detach() for name, value in losses.items()}

    def _losses(self) -> dict[str, Tensor]:
        if self._stage.name == "autoencoder":
            return self._reconstruction()
        if self._stage.name == "head":
            return self.model.outcome_losses(self._segment(self._dreams))
        return self.model.losses(self._segment(self._windows))

    def _reconstruction(self) -> dict[str, Tensor]:
        frames, weight = self._pictures.sample(self.config.batch_size, self._rng)
        with torch.autocast(self._device.type, torch.bfloat16) if self.config.bf16 else nullcontext():
            loss = self.model.autoencoder.reconstruction_loss(frames.to(self._device), weight.to(self._device))
        return {"reconstruction": loss}

    def _segment(self, sampler: WindowSampler) -> Segment:
        windows, device = sampler.sample(self.config.batch_size, self._rng), self._device
        return Segment(
            frames=torch.empty(0, dtype=torch.uint8),
            actions=torch.from_numpy(windows.actions).to(device),
            rewards=torch.from_numpy(windows.rewards).to(device),
            terminated=torch.from_numpy(windows.terminated).to(device),
            truncated=torch.from_numpy(windows.truncated).to(device),
            mask=torch.from_numpy(windows.mask).to(device),
            context=windows.context,
            latents=self._cache[torch.from_numpy(windows.frame_ids).to(device)],
        )

    def _raw_pairs(self) -> tuple[Tensor, Tensor]:
        """Raw latents of 512 training frames, and of the frames that follow them."""
        windows = WindowSampler(self._reader, 1, 1).sample(512, self._rng)
        frames = torch.from_numpy(self._reader.frames(windows.frame_ids))
        raw = torch.cat([self.model.autoencoder.raw(part.to(self._device)) for part in frames.flatten(0, 1).split(256)])
        now, after = raw.unflatten(0, (-1, 2)).unbind(1)
        return now, after

    def _finite(self, name: str, value: float) -> float:
        if not np.isfinite(value):
            raise UserError(f"the {name} loss became {value}: lower fit.learning-rate and resume the run.")
        return value


def _by_name(part: nn.Module) -> list[nn.Parameter]:
    """Its parameters in the order of their names.

    A model that was read from disk may have its modules in another order, which the last bits of a gradient's norm see.
    """
    named = dict(part.named_parameters())
    return [named[name] for name in sorted(named)]
