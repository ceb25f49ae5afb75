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
        truncated: Dreams that were cut, at the horizon or out of doubt.
        ended_return: Sum of the returns of the ended dreams, in the game's own reward.
        truncated_return: Sum of the returns of the truncated dreams.
        length: Sum of the lengths of ended and truncated dreams.
    """

    steps: int = 0
    ended: int = 0
    truncated: int = 0
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
    def mean_ended_return(self) -> float:
        """Of the dreams that the model ended."""
        return _mean(self.ended_return, self.ended)

    @property
    def mean_truncated_return(self) -> float:
        """Of the dreams that were cut."""
        return _mean(self.truncated_return, self.truncated)

    @property
    def mean_length(self) -> float:
        """Steps of a finished dream."""
        return _mean(self.length, self.finished)

    @property
    def ended_share(self) -> float:
        """Share of the finished dreams that the model ended."""
        return _mean(self.ended, self.finished)


def _mean(total: float, count: int) -> float:
    return total / count if count else float("nan")


class DreamTally:
    """Follows dreams over rollouts, on their device."""

    def __init__(self, dreams: int, device: torch.device) -> None:
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
        return _summarize(played, returns, lengths, rollout.terminated, rollout.truncated & ~rollout.terminated)


def _summarize(played: Tensor, returns: Tensor, lengths: Tensor, ended: Tensor, cut: Tensor) -> DreamReport:
    sums = [played, ended, cut, returns * ended, returns * cut, lengths * (ended | cut)]
    steps, num_ended, num_cut, ended_return, cut_return, length = torch.stack([s.sum().double() for s in sums]).tolist()
    return DreamReport(int(steps), int(num_ended), int(num_cut), ended_return, cut_return, int(length))
