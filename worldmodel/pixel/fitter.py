"""Fitting the pixel family to a buffer."""

import copy
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from worldmodel.autotune import Backend, Network, autotune_training
from worldmodel.data.reader import BufferReader
from worldmodel.data.segment import Segment
from worldmodel.data.windows import Windows, WindowSampler, segment
from worldmodel.doubt import measure_familiarity
from worldmodel.fitting import FitConfig, Precision, Stage, check_optimizer
from worldmodel.optimization import Optimization
from worldmodel.pixel.blocks import recompute_activations
from worldmodel.pixel.losses import PixelLosses
from worldmodel.pixel.model import PixelWorldModel
from worldmodel.updates import Updates
from worldmodel.watch import LossWatch


class PixelFitter(Updates[Segment]):
    """Fits a model in two stages a round, the denoiser and then the outcome network, each whole.

    A stage is complete in itself: it has its own optimiser and learning-rate schedule and ends by taking the
    averaged weights. So all that has to be kept between rounds is the model.
    """

    model: PixelWorldModel

    def __init__(
        self, model: PixelWorldModel, config: FitConfig, reader: BufferReader, device: torch.device, failures: Path
    ) -> None:
        """Fit `model` to what `reader` reads; a batch that spoils a fit is kept in the folder `failures`.

        Raises:
            UserError: If the optimiser needs a package that is not installed.
        """
        check_optimizer(config.optimizer)
        self.model = model.to(device)
        self.config = config
        self._reader, self._device, self._failures = reader, device, failures
        self._losses = PixelLosses(model)
        self._backends: dict[str, Network] = {}
        self._denoised = WindowSampler(reader, model.context, config.unroll)
        self._judged = WindowSampler(reader, model.context, config.dream)

    def stages(self, first: bool) -> list[Stage]:
        """What a round consists of; `first` says whether the model is still untrained."""
        steps = self.config.first_steps if first else self.config.steps
        return [Stage("denoiser", steps), Stage("outcomes", steps)]

    def begin(self, stage: Stage, seed: int) -> None:
        """Prepare a stage; everything drawn in it follows from `seed`."""
        self._rng = np.random.default_rng(seed)
        torch.manual_seed(seed)
        self._stage = stage
        self._reader.refresh()
        self.model.train()
        recompute_activations(self.model, self.config.checkpointing)
        if self.config.precision == "auto":
            self._autotune(stage)
        trained = list(self._trained.parameters())
        self._optimization = Optimization(trained, self.config.learning_rate, stage.steps, self.config, self._device)
        self._watch = LossWatch(stage.name, seed, self._failures, patient=self._device.type != "cpu")

    def finish(self) -> None:
        """End the stage: adopt the averaged weights, and after the first learn what is familiar."""
        self._optimization.copy_ema()
        if self._stage.name == "denoiser":
            measure_familiarity(self.model.familiarity, self._reader, self._small)
        if isinstance(backend := self._backends.get(self._stage.name), Backend):
            backend.restore_layout()
        self.model.eval()

    def trained_parameters(self) -> int:
        """How many numbers a round trains: all there are."""
        return sum(parameter.numel() for parameter in self.model.parameters())

    def ends_recalled(self) -> float | None:
        """None: as in DIAMOND, a fit is as long as it is told to be."""
        return None

    @property
    def _trained(self) -> nn.Module:
        return self.model.denoiser if self._stage.name == "denoiser" else self.model.outcomes

    def _autotune(self, stage: Stage) -> None:
        """Let a long stage compute its network by the fastest backend; what training draws stays as it was."""
        drawn, self._rng = self._rng, copy.deepcopy(self._rng)
        known = self._backends.get(stage.name)
        self._take(autotune_training(self._trained, known, self.draw, self._losses_of, stage.steps))
        self._rng = drawn

    def _losses_of(self, backend: Network, batch: Segment) -> Iterator[dict[str, Tensor]]:
        self._take(backend)
        return self.losses(batch)

    def _take(self, backend: Network) -> None:
        self._backends[self._stage.name] = backend
        self._losses = PixelLosses(self.model, self._backends.get("denoiser"), self._backends.get("outcomes"))

    def encoded(self, frame_ids: NDArray[np.int64]) -> None:
        """Nothing: dreams of this family begin from the frames themselves."""

    def draw(self) -> Segment:
        """A batch for the stage."""
        denoises, batch = self._stage.name == "denoiser", self.config.batch_size
        sampler = self._denoised if denoises else self._judged
        # Ends are learned at the rate at which they are played.
        steps = sampler.draw(batch, self._rng, self.config.recent_share if denoises else 0.0)
        return segment(self._reader, sampler.at(steps)).to(self._device)

    def _small(self, windows: Windows) -> Tensor:
        play = segment(self._reader, windows).to(self._device)
        return self.model.small(self.model.seen(play.frames, play.mask))

    def _losses_in_parts(self, batch: Segment) -> Iterator[dict[str, Tensor]]:
        denoises = self._stage.name == "denoiser"
        return (self._losses.of_frames if denoises else self._losses.of_outcomes)(batch, self.config.accumulate)

    def _arithmetic(self) -> Precision:
        return self.config.precision
