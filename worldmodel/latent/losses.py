"""What the latent family is trained on."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from worldmodel.data.outcomes import Balance
from worldmodel.data.segment import Segment
from worldmodel.fastest import Network
from worldmodel.latent.model import LatentWorldModel
from worldmodel.latent.shift import shift
from worldmodel.latent.told import Told

Weigh = Callable[[Tensor], Tensor]
"""Weights (batch,) of the denoising error at timesteps (int64, (batch,))."""


@dataclass(frozen=True)
class _Counted:
    """What counts of a batch, or of a part of one whose `frames` and `outcomes` are then the whole batch's.

    Attributes:
        judged: bool, (batch, horizon): the steps whose outcome counts.
        frames: int64, (horizon,): how many frames count, at each step.
        outcomes: int64, (horizon,): how many outcomes count, real and dreamed.
    """

    judged: Tensor
    frames: Tensor
    outcomes: Tensor


class _Asked(NamedTuple):
    """What the denoiser is asked of a batch of frames, and what it should answer.

    Attributes:
        noisy: The frames under noise.
        timesteps: int64, (batch,).
        context: As in `Told`.
        actions: As in `Told`.
        level: As in `Told`.
        answer: What is to be predicted, of the shape of `noisy`.
        newest: The newest latents that are seen.
        target: The latents of the frames.
        dropped: bool, (batch,): where nothing is told.
    """

    noisy: Tensor
    timesteps: Tensor
    context: Tensor
    actions: Tensor
    level: Tensor
    answer: Tensor
    newest: Tensor
    target: Tensor
    dropped: Tensor

    @property
    def question(self) -> tuple[Tensor, ...]:
        """The denoiser's arguments."""
        return self[:5]


_Outcomes = Callable[[Segment, Tensor, int, _Counted], dict[str, Tensor]]
"""Losses of what a step brings beside its picture; see `LatentLosses._outcomes`."""


def _nothing(segment: Segment, pictures: Tensor, k: int, counted: _Counted) -> dict[str, Tensor]:
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

    def of_windows(self, segment: Segment, parts: int = 1) -> Iterator[dict[str, Tensor]]:
        """Denoising, reward and termination losses of windows, unrolled over the model's own predictions.

        The first prediction sees real latents, the later ones what the model itself predicted (detached), with the
        real next latent as target: the drift of a dream is trained away where it begins.

        Yields:
            Scalars to add up and descend, by name, for every part of the batch.
        """
        return self._in_parts(segment, parts, self._outcomes)

    def of_frames(self, segment: Segment, parts: int = 1) -> Iterator[dict[str, Tensor]]:
        """The denoising losses of `of_windows` alone, where the head has a stage of its own."""
        return self._in_parts(segment, parts, _nothing)

    def _in_parts(self, segment: Segment, parts: int, outcomes: _Outcomes) -> Iterator[dict[str, Tensor]]:
        latents, moved = shift(self._latents(segment), self._model.config.shift, segment.beside)
        there = segment.mask[:, segment.context :]
        # What ends a game may depend on where it happens.
        judged = there & segment.mask[:, segment.context - 1 : -1] & ~moved[:, None]
        for rows in _rows(len(latents), parts):
            counted = _Counted(judged[rows], there.sum(0).clamp_min(1), 2 * judged.sum(0))
            yield self._unrolled(segment[rows], latents[rows], counted, outcomes)

    def of_steps(self, segment: Segment, balance: Balance | None = None, parts: int = 1) -> Iterator[dict[str, Tensor]]:
        """The head's losses on single steps, real or dreamed: the first to be predicted in each window.

        Args:
            segment: Windows that show at least two frames.
            balance: How they were drawn, if not as in play.
            parts: In how many parts to take the batch.

        Yields:
            As `of_windows`.
        """
        latents, step = self._latents(segment), segment.context - 1
        there = segment.mask[:, step] & segment.mask[:, step + 1]
        for rows in _rows(len(there), parts):
            outcome = self._model.head(latents[rows, step - 1 : step + 2], segment.actions[rows, step])
            told = segment.rewards[rows, step], segment.terminated[rows, step], there[rows], there.sum()
            yield self._model.head.losses(outcome, *told, balance)

    def _unrolled(self, segment: Segment, latents: Tensor, counted: _Counted, outcomes: _Outcomes) -> dict[str, Tensor]:
        asked = self._rehearse(segment, latents)
        predicted = self._denoise(*asked.question)
        error = self._weigh(asked.timesteps) * (predicted - asked.answer).square().mean((1, 2, 3))
        there = segment.mask[:, segment.context :].T
        denoising = (error.view(there.shape) * there).sum(1) / counted.frames
        guesses = self._guess(asked, predicted.detach()).unflatten(0, there.shape).transpose(0, 1)
        dreamed = torch.cat([latents[:, : segment.context], guesses], dim=1)
        terms: list[dict[str, Tensor]] = []
        for k in range(segment.horizon):
            last = slice(segment.context + k - 2, segment.context + k + 1)
            pictures = torch.cat([latents[:, last], dreamed[:, last]])
            terms.append({"denoising": denoising[k]} | outcomes(segment, pictures, k, counted))
        return {name: torch.stack([t[name] for t in terms]).mean() for name in terms[0]}

    @torch.no_grad()
    def _rehearse(self, segment: Segment, latents: Tensor) -> _Asked:
        """Dream along the windows to find what the denoiser has to be asked of every frame, those of each step in turn.

        No gradient passes from one guess to the next, so the steps can be learned from all at once: that costs a few
        more predictions, which need no gradient, and spares the small batches.
        """
        history = self._model.known(segment.actions, segment.mask)
        context = latents[:, : segment.context]
        asked: list[_Asked] = []
        for k in range(segment.horizon):
            if asked:
                guess = self._guess(asked[-1], self._denoise(*asked[-1].question))
                context = torch.cat([context[:, 1:], guess[:, None]], dim=1)
            now = segment.context + k
            asked.append(self._ask(context, history[:, k:now], latents[:, now]))
        return _Asked(*map(torch.cat, zip(*asked, strict=True)))

    def _ask(self, context: Tensor, actions: Tensor, target: Tensor) -> _Asked:
        """Draw what the denoiser is asked of the frame `target`."""
        model, batch, device = self._model, len(target), target.device
        strength = model.config.max_context_noise * torch.rand(batch, device=device)
        strength = strength * (torch.rand(batch, device=device) < 0.5)
        seen, level = model.shake(context, strength, torch.randn_like(context))
        timesteps = self._draw_timesteps(batch, device)
        # From the shaken newest latent, so that the change to predict also takes back what is wrong with it.
        clean = model.reduce(target, seen[:, -1])
        noisy, answer = model.sampler.add_noise(clean, torch.randn_like(clean), timesteps)
        told, dropped = self._withhold(model.told(seen, actions, level))
        return _Asked(noisy, timesteps, *told, answer=answer, newest=seen[:, -1], target=target, dropped=dropped)

    @torch.no_grad()
    def _guess(self, asked: _Asked, predicted: Tensor) -> Tensor:
        """The frames as predicted from their noise."""
        model = self._model
        guess = model.restore(model.sampler.clean(asked.noisy, predicted, asked.timesteps), asked.newest)
        # A guess without a context is no step of this game: go on from what really came.
        return torch.where(asked.dropped.view(-1, 1, 1, 1), asked.target, guess)

    def _outcomes(self, segment: Segment, pictures: Tensor, k: int, counted: _Counted) -> dict[str, Tensor]:
        """The head's losses on the real step `k` and on the same step as the model dreamed it, half each.

        Args:
            segment: The windows.
            pictures: The real and then the dreamed ones, (2 * batch, 3, channels, h, w).
            k: Which of the steps to be predicted.
            counted: What counts.
        """
        step = segment.context + k - 1
        rewards, terminated = segment.rewards[:, step].repeat(2), segment.terminated[:, step].repeat(2)
        outcome = self._model.head(pictures.detach(), torch.cat(2 * [segment.actions[:, step]]))
        return self._model.head.losses(
            outcome, rewards, terminated, counted.judged[:, k].repeat(2), counted.outcomes[k]
        )

    @torch.no_grad()
    def _latents(self, segment: Segment) -> Tensor:
        if segment.latents is not None:
            return segment.latents
        return self._model.autoencoder.encode(segment.frames.flatten(0, 1)).unflatten(0, segment.mask.shape)

    def _draw_timesteps(self, batch: int, device: torch.device) -> Tensor:
        """A share of them those that the sampler uses, the others uniform."""
        sampler = self._model.sampler
        used = sampler.timesteps.to(device)[torch.randint(len(sampler.timesteps), (batch,), device=device)]
        uniform = torch.randint(len(sampler.alphas), (batch,), device=device)
        return torch.where(torch.rand(batch, device=device) < self._sampled_share, used, uniform)

    def _withhold(self, told: Told) -> tuple[Told, Tensor]:
        """What is told, with nothing told to a share of the windows, and to which (bool, (batch,))."""
        share, batch = self._model.config.context_dropout, len(told.level)
        if not share:
            return told, torch.zeros(batch, dtype=torch.bool, device=told.level.device)
        dropped = torch.rand(batch, device=told.level.device) < share
        return told.where(~dropped, self._model.null(told)), dropped


def _rows(batch: int, parts: int) -> Iterator[slice]:
    """The rows of a batch in `parts` parts, as even as can be."""
    bounds = [batch * part // parts for part in range(parts + 1)]
    return (slice(begin, end) for begin, end in pairwise(bounds))
