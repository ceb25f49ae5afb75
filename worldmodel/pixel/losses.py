"""What the pixel family is trained on."""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional

from worldmodel.autotune import Network
from worldmodel.data.segment import Segment
from worldmodel.pixel.denoiser import draw_sigma
from worldmodel.pixel.model import PixelWorldModel


class PixelLosses:
    """Losses of a pixel world model (Alonso et al., 2024, sections 3.1 and 3.2).

    A batch is taken in parts, one after another, where memory is short: their losses add up to the whole batch's, and
    so do the gradients.
    """

    def __init__(self, model: PixelWorldModel, denoise: Network | None = None, tell: Network | None = None) -> None:
        """Losses of `model`.

        Args:
            model: Whose.
            denoise: The model's denoiser in another way of computing it; None: as it is.
            tell: Its outcome network in another way; None: as it is.
        """
        self._model = model
        self._denoise = denoise or model.denoiser
        self._tell = tell or model.outcomes

    def of_frames(self, segment: Segment, parts: int = 1) -> Iterator[dict[str, Tensor]]:
        """The denoising loss of windows, unrolled over the model's own predictions.

        The first prediction sees real frames, the later ones what the model itself predicted (in one call, detached),
        with the real next frame as target: the drift of a dream is trained away where it begins.

        Yields:
            Scalars to add up and descend, by name, for every part of the batch.
        """
        count = segment.mask[:, segment.context :].sum(0).clamp_min(1)
        for part in segment.parts(parts):
            yield {"denoising": self._unrolled(part, count)}

    def of_outcomes(self, segment: Segment, parts: int = 1) -> Iterator[dict[str, Tensor]]:
        """The losses of reward and end along real play.

        The context only fills the network's memory, as it does before a dream. Windows are drawn by what they have to
        predict, so the steps that count hold as many ends as the play does.

        Yields:
            As `of_frames`.
        """
        judged = (segment.mask[:, 1:] & segment.mask[:, :-1])[:, segment.context - 1 :]
        for part in segment.parts(parts):
            yield self._outcomes(part, judged.sum().clamp_min(1))

    def _unrolled(self, segment: Segment, count: Tensor) -> Tensor:
        frames = self._model.seen(segment.frames, segment.mask)
        actions = self._model.known(segment.actions, segment.mask)
        context = frames[:, : segment.context]
        losses = []
        for k in range(segment.horizon):
            now = segment.context + k
            error, predicted = self._denoising(context, actions[:, k:now], frames[:, now])
            losses.append((error * segment.mask[:, now]).sum() / count[k])
            context = torch.cat([context[:, 1:], predicted[:, None]], dim=1)
        return torch.stack(losses).mean()

    def _denoising(self, context: Tensor, actions: Tensor, frames: Tensor) -> tuple[Tensor, Tensor]:
        """The denoising error, (batch,), and the frames as predicted from that noise (detached)."""
        denoiser = self._model.denoiser
        sigma = draw_sigma(denoiser.noise, len(frames), frames.device)
        common = torch.randn_like(frames[..., :1, :1])
        noisy = frames + sigma.view(-1, 1, 1, 1) * torch.randn_like(frames) + denoiser.noise.offset * common
        output, c = self._denoise(noisy, sigma, context, actions), denoiser.preconditioning(sigma)
        error = (output - (frames - c.c_skip * noisy) / c.c_out).square().mean((1, 2, 3))
        return error, denoiser.clean(noisy, output.detach(), sigma)

    def _outcomes(self, segment: Segment, count: Tensor) -> dict[str, Tensor]:
        model, first = self._model, segment.context - 1
        actions = model.known(segment.actions, segment.mask)
        outcome, _ = self._tell(model.seen(segment.frames, segment.mask), actions)
        judged = (segment.mask[:, 1:] & segment.mask[:, :-1])[:, first:]
        signs = segment.rewards[:, first:].sign().long() + 1
        ends = segment.terminated[:, first:].long()
        return {
            "reward": _cross_entropy(outcome.rewards[:, first:], signs, judged) / count,
            "termination": _cross_entropy(outcome.ends[:, first:], ends, judged) / count,
        }


def _cross_entropy(logits: Tensor, classes: Tensor, judged: Tensor) -> Tensor:
    """Summed over what is `judged`, bool (batch, time)."""
    return (functional.cross_entropy(logits.transpose(1, 2), classes, reduction="none") * judged).sum()
