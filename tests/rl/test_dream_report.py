import torch

from rl.dream_report import DreamTally
from rl.policy_head import policy_head
from rl.rollout import Rollout
from worldmodel.spaces import ActionSpec

HORIZON = 3


def rollout(terminated, truncated):
    """Two dreams whose steps pay 1 each, and whose flags are written as strings, one character a step."""
    played = Rollout.allocate(len(terminated[0]), torch.zeros(2, 1, 1, 1), policy_head(1, ActionSpec.discrete(2)))
    for name, rows in (("terminated", terminated), ("truncated", truncated)):
        getattr(played, name)[:] = torch.tensor([[mark == "x" for mark in row] for row in rows]).T
    played.skipped[1:] = (played.terminated | played.truncated)[:-1]
    played.rewards[:] = (~played.skipped).float()
    return played


def test_dreams_cut_before_the_horizon_were_doubted_and_those_cut_there_were_not():
    tally = DreamTally(2, HORIZON, torch.device("cpu"))
    first = tally.report(rollout([".....", ".x..."], ["..x..", "....."]))
    assert (first.steps, first.ended, first.truncated, first.doubted) == (8, 1, 1, 0)
    second = tally.report(rollout([".....", "....."], [".x.x.", "x..x."]))
    assert (second.ended, second.truncated, second.doubted) == (0, 4, 2), "the first dream had gone on for two steps"
    both = first + second
    assert (both.doubted_share, both.ended_share) == (2 / 6, 1 / 6)


def test_without_a_horizon_whatever_is_cut_was_doubted():
    report = DreamTally(2, float("inf"), torch.device("cpu")).report(rollout([".....", "....."], ["....x", "....."]))
    assert (report.truncated, report.doubted) == (1, 1)
