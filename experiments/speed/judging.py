"""What it saves to judge agents beside the fit and the dream, where a core is left free for that."""

import statistics
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from experiments.cluster import ray_cluster
from experiments.presets import atari
from experiments.speed.timing import seconds_of
from rl.dyna import Dyna
from rl.dyna_config import DynaConfig
from rl.settings import ClusterSettings, Settings

LEARNING = (1.0, 0.1)
"""how much is learned beside what is judged: as on one core, and a tenth of it, as if a faster device did it"""
_CUT = 10
"""what a round of the preset has so many times as much of"""
_TURNS = 3


@dataclass(frozen=True)
class Judged:
    """How long a first round takes, from nothing, without starting the actors.

    Attributes:
        learning: How much is learned in it, as a share of what the preset learns beside as much judging.
        beside: Seconds of every turn in which agents are judged beside the fit and the dream.
        in_turn: The same where one comes after the other.
    """

    learning: float
    beside: tuple[float, ...]
    in_turn: tuple[float, ...]

    @property
    def ratio(self) -> float:
        """How many times as long it takes one after the other."""
        return statistics.median(self.in_turn) / statistics.median(self.beside)


def measure_judging(folder: Path) -> Iterator[Judged]:
    """The first round of the preset `atari` (Pong), cut to a tenth, with one torch thread."""
    for learning in LEARNING:
        settings = cut_round(learning)
        with ray_cluster(settings.cluster):
            turns = [
                tuple(_seconds(settings, folder / f"{learning:g}-{turn}-{beside}", beside) for beside in (True, False))
                for turn in range(_TURNS)
            ]
        beside, in_turn = zip(*turns, strict=True)
        yield Judged(learning, beside, in_turn)


def cut_round(learning: float) -> Settings:
    """One round of the preset with a tenth of everything, and of what is learned this share of that."""
    preset = atari()
    fit, imagine, collect = preset.fit, preset.imagine, preset.collect

    def cut(count: int) -> int:
        return max(round(count * learning / _CUT), 1)

    return replace(
        preset,
        rounds=1,
        collect=replace(collect, first_steps=collect.first_steps // _CUT),
        fit=replace(
            fit, base_autoencoder_steps=cut(fit.base_autoencoder_steps), first_steps=cut(fit.first_steps),
            head_steps=cut(fit.head_steps), head_dreams=cut(fit.head_dreams), more_fits=0,
        ),
        imagine=replace(imagine, dreams=16, steps=cut(imagine.steps)),
        # Who cannot play yet loses in some 800 steps.
        evaluate=replace(preset.evaluate, max_steps=800 // _CUT),
        cluster=ClusterSettings(threads=1, learner_gpus=0.0, agent_gpus=0.0),
    )  # fmt: skip


def _seconds(settings: Settings, folder: Path, beside: bool) -> float:
    algorithm = DynaConfig(settings, folder=folder).build_algo()
    assert isinstance(algorithm, Dyna)
    algorithm.judges_beside = beside
    try:
        return seconds_of(algorithm.train)
    finally:
        algorithm.stop()
