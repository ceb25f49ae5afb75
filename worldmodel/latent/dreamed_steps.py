"""Steps of dreams that ran free under recorded actions, for the head to learn from."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from worldmodel.data.segment import Segment, join
from worldmodel.latent.model import LatentWorldModel

SEEN = 2
"""frames that the head sees before the one that comes"""
PAST = 3
"""steps that a dream goes on past a game's end"""
_BATCH = 128


@dataclass(frozen=True, eq=False)
class DreamedSteps:
    """Steps cut out of dreams: windows of `SEEN` frames, the newest dreamed but where the context ends, and the next.

    Attributes:
        at: The steps that were asked for.
        past: Those after each of them that ended a game, `PAST` times as many: all first ones, then all second ones.
        over: bool, (batch,): which ended a game.
    """

    at: Segment
    past: Segment
    over: Tensor


@torch.no_grad()
def dream_steps(model: LatentWorldModel, segment: Segment, position: Tensor) -> DreamedSteps:
    """Dream from the windows' contexts and cut out single steps, as the head sees them.

    A dream that misses its end goes where no game has been, and there nobody can learn from play. So the steps past an
    end are in it too, under actions of other windows, and bring what the end brought: a dream past its end is over.

    Args:
        model: Who dreams.
        segment: Windows with latents; at least `PAST` steps longer than any position.
        position: int64, (batch,): which step to cut out, counted from the first that is to be predicted.
    """
    latents, mask = segment.latents, segment.mask.clone()
    assert latents is not None
    mask[:, segment.context :] = True
    actions = _going_on(segment)
    parts = zip(latents.split(_BATCH), model.known(actions, mask).split(_BATCH), strict=True)
    played_on = replace(segment, actions=actions, latents=torch.cat([free_run(model, *part) for part in parts]))
    rows, step = torch.arange(len(position), device=position.device), segment.context - 1 + position
    over = segment.terminated[rows, step] & ~segment.mask[rows, step + 2]
    past = [_over(_cut(played_on, rows[over], step[over] + k)) for k in range(1, PAST + 1)]
    return DreamedSteps(_cut(played_on, rows, step), join(past), over)


@torch.no_grad()
def ends_recalled(model: LatentWorldModel, dreamed: DreamedSteps) -> float:
    """The share of the games ended in `dreamed.at` whose dream has ended by `PAST` steps later, as expected."""
    going_on = 1 - _end_probability(model, dreamed.at)
    going_on[dreamed.over] *= (1 - _end_probability(model, dreamed.past)).view(PAST, -1).prod(0)
    return 1 - going_on.mean().item()


def _end_probability(model: LatentWorldModel, steps: Segment) -> Tensor:
    assert steps.latents is not None
    return model.head.end_probability(model.head(steps.latents, steps.actions[:, -1]))


@torch.no_grad()
def free_run(model: LatentWorldModel, latents: Tensor, history: Tensor) -> Tensor:
    """The window as dreamed on from its context; (batch, context + horizon, channels, h, w)."""
    dreamed = latents[:, : model.context]
    for now in range(model.context, latents.shape[1]):
        following = model.imagine(dreamed[:, -model.context :], history[:, now - model.context : now])
        dreamed = torch.cat([dreamed, following[:, None]], dim=1)
    return dreamed


def _going_on(segment: Segment) -> Tensor:
    """The windows' actions, and another window's where the game is over."""
    first = segment.context - 1
    over = ~segment.mask[:, 1:]
    over[:, :first] = False
    others = segment.actions[:, first].roll(1, 0)[:, None]
    return torch.where(over.view(*over.shape, *[1] * (others.ndim - 2)), others, segment.actions)


def _cut(segment: Segment, rows: Tensor, step: Tensor) -> Segment:
    """The windows of `SEEN` frames before `step` of `rows`, and the frame that it brings."""
    at = step[:, None] + torch.arange(1 - SEEN, 2, device=step.device)
    row, to, every = rows[:, None], at[:, :-1], segment.tensors()
    brought = {name: every[name][row, to] for name in ("actions", "rewards", "terminated", "truncated")}
    shown = {name: every[name][row, at] for name in ("mask", "latents")}
    return Segment(frames=segment.frames[:0], **brought, **shown, context=SEEN)


def _over(segment: Segment) -> Segment:
    """The same, with every step an end."""
    return replace(
        segment,
        rewards=torch.full_like(segment.rewards, torch.nan),
        terminated=torch.ones_like(segment.terminated),
        mask=torch.ones_like(segment.mask),
    )
