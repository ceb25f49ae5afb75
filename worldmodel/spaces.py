"""What a player does and sees, in the words that the world model understands."""

from dataclasses import dataclass
from typing import Literal

Observation = Literal["frames", "latents"]
"""Decoded pictures, or the encoder's latents."""


@dataclass(frozen=True)
class ActionSpec:
    """A game's actions: `num_actions` alternatives, numbered from 0.

    Attributes:
        num_actions: Size of the discrete action set.
        names: A word for each action, for people; empty if the game has none.
    """

    num_actions: int
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.num_actions < 1:
            raise ValueError(f"num_actions must be at least 1, not {self.num_actions}")
        if self.names and len(self.names) != self.num_actions:
            raise ValueError(f"{len(self.names)} names for {self.num_actions} actions")
