"""How well probabilities foretell what happens: precision, recall, the Brier score and reliability."""

from dataclasses import dataclass

import torch
from torch import Tensor

_BINS = 10


@dataclass(frozen=True)
class ReliabilityBin:
    """The steps whose probability was told within one tenth.

    Attributes:
        steps: How many.
        told: Their mean probability.
        happened: The share of them in which the event happened.
    """

    steps: int
    told: float
    happened: float


@dataclass(frozen=True)
class EventScores:
    """How well an event is foretold.

    Attributes:
        steps: Steps that were judged.
        events: Those of them in which it happened.
        precision: Share of the steps told as likelier than not in which it happened; None where there are none.
        recall: Share of the events told as likelier than not; None where there are none.
        drawn_precision: The precision that is expected where the event is drawn by its probability, as in a dream.
        drawn_recall: The recall in the same case: the mean probability at the events.
        brier: Mean squared error of the probability (Brier, 1950); 0 at best.
        reliability: Told and true frequency by tenths of the probability; empty tenths are left out.
    """

    steps: int
    events: int
    precision: float | None
    recall: float | None
    drawn_precision: float | None
    drawn_recall: float | None
    brier: float | None
    reliability: tuple[ReliabilityBin, ...]

    @property
    def drawn_f1(self) -> float | None:
        """The harmonic mean of `drawn_precision` and `drawn_recall` (F1); None where either is not known."""
        precision, recall = self.drawn_precision, self.drawn_recall
        if precision is None or recall is None:
            return None
        return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


@dataclass(frozen=True)
class Foretold:
    """An event as it was foretold, beside the baseline.

    Attributes:
        event: What it is.
        scores: By the probabilities that were told.
        baseline: By the event's own frequency, told at every step.
    """

    event: str
    scores: EventScores
    baseline: EventScores


def foretold(event: str, probability: Tensor, happened: Tensor) -> Foretold:
    """Score the probabilities (float, (n,)) of an event that `happened` (bool, (n,))."""
    told, rate = probability.double(), happened.double().mean()
    return Foretold(event, score_events(told, happened), score_events(rate.expand_as(told), happened))


def score_events(probability: Tensor, happened: Tensor) -> EventScores:
    """See `EventScores`; `probability` float (n,), `happened` bool (n,)."""
    likely = probability > 0.5
    hits, drawn_hits = (likely & happened).sum().item(), (probability * happened).sum().item()
    events = int(happened.sum())
    return EventScores(
        steps=len(happened),
        events=events,
        precision=_ratio(hits, likely.sum().item()),
        recall=_ratio(hits, events),
        drawn_precision=_ratio(drawn_hits, probability.sum().item()),
        drawn_recall=_ratio(drawn_hits, events),
        brier=_ratio((probability - happened.to(probability.dtype)).square().sum().item(), len(happened)),
        reliability=_reliability(probability, happened),
    )


def _reliability(probability: Tensor, happened: Tensor) -> tuple[ReliabilityBin, ...]:
    tenth = (probability * _BINS).long().clamp(0, _BINS - 1)
    members = [tenth == number for number in range(_BINS)]
    return tuple(
        ReliabilityBin(int(there.sum()), probability[there].mean().item(), happened[there].double().mean().item())
        for there in members
        if there.any()
    )


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def until_first(ends: Tensor) -> Tensor:
    """The steps (bool, (batch, horizon)) before which nothing has ended."""
    return ends.cumsum(1) - ends.long() == 0


def free_ends(probability: Tensor, drawn: Tensor, terminated: Tensor, there: Tensor) -> tuple[Tensor, Tensor]:
    """Told probabilities and real ends, up to a game's first end and, unless the game ends there, the dream's first.

    An end that comes when the dream is over already was told with probability 0: it is missed.

    Args:
        probability: float, (batch, horizon), of an end, as the dream told it.
        drawn: bool, the same shape: where the dream ended.
        terminated: bool, the same shape: where the game did.
        there: bool, the same shape: which steps were really played.

    Returns:
        Probabilities and ends, both (n,).
    """
    dreaming = until_first(drawn)
    counted = there & until_first(terminated) & (dreaming | terminated)
    return torch.where(dreaming, probability, 0.0)[counted], terminated[counted]
