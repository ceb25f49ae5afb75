"""Rewards and ends that a model tells, held against those of held-out play."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from worldmodel.base import Step, WorldModel
from worldmodel.data.reader import BufferReader
from worldmodel.data.segment import Segment
from worldmodel.data.windows import WindowSampler, segment
from worldmodel.metrics.events import Foretold, foretold, free_ends, until_first
from worldmodel.metrics.replay import Replay, join_outcomes

_BATCH = 64


@dataclass(frozen=True)
class OutcomeScores:
    """Ends and rewards, as they were told and as they were.

    Attributes:
        source: What they were told from.
        events: The end, and rewards above and below 0, each beside its baseline.
        reward_error: Mean absolute error of the reward that was paid.
        constant_error: The same of the median real reward, paid at every step.
    """

    source: str
    events: tuple[Foretold, ...]
    reward_error: float
    constant_error: float


@torch.no_grad()
def held_out_outcomes(model: WorldModel, reader: BufferReader, steps: int, seed: int) -> tuple[OutcomeScores, ...]:
    """Score at most `steps` steps of held-out play, none twice, each told in two ways.

    From the real frames: how well the head reads them. From one dreamed step after real frames (teacher-forced): what
    the dreamed picture adds to that.

    Raises:
        UserError: If nothing is held out yet.
    """
    device = next(model.parameters()).device
    generator = torch.Generator(device).manual_seed(seed)
    told: list[tuple[Step, Step]] = []
    ends, rewards = [], []
    for given in _batches(reader, model.context, steps, seed):
        play = given.to(device)
        told.append((_read(model, play, generator), _dreamed(model, play, generator)))
        ends.append(play.terminated[:, -1])
        rewards.append(play.rewards[:, -1])
    terminated, paid = torch.cat(ends), torch.cat(rewards)
    read, dreamed = (join_outcomes(steps) for steps in zip(*told, strict=True))
    return tuple(
        _scored(source, foretold("end", step.end_probability, terminated), step.rewards, step.sign_probabilities, paid)
        for source, step in (("real frames", read), ("one dreamed step", dreamed))
    )


def free_outcomes(seen: Replay) -> OutcomeScores:
    """Score what a free-running dream told; rewards as long as neither the dream nor the game is over."""
    there, told = seen.mask[:, 1:], seen.outcomes
    end = foretold("end", *free_ends(told.end_probability, told.terminated, seen.terminated, there))
    both = there & until_first(told.terminated) & until_first(seen.terminated)
    signs = None if told.sign_probabilities is None else told.sign_probabilities[both]
    return _scored("free-running dream", end, told.rewards[both], signs, seen.rewards[both])


def _batches(reader: BufferReader, context: int, steps: int, seed: int) -> Iterator[Segment]:
    sampler = WindowSampler(reader, context, 1, "held_out")
    order = np.random.default_rng(seed).permutation(sampler.num_steps)[:steps]
    for part in np.array_split(order, max(1, len(order) // _BATCH)):
        yield segment(reader, sampler.at(part))


def _read(model: WorldModel, play: Segment, generator: torch.Generator) -> Step:
    return model.read(play.frames, play.actions, play.mask, generator)


def _dreamed(model: WorldModel, play: Segment, generator: torch.Generator) -> Step:
    dream = model.begin(play.frames[:, :-1], play.actions[:, :-1], play.mask[:, :-1])
    return model.step(dream, play.actions[:, -1], generator)[1]


def _scored(source: str, end: Foretold, told: Tensor, signs: Tensor | None, paid: Tensor) -> OutcomeScores:
    """Scores of the end, and of rewards that were told, perhaps with their signs' probabilities, beside those paid."""
    probabilities, sign = (signs, _side(paid, 0.0)) if signs is not None else _sure_signs(told, paid)
    # Who draws signs is held against signs.
    paid = paid if signs is None else paid.sign()
    return OutcomeScores(
        source=source,
        events=(
            end,
            foretold("reward above 0", probabilities[:, 2], sign == 2),
            foretold("reward below 0", probabilities[:, 0], sign == 0),
        ),
        reward_error=_mean_error(told, paid),
        constant_error=_mean_error(paid.median(), paid) if len(paid) else 0.0,
    )


def _sure_signs(told: Tensor, paid: Tensor) -> tuple[Tensor, Tensor]:
    """The signs of expected rewards as probabilities (n, 3) of 0 and 1, and those (0, 1, 2) of the rewards paid.

    An expected reward is hardly ever 0: what is less than half of the usual reward counts as none.
    """
    sizes = paid.abs()[paid != 0]
    edge = float(sizes.median()) / 2 if len(sizes) else 0.5
    return one_hot(_side(told, edge), 3).float(), _side(paid, edge)


def _side(rewards: Tensor, edge: float) -> Tensor:
    return (rewards > edge).long() - (rewards < -edge).long() + 1


def _mean_error(told: Tensor, paid: Tensor) -> float:
    return (told - paid).abs().mean().item() if len(paid) else 0.0
