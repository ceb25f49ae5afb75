"""Fitting the latent family to a buffer."""

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from worldmodel.autotune import Backend, Network, autotune_training, computes_bf16
from worldmodel.data.outcomes import OutcomeSampler
from worldmodel.data.reader import BufferReader
from worldmodel.data.segment import Segment, join
from worldmodel.data.windows import Windows, WindowSampler
from worldmodel.doubt import measure_familiarity
from worldmodel.fitting import FitConfig, Precision, Stage, check_optimizer
from worldmodel.latent.adapter import recompute_activations
from worldmodel.latent.dreamed_steps import PAST, SEEN, dream_steps
from worldmodel.latent.hard_steps import HardSteps
from worldmodel.latent.latent_cache import LatentCache
from worldmodel.latent.losses import LatentLosses
from worldmodel.latent.measures import measure_left_out, measure_recall
from worldmodel.latent.model import LatentWorldModel
from worldmodel.latent.pictures import PictureBatch, Pictures
from worldmodel.latent.unroll import Unroll, Unrolls
from worldmodel.latent.weighting import LossWeight
from worldmodel.optimization import Optimization
from worldmodel.updates import Updates
from worldmodel.watch import LossWatch

_PICTURE_PARTS = {"autoencoder": ("",), "decoder": ("vae.decoder.", "vae.post_quant_conv.")}
"""Stages that are fitted to single frames, and how the names of what they train begin in the autoencoder."""
_REACH_FRAMES = 256
"""frames whose latents say how far latents may reach"""


class LatentFitter(Updates[Unrolls | Segment | PictureBatch]):
    """Fits a model in stages: first the autoencoder and the whole dynamics, in later rounds the adapter alone.

    With a base there is no autoencoder to fit, and the dynamics are an adapter's from the first round on. The latents
    of somebody else's base are measured and its decoder is fitted to the game, which leaves the latents as they are; of
    a base of our own, only how far the game's latents change is measured, unless a decoder fit is asked for.

    A stage is complete in itself: it has its own optimiser and learning-rate schedule and ends by taking the
    averaged weights. So all that has to be kept between rounds is the model.
    """

    model: LatentWorldModel
    _under_way: Sequence[Unroll]

    def __init__(
        self, model: LatentWorldModel, config: FitConfig, reader: BufferReader, device: torch.device, failures: Path
    ) -> None:
        """Fit `model` to what `reader` reads; a batch that spoils a fit is kept in the folder `failures`.

        Raises:
            UserError: If the optimiser needs a package that is not installed.
        """
        check_optimizer(config.optimizer)
        self.model = model.to(device)
        self.config = config
        self._reader = reader
        self._device = device
        self._failures = failures
        self._cache = LatentCache(reader, model.autoencoder, device)
        # Whole cells are shifted as latents; what lies between them has to be encoded.
        self._beside = LatentCache(reader, model.autoencoder, device, reach=model.autoencoder.scale // 2)
        self._windows = WindowSampler(reader, model.context, config.unroll)
        self._past = config.dream + PAST
        self._dreams = WindowSampler(reader, model.context, self._past)
        self._steps = WindowSampler(reader, SEEN, 1)
        self._outcomes = OutcomeSampler(reader, self._steps)
        self._ever_trained: dict[int, int] = {}
        self._denoise: Network = self.model.denoiser

    def stages(self, first: bool) -> list[Stage]:
        """What a round consists of; `first` says whether the model is still untrained."""
        self._ever_trained.clear()
        config, based = self.config, self.model.has_base
        whole = config.full or (first and not based)
        dynamics = Stage("dynamics" if whole else "adapter", config.first_steps if first else config.steps)
        head = [Stage("head", config.head_steps)] if config.head_steps else []
        return [*(self._picture_stages() if first else ()), dynamics, *head]

    def _picture_stages(self) -> Iterator[Stage]:
        foreign, config = self.model.knows_raw, self.config
        own = config.base_autoencoder_steps if self.model.has_base else config.autoencoder_steps
        yield Stage("autoencoder", own) if own and not foreign else Stage("latents", 0)
        as_autoencoder = config.autoencoder_steps if foreign else 0
        steps = as_autoencoder if config.decoder_steps is None else config.decoder_steps
        if steps:
            yield Stage("decoder", steps)

    def begin(self, stage: Stage, seed: int, progress: Callable[[], float] | None = None) -> None:
        """Prepare a stage; everything drawn in it follows from `seed`.

        Args:
            stage: Which.
            seed: What it draws from.
            progress: Tells how far the stage has come, 0 to 1, where that is no matter of `stage.steps`.
        """
        trained = self.prepare(stage, seed)
        if stage.makes_motion and self.config.precision == "auto":
            self._autotune(stage)
        # Small updates vanish in lower precision: what is trained is in float32 while it is.
        self._dtypes = [parameter.dtype for parameter in trained]
        self._keep_in([torch.float32] * len(trained))
        self._ever_trained |= {id(parameter): parameter.numel() for parameter in trained}
        self._optimization = Optimization(trained, self._rate(), stage.steps, self.config, self._device, progress)
        rate = f"{stage.name}-learning-rate" if stage.name in _PICTURE_PARTS else "learning-rate"
        self._watch = LossWatch(stage.name, seed, self._failures, self._device.type != "cpu", rate)

    def prepare(self, stage: Stage, seed: int) -> list[nn.Parameter]:
        """Prepare a stage for `losses`, for whoever takes the steps. Returns what the stage trains."""
        self._rng = np.random.default_rng(seed)
        torch.manual_seed(seed)
        self._stage = stage
        self._reader.refresh()
        if stage.name in _PICTURE_PARTS:
            self._pictures = Pictures(self._reader, self._rng, self.config.autoencoder_shift)
        elif stage.name == "adapter":
            self.model.adapt()
        self.model.to(self._device)
        if stage.name == "autoencoder":
            self.model.autoencoder.let_reach(self._pictures.sample(_REACH_FRAMES, self._rng).frames.to(self._device))
        recompute_activations(self.model.denoiser, self.config.checkpointing)
        self._trained = self._choose_trained()
        self._use_backend(self.model.denoiser)
        if stage.makes_dreams:
            self._cache.extend()
            if self.model.config.shift:
                self._beside.extend()
        if stage.name == "head":
            self._dreamed = self._dream()
        elif stage.makes_motion:
            self._hard = HardSteps(self._windows.num_steps, self._device)
            self._under_way = self._set_out()
        return self._trained

    def finish(self) -> None:
        """End the stage: adopt the averaged weights and, where they are new, measure the latents."""
        self._optimization.copy_ema()
        if isinstance(self._denoise, Backend):
            self._denoise.restore_layout()
        self._keep_in(self._dtypes)
        self.model.eval()
        if self._stage.makes_motion and self.model.config.scatter:
            measure_left_out(self.model, self._reader, self._segment)
        if self._fits_head:
            measure_familiarity(self.model.familiarity, self._reader, self._latents)
        if self._stage.makes_latents:
            self._measure(*self.raw_pairs())

    @property
    def _fits_head(self) -> bool:
        """Whether the head learns in this stage, alone or beside the dynamics."""
        return self._stage.name == "head" or (self._stage.makes_motion and not self.config.head_steps)

    def ends_recalled(self) -> float | None:
        """The share of held-out ends that free-running dreams come to; see `measure_recall`."""
        return measure_recall(self.model, self._reader, self._segment, self.config.dream)

    def encoded(self, frame_ids: NDArray[np.int64]) -> Tensor:
        """What `WorldModel.encode` makes of these frames, float32 (*frame_ids.shape, h, w, channels); from memory."""
        self._reader.refresh()
        self._cache.extend()
        assert frame_ids.min() >= self._reader.first_frame_id, "dropped since they were drawn"
        return self._cache[torch.from_numpy(frame_ids).to(self._device)].movedim(-3, -1)

    def trained_parameters(self) -> int:
        """How many numbers this round's stages have trained so far, each counted once."""
        return sum(self._ever_trained.values())

    def draw(self) -> Unrolls | Segment | PictureBatch:
        """A batch for the stage."""
        if self._stage.name in _PICTURE_PARTS:
            frames, weight = self._pictures.sample(self.config.batch_size, self._rng)
            return PictureBatch(frames.to(self._device), weight.to(self._device))
        if self._stage.name == "head":
            return self._steps_of_both_kinds()
        return Unrolls([self._begun(), *self._under_way])

    def _set_out(self) -> Sequence[Unroll]:
        """A unroll at every step but the first, so that the stage's first update is like all others."""
        steps, parts = range(1, self.config.unroll), self.config.accumulate
        with self._autocast():
            return [self._losses.ahead(self._begun(), step, parts) for step in steps]

    def _begun(self) -> Unroll:
        steps, before = self._to_predict()
        segment = self._shown_twice(self._windows.at(steps, before))
        first = steps - np.minimum(before, self._windows.where(steps)[1])
        return self._losses.begin(segment, torch.from_numpy(first).to(self._device))

    def _to_predict(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Steps as they come in play, a share of them rare and a share hard, and how many others to predict before."""
        config, rng = self.config, self._rng
        batch, rare = config.batch_size, round(config.rare_share * config.batch_size)
        # Both rounded up they could be more than the batch.
        hard = min(round(config.hard_share * batch), batch - rare)
        steps = self._windows.draw(batch, rng, config.recent_share)
        before = np.zeros_like(steps)
        chosen = rare + hard
        if rare:
            steps[:rare] = self._outcomes.rare(rare, rng)
        if hard:
            steps[rare:chosen] = self._hard.draw(hard, rng)
        if chosen:
            before[:chosen] = rng.integers(config.unroll, size=chosen)
        return steps, before

    def raw_pairs(self) -> tuple[Tensor, Tensor]:
        """Raw latents of 512 training frames, and of the frames that follow them."""
        windows = WindowSampler(self._reader, 1, 1).sample(512, self._rng)
        frames = torch.from_numpy(self._reader.frames(windows.frame_ids))
        raw = torch.cat([self.model.autoencoder.raw(part.to(self._device)) for part in frames.flatten(0, 1).split(256)])
        now, after = raw.unflatten(0, (-1, 2)).unbind(1)
        return now, after

    def _measure(self, raw: Tensor, following: Tensor) -> None:
        self._cache.clear()
        self._beside.clear()
        autoencoder = self.model.autoencoder
        # What a base of our own knows is latents as they were standardised when it was trained.
        keeps = self.model.has_base and not self.model.knows_raw
        (autoencoder.measure_change if keeps else autoencoder.standardise)(raw, following)

    def _choose_trained(self) -> list[nn.Parameter]:
        """What the stage trains; nothing else of the autoencoder takes gradients."""
        model, name = self.model, self._stage.name
        for part, parameter in model.autoencoder.named_parameters():
            parameter.requires_grad_(part.startswith(_PICTURE_PARTS.get(name, ())))
        fitted: dict[str, list[nn.Module]] = {
            "latents": [], "autoencoder": [model.autoencoder], "decoder": [model.autoencoder], "head": [model.head],
        }  # fmt: skip
        modules = fitted.get(name, [model.denoiser] if self.config.head_steps else [model.denoiser, model.head])
        return [parameter for module in modules for parameter in _by_name(module) if parameter.requires_grad]

    def _keep_in(self, dtypes: list[torch.dtype]) -> None:
        for parameter, dtype in zip(self._trained, dtypes, strict=True):
            parameter.data = parameter.data.to(dtype)

    def _autotune(self, stage: Stage) -> None:
        """Let a long stage compute the denoiser by the fastest backend; what training draws stays as it was."""
        self.model.train()
        drawn, under_way, hard = self._rng, self._under_way, self._hard
        self._rng, self._hard = copy.deepcopy((drawn, hard))
        network, known = self.model.denoiser, self._denoise
        self._denoise = autotune_training(network, known, self.draw, self._losses_of, stage.steps)
        self._rng, self._under_way, self._hard = drawn, under_way, hard
        self._use_backend(self._denoise)

    def _losses_of(self, backend: Network, batch: Unrolls | Segment | PictureBatch) -> Iterator[dict[str, Tensor]]:
        self._use_backend(backend)
        return self.losses(batch)

    def _use_backend(self, backend: Network) -> None:
        weigh = LossWeight(self.config.weighting, self.config.snr_gamma, self.model.scheduler)
        self._losses = LatentLosses(self.model, weigh, self.config.sampled_share, backend)

    def _rate(self) -> float:
        config = self.config
        rates = {"autoencoder": config.autoencoder_learning_rate, "decoder": config.decoder_learning_rate}
        return rates.get(self._stage.name, config.learning_rate)

    def _losses_in_parts(self, batch: Unrolls | Segment | PictureBatch) -> Iterator[dict[str, Tensor]]:
        parts = self.config.accumulate
        if isinstance(batch, PictureBatch):
            return self._reconstructions(batch, parts)
        if isinstance(batch, Segment):
            return self._losses.of_steps(batch, self._outcomes.balance, parts)
        return self._next_steps(batch, parts)

    def _next_steps(self, unrolls: Unrolls, parts: int) -> Iterator[dict[str, Tensor]]:
        """The losses of the unrolls' next steps; the next batch goes on from what the model makes of them."""
        guesses, errors = [], []
        for learned in (self._losses.of_frames if self.config.head_steps else self._losses.of_unrolls)(unrolls, parts):
            guesses.append(learned.guesses)
            errors.append(learned.errors)
            yield learned.losses
        if self.config.hard_share:
            for unroll, error in zip(unrolls.each, zip(*errors, strict=True), strict=True):
                assert unroll.first is not None
                self._hard.note(unroll.first + unroll.step, torch.cat(error), unroll.there)
        ahead = [
            unroll.on(torch.cat(guess)) for unroll, guess in zip(unrolls.each, zip(*guesses, strict=True), strict=True)
        ]
        self._under_way = [unroll for unroll in ahead if not unroll.over]

    def _reconstructions(self, batch: PictureBatch, parts: int) -> Iterator[dict[str, Tensor]]:
        for frames, weight in zip(*(tensor.tensor_split(parts) for tensor in batch), strict=True):
            share = len(frames) / len(batch.frames)
            yield {"reconstruction": share * self.model.autoencoder.reconstruction_loss(frames, weight)}

    def _arithmetic(self) -> Precision:
        asked, lower = self.config.precision, self.config.bf16 and computes_bf16(self._device)
        if self._stage.name in _PICTURE_PARTS:
            return "bf16" if lower or self.model.config.base.dtype == "bfloat16" else "fp32"
        return "bf16" if self._stage.name == "head" and lower and asked != "fp16" else asked

    def _steps_of_both_kinds(self) -> Segment:
        """Real steps and dreamed ones, half each."""
        half = self.config.head_batch_size // 2
        real = self._moved(self._steps.at(self._outcomes.sample(half, self._rng)))
        chosen = torch.from_numpy(self._rng.integers(len(self._dreamed.mask), size=half)).to(self._device)
        return join([real, self._dreamed[chosen]])

    def _dream(self) -> Segment:
        """Steps of the same kinds, each at the end of a dream of another length."""
        self.model.eval()
        config = self.config
        steps = self._outcomes.sample(config.head_dreams, self._rng)
        before = np.minimum(self._rng.integers(config.dream, size=len(steps)), self._dreams.where(steps)[1])
        windows = self._moved(self._dreams.at(steps, before))
        dreamed = dream_steps(self.model, windows, torch.from_numpy(before).to(self._device))
        return join([dreamed.at, dreamed.past])

    def _shown_twice(self, windows: Windows) -> Segment:
        """The windows as they were played and, if windows are shifted in training, from beside it."""
        segment = self._segment(windows)
        if not self.model.config.shift:
            return segment
        return replace(segment, beside=self._beside[torch.from_numpy(windows.frame_ids).to(self._device)])

    def _moved(self, windows: Windows) -> Segment:
        """The windows, a share of them seen from beside: what an end looks like hardly depends on a few pixels."""
        segment = self._shown_twice(windows)
        if segment.beside is None:
            return segment
        assert segment.latents is not None
        moved = torch.rand(len(segment.mask), 1, 1, 1, 1, device=self._device) < self.model.config.shift
        return replace(segment, latents=torch.where(moved, segment.beside, segment.latents), beside=None)

    def _latents(self, windows: Windows) -> Tensor:
        return self._cache[torch.from_numpy(windows.frame_ids).to(self._device)]

    def _segment(self, windows: Windows) -> Segment:
        device = self._device
        return Segment(
            frames=torch.empty(0, dtype=torch.uint8),
            actions=torch.from_numpy(windows.actions).to(device),
            rewards=torch.from_numpy(windows.rewards).to(device),
            terminated=torch.from_numpy(windows.terminated).to(device),
            truncated=torch.from_numpy(windows.truncated).to(device),
            mask=torch.from_numpy(windows.mask).to(device),
            context=windows.context,
            latents=self._latents(windows),
        )


def _by_name(part: nn.Module) -> list[nn.Parameter]:
    """Its parameters in the order of their names.

    A model that was read from disk may have its modules in another order, which the last bits of a gradient's norm see.
    """
    named = dict(part.named_parameters())
    return [named[name] for name in sorted(named)]
