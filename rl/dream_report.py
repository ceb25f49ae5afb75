"""How the dreams went: returns, lengths, and what ended them."""

from dataclasses import astuple, dataclass
from typing import Self

import torch
from torch import Tensor

from rl.rollout import Rollout


@dataclass(frozen=True)
class DreamReport:
    """Sums over a stretch of imagination; reports of several stretches add up.

    Attributes:
        steps: Imagined steps.
        ended: Dreams that ended because the model said that the game did.
        truncated: Dreams that were cut, at the horizon or before.
        doubted: Those cut before it, because they were doubted.
        ended_return: Sum of the returns of the ended dreams, in the game's own reward.
        truncated_return: Sum of the returns of the truncated dreams.
        length: Sum of the lengths of ended and truncated dreams.
    """

    steps: int = 0
    ended: int = 0
    truncated: int = 0
    doubted: int = 0
    ended_return: float = 0.0
    truncated_return: float = 0.0
    length: int = 0

    def __add__(self, other: Self) -> Self:
        return type(self)(*(mine + theirs for mine, theirs in zip(astuple(self), astuple(other), strict=True)))

    @property
    def finished(self) -> int:
        """How many dreams ended or were truncated."""
        return self.ended + self.truncated

    @property
    def mean_return(self) -> float:
        """Of all finished dreams; nan if there are none, as all means here."""
        return _mean(self.ended_return + self.truncated_return, self.finished)

    @property
    def mean_length(self) -> float:
        """Steps of a finished dream."""
        return _mean(self.length, self.finished)

    @property
    def ended_share(self) -> float:
        """Share of the finished dreams that the model ended."""
        return _mean(self.ended, self.finished)

    @property
    def doubted_share(self) -> float:
        """Share of the finished dreams that were cut out of doubt."""
        return _mean(self.doubted, self.finished)


def _mean(total: float, count: int) -> float:
    return total / count if count else float("nan")


class DreamTally:
    """Follows dreams over rollouts, on their device."""

    def __init__(self, dreams: int, horizon: float, device: torch.device) -> None:
        """Follow so many dreams, which are truncated after `horizon` steps."""
        self._horizon = horizon
        self._returns = torch.zeros(dreams, device=device)
        self._lengths = torch.zeros(dreams, device=device)

    def report(self, rollout: Rollout) -> DreamReport:
        """Follow the dreams through a rollout and report those that finished in it."""
        played = ~rollout.skipped
        returns, lengths = torch.empty_like(rollout.rewards), torch.empty_like(rollout.rewards)
        for t in range(len(rollout)):
            self._returns += rollout.rewards[t]
            self._lengths += played[t]
            returns[t], lengths[t] = self._returns, self._lengths
            going_on = ~(rollout.terminated[t] | rollout.truncated[t])
            self._returns *= going_on
            self._lengths *= going_on
        cut = rollout.truncated & ~rollout.terminated
        return _summarize(played, returns, lengths, rollout.terminated, cut, cut & (lengths < self._horizon))


def _summarize(
    played: Tensor, returns: Tensor, lengths: Tensor, ended: Tensor, cut: Tensor, doubted: Tensor
) -> DreamReport:
    counts = [played, ended, cut, doubted, lengths * (ended | cut)]
    sums = torch.stack([s.sum().double() for s in (*counts, returns * ended, returns * cut)]).tolist()
    steps, num_ended, num_cut, num_doubted, length = map(int, sums[:5])
    ended_return, cut_return = sums[5:]
    return DreamReport(steps, num_ended, num_cut, num_doubted, ended_return, cut_return, length)
