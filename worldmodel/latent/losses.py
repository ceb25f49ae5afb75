"""What the latent family is trained on."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from worldmodel.autotune import Network
from worldmodel.data.outcomes import Balance
from worldmodel.data.segment import Segment
from worldmodel.latent.conditioning import Conditioning
from worldmodel.latent.model import LatentWorldModel
from worldmodel.latent.shift import shift
from worldmodel.latent.unroll import Counted, Unroll, Unrolls

Weigh = Callable[[Tensor], Tensor]
"""Weights (batch,) of the denoising error at timesteps (int64, (batch,))."""


class _DenoisingBatch(NamedTuple):
    """What the denoiser is given of a batch of frames, and what it should predict.

    Attributes:
        noisy: The frames under noise, (batch, channels, h, w).
        timesteps: int64, (batch,).
        context: As in `Conditioning`.
        actions: As in `Conditioning`.
        level: As in `Conditioning`.
        target: The noise or velocity to predict, of the shape of `noisy`.
        newest: The newest latents that are seen.
        latents: Those of the frames, without noise.
        dropped: bool, (batch,): where the conditioning is withheld.
    """

    noisy: Tensor
    timesteps: Tensor
    context: Tensor
    actions: Tensor
    level: Tensor
    target: Tensor
    newest: Tensor
    latents: Tensor
    dropped: Tensor

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """The denoiser's arguments."""
        return self[:5]


class Learned(NamedTuple):
    """What comes of predicting a step of some unrolls.

    Attributes:
        losses: Scalars to add up and descend, by name.
        guesses: What the model makes of the next frame of each unroll, (batch, channels, h, w), without a gradient.
        errors: How far that was off, (batch,) for each unroll, without a gradient; nan where it was not predicted from
            the sampler's strongest noise, or without a context: that is not how dreams are made, and of less noise
            the noise itself is hard to tell, not the frame.
    """

    losses: dict[str, Tensor]
    guesses: tuple[Tensor, ...]
    errors: tuple[Tensor, ...]


_Outcomes = Callable[[Unroll, Tensor], dict[str, Tensor]]
"""Losses of what a step brings beside its picture; see `LatentLosses._outcomes`."""


def _nothing(unroll: Unroll, guess: Tensor) -> dict[str, Tensor]:
    """No such losses."""
    return {}


class LatentLosses:
    """Losses of a latent world model.

    A batch is taken in parts, one after another, where memory is short: their losses add up to the whole batch's, and
    so do the gradients.
    """

    def __init__(
        self,
        model: LatentWorldModel,
        weigh: Weigh = torch.ones_like,
        sampled_share: float = 0.5,
        denoise: Network | None = None,
    ) -> None:
        """Losses of `model`.

        Args:
            model: Whose.
            weigh: Says how much each noise level counts; by default all alike.
            sampled_share: Share of the predictions made from noise levels that the sampler uses, the others from any.
            denoise: The model's denoiser in another way of computing it; None: as it is.
        """
        self._model = model
        self._denoise = model.denoiser if denoise is None else denoise
        self._weigh = weigh
        self._sampled_share = sampled_share

    def of_windows(self, segment: Segment) -> dict[str, Tensor]:
        """Denoising, reward and termination losses of windows, unrolled over the model's own predictions.

        The first prediction sees real latents, the later ones what the model itself predicted (detached), with the
        real next latent as target: the drift of a dream is trained away where it begins.

        Returns:
            Scalars to add up and descend, by name.
        """
        unroll, terms = self.begin(segment), []
        while not unroll.over:
            learned = self._predict([unroll], self._outcomes)
            unroll = unroll.on(*learned.guesses)
            terms.append(learned.losses)
        return _mean(terms)

    def begin(self, segment: Segment, first: Tensor | None = None) -> Unroll:
        """Windows of which no frame is predicted yet; a share of them shifted, if that is how the model is trained.

        Args:
            segment: The windows.
            first: As in `Unroll`.
        """
        latents, moved = shift(self._latents(segment), self._model.config.shift, segment.beside)
        there, context = segment.mask[:, segment.context :], segment.context
        # What ends a game may depend on where it happens.
        judged = there & segment.mask[:, context - 1 : -1] & ~moved[:, None]
        return Unroll(
            windows=replace(segment, frames=segment.frames[:0], latents=latents, beside=None),
            history=self._model.known(segment.actions, segment.mask),
            dreamed=latents[:, :context],
            counted=Counted(judged, there.sum(0).clamp_min(1), 2 * judged.sum(0)),
            first=first,
        )

    @torch.no_grad()
    def ahead(self, unroll: Unroll, steps: int, parts: int = 1) -> Unroll:
        """The unroll so many steps further; `parts`: in how many parts its windows are taken, one after another."""
        for _ in range(steps):
            batch = self._next_batch(unroll)
            inputs = zip(*(tensor.tensor_split(parts) for tensor in batch.inputs), strict=True)
            unroll = unroll.on(self._guess(batch, torch.cat([self._denoise(*part) for part in inputs])))
        return unroll

    def of_unrolls(self, unrolls: Unrolls, parts: int = 1) -> Iterator[Learned]:
        """As `of_windows`, but of the next step of every unroll; for every part of the batch."""
        return (self._predict(part.each, self._outcomes) for part in unrolls.parts(parts))

    def of_frames(self, unrolls: Unrolls, parts: int = 1) -> Iterator[Learned]:
        """The denoising losses of `of_unrolls` alone, where the head has a stage of its own."""
        return (self._predict(part.each, _nothing) for part in unrolls.parts(parts))

    def of_steps(self, segment: Segment, balance: Balance | None = None, parts: int = 1) -> Iterator[dict[str, Tensor]]:
        """The head's losses on single steps, real or dreamed: the first to be predicted in each window.

        Args:
            segment: Windows that show at least two frames.
            balance: How they were drawn, if not as in play.
            parts: In how many parts to take the batch.

        Yields:
            Scalars to add up and descend, by name, for every part of the batch.
        """
        step = segment.context - 1
        known = replace(segment, frames=segment.frames[:0], latents=self._latents(segment))
        count = (known.mask[:, step] & known.mask[:, step + 1]).sum()
        for part in known.parts(parts):
            assert part.latents is not None
            outcome = self._model.head(part.latents[:, step - 1 : step + 2], part.actions[:, step])
            there = part.mask[:, step] & part.mask[:, step + 1]
            rewards, terminated = part.rewards[:, step], part.terminated[:, step]
            yield self._model.head.losses(outcome, rewards, terminated, there, count, balance)

    def _predict(self, unrolls: Sequence[Unroll], outcomes: _Outcomes) -> Learned:
        """Predict the next step of every unroll, of all at once."""
        batch = _DenoisingBatch(*map(torch.cat, zip(*map(self._next_batch, unrolls), strict=True)))
        predicted = self._denoise(*batch.inputs)
        squared = (predicted - batch.target).square().mean((1, 2, 3))
        error = self._weigh(batch.timesteps) * squared
        as_dreamed = (batch.timesteps == int(self._model.sampler.timesteps[0])) & ~batch.dropped
        sizes = [len(unroll.dreamed) for unroll in unrolls]
        guesses, errors = self._guess(batch, predicted.detach()).split(sizes), error.split(sizes)
        terms = [
            {"denoising": _denoising(unroll, part)} | outcomes(unroll, guess)
            for unroll, part, guess in zip(unrolls, errors, guesses, strict=True)
        ]
        return Learned(_mean(terms), guesses, squared.detach().where(as_dreamed, torch.nan).split(sizes))

    def _next_batch(self, unroll: Unroll) -> _DenoisingBatch:
        now = unroll.windows.context + unroll.step
        return self._batch(
            unroll.dreamed[:, unroll.step :], unroll.history[:, unroll.step : now], unroll.latents[:, now]
        )

    @torch.no_grad()
    def _batch(self, context: Tensor, actions: Tensor, latents: Tensor) -> _DenoisingBatch:
        """Draw noise for the frames of these latents, and for their context."""
        model, batch, device = self._model, len(latents), latents.device
        strength = model.config.max_context_noise * torch.rand(batch, device=device)
        strength = strength * (torch.rand(batch, device=device) < 0.5)
        seen, level = model.add_context_noise(context, strength, torch.randn_like(context))
        timesteps = self._draw_timesteps(batch, device)
        # From the noisy newest latent, so that the change to predict also takes back what is wrong with it.
        clean = model.to_prediction(latents, seen[:, -1])
        noisy, target = model.sampler.add_noise(clean, torch.randn_like(clean), timesteps)
        conditioning, dropped = self._drop(model.conditioning(seen, actions, level))
        return _DenoisingBatch(noisy, timesteps, *conditioning, target, seen[:, -1], latents, dropped)

    @torch.no_grad()
    def _guess(self, batch: _DenoisingBatch, predicted: Tensor) -> Tensor:
        """The frames as predicted from their noise."""
        model = self._model
        guess = model.from_prediction(model.sampler.clean(batch.noisy, predicted, batch.timesteps), batch.newest)
        # A guess without a context is no step of this game: go on from what really came.
        return torch.where(batch.dropped.view(-1, 1, 1, 1), batch.latents, guess)

    def _outcomes(self, unroll: Unroll, guess: Tensor) -> dict[str, Tensor]:
        """The head's losses on the real next step and on the same step as the model dreamed it, half each."""
        windows, k = unroll.windows, unroll.step
        now = windows.context + k
        real, dreamed = unroll.latents[:, now - 2 : now + 1], unroll.on(guess).dreamed[:, -3:]
        rewards, terminated = windows.rewards[:, now - 1].repeat(2), windows.terminated[:, now - 1].repeat(2)
        outcome = self._model.head(torch.cat([real, dreamed]), torch.cat(2 * [windows.actions[:, now - 1]]))
        judged, count = unroll.counted.judged[:, k].repeat(2), unroll.counted.outcomes[k]
        return self._model.head.losses(outcome, rewards, terminated, judged, count)

    @torch.no_grad()
    def _latents(self, segment: Segment) -> Tensor:
        if segment.latents is not None:
            return segment.latents
        return self._model.autoencoder.encode(segment.frames.flatten(0, 1)).unflatten(0, segment.mask.shape)

    def _draw_timesteps(self, batch: int, device: torch.device) -> Tensor:
        """A share of them those that the sampler uses, the others uniform."""
        sampler = self._model.sampler
        used = sampler.timesteps_on(device)[torch.randint(len(sampler.timesteps), (batch,), device=device)]
        uniform = torch.randint(len(sampler.alphas_cumprod), (batch,), device=device)
        return torch.where(torch.rand(batch, device=device) < self._sampled_share, used, uniform)

    def _drop(self, conditioning: Conditioning) -> tuple[Conditioning, Tensor]:
        """The conditioning, withheld from a share of the windows, and from which (bool, (batch,))."""
        share, batch, device = self._model.config.context_dropout, len(conditioning.level), conditioning.level.device
        if not share:
            return conditioning, torch.zeros(batch, dtype=torch.bool, device=device)
        dropped = torch.rand(batch, device=device) < share
        return conditioning.where(~dropped, self._model.null(conditioning)), dropped


def _denoising(unroll: Unroll, error: Tensor) -> Tensor:
    """The mean of the errors (batch,) of those frames that were played."""
    return (error * unroll.there).sum() / unroll.counted.frames[unroll.step]


def _mean(terms: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.stack([term[name] for term in terms]).mean() for name in terms[0]}
