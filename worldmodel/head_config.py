"""What defines the reward and termination head."""

from dataclasses import dataclass
from typing import Literal

from worldmodel.bounds import Share


@dataclass(frozen=True)
class HeadConfig:
    """The reward and termination head."""

    rewards: Literal["sign", "symlog"] = "sign"
    """sign: three classes, sampled; symlog: two-hot bins, expected (Hafner et al., 2023)"""
    members: int = 3
    """networks in the ensemble whose mean probabilities count"""
    hidden: int = 128
    """width of a member"""
    dropout: Share = 0.2
    """share of a member's hidden units that are dropped in training"""
