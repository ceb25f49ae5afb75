"""How an Atari game is emulated."""

from dataclasses import dataclass

from worldmodel.bounds import Count, Share


@dataclass(frozen=True)
class AtariConfig:
    """Atari games alone (ALE); an option given to another game is refused."""

    sticky: Share = 0.0
    """probability that the emulator repeats the last action instead (Machado et al., 2018, advise 0.25)"""
    full_actions: bool = False
    """all 18 actions of the joystick, not only those that the game reacts to"""
    frame_skip: int = 4
    """emulated frames a step; the last two are merged, as sprites flicker"""
    noop_max: Count = 30
    """most steps without an action that a game begins with, drawn from its seed"""
    grayscale: bool = False
    """grey pictures, in three equal channels"""
    life_loss_ends: bool = False
    """in training alone a lost life ends the game: in dreams and for an expert; games are collected and judged whole"""
