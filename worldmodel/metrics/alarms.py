"""How often real play would be doubted, which it should not, and play with a wrong picture, which it should."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from worldmodel.base import WorldModel
from worldmodel.data.reader import BufferReader
from worldmodel.data.segment import Segment
from worldmodel.data.windows import WindowSampler, segment
from worldmodel.doubt import largest_by_stretch, stretches

_BATCH = 256


@dataclass(frozen=True)
class Alarms:
    """How much of real play is doubted; stretches are as long as in `worldmodel.doubt`.

    Attributes:
        games: How many were played, or part of them.
        stretches: In how many stretches.
        steps: Share of their steps that are doubted.
        real: Share of stretches in which some step is doubted: the false alarms by which the limit is set, since no
            dream of the presets is longer.
        whole: Share of games in which some step is doubted; the longer they are the more.
        strange: Share of stretches in which a step, any, is doubted when it brings the picture of another stretch.
    """

    games: int
    stretches: int
    steps: float
    real: float
    whole: float
    strange: float


def alarms(model: WorldModel, reader: BufferReader, since: int, seed: int) -> Alarms | None:
    """Judge a model's doubt by the play of round `since` and later ones; None where there is none.

    Let it be play that came after the model: then neither the model nor the limit of its doubt knows it.
    """
    sampler = WindowSampler(reader, model.context, 1, "all")
    steps = _played_since(reader, sampler, since)
    if not len(steps):
        return None
    episode, time = sampler.where(steps)
    play = (segment(reader, sampler.at(part)) for part in _batches(steps))
    doubt, limit = _doubt(model, play), float(model.doubt_limit)
    largest = largest_by_stretch(doubt, episode, time)
    doubted = doubt > limit
    game = reader.games(reader.table.frame_ids(episode, time))

    order = np.random.default_rng(seed).permutation(len(steps))
    _, first = np.unique(stretches(episode, time)[order], return_index=True)
    strange = _doubt(model, _struck(reader, sampler, steps[order[first]]))
    return Alarms(
        games=len(np.unique(game)),
        stretches=len(largest),
        steps=float(doubted.mean()),
        real=float(np.mean(largest > limit)),
        whole=len(np.unique(game[doubted])) / len(np.unique(game)),
        strange=float(np.mean(strange > limit)),
    )


def _played_since(reader: BufferReader, sampler: WindowSampler, number: int) -> NDArray[np.int64]:
    later = np.array([record.info.round >= number for record in reader.episodes], np.bool_)
    steps = np.arange(sampler.num_steps)
    return steps[later[sampler.where(steps)[0]]]


def _batches(steps: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    return np.split(steps, range(_BATCH, len(steps), _BATCH))


@torch.no_grad()
def _doubt(model: WorldModel, play: Iterable[Segment]) -> NDArray[np.float32]:
    device = next(model.parameters()).device
    told = [model.read(part.frames.to(device), part.actions.to(device), part.mask.to(device)) for part in play]
    return torch.cat([step.doubt for step in told]).cpu().numpy()


def _struck(reader: BufferReader, sampler: WindowSampler, steps: NDArray[np.int64]) -> Iterator[Segment]:
    """Play up to each of these steps, the picture that it brings being that of the step before it in the list."""
    for part, others in zip(_batches(steps), _batches(np.roll(steps, 1)), strict=True):
        play = segment(reader, sampler.at(part))
        frames = play.frames.clone()
        frames[:, -1] = torch.from_numpy(reader.frames(sampler.at(others).frame_ids[:, -1]))
        yield replace(play, frames=frames)
