from dataclasses import dataclass

import torch
from torch import Tensor

from worldmodel.base import Dream


@dataclass(frozen=True)
class Pair(Dream):
    wide: Tensor
    flat: Tensor


def pair(offset):
    return Pair(torch.arange(6.0).view(3, 2, 1) + offset, torch.arange(3) + offset)


def test_dreams_are_taken_by_index():
    taken = pair(0)[torch.tensor([2, 0, 0])]
    assert len(taken) == 3
    assert taken.flat.tolist() == [2, 0, 0]
    assert taken.wide[0].flatten().tolist() == [4, 5]
    assert len(pair(0)[1:]) == 2


def test_only_finished_dreams_are_replaced():
    mixed = pair(0).where(torch.tensor([False, True, False]), pair(100))
    assert mixed.flat.tolist() == [0, 101, 2]
    assert mixed.wide[:, 0, 0].tolist() == [0, 102, 4]
