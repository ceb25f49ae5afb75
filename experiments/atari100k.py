"""The protocol of Atari 100k (Kaiser et al., 2020), and the scores that put its 26 games on one scale."""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from envs.atari_config import AtariConfig
from rl.settings import Settings
from worldmodel.plain import from_plain

ATARI_100K = "Atari 100k"
_PROTOCOL = AtariConfig(sticky=0.0, full_actions=False, frame_skip=4, noop_max=30, life_loss_ends=True)
_STEPS = 100_000
_GAMES = 100


@dataclass(frozen=True)
class Reference:
    """What random play and a human tester score in a game (Mnih et al., 2015; Wang et al., 2016)."""

    random: float
    human: float

    def normalised(self, score: float) -> float:
        """0 is random play, 1 the human."""
        return (score - self.random) / (self.human - self.random)


def reference(game: str) -> Reference | None:
    """The scores of the game with this Gymnasium id, if it is one of the 26."""
    if not game.startswith("ALE/"):
        return None
    return _references().get(game.removeprefix("ALE/").removesuffix("-v5"))


def track(settings: Settings, judged: int, steps: int) -> str:
    """In which company a result belongs; empty where there is no such company.

    Args:
        settings: The run's.
        judged: Real games that judged the finished agent.
        steps: Real steps that it learned from, an expert's included.
    """
    if reference(settings.game.id) is None:
        return ""
    if settings.collect.expert:
        return "Atari with an expert's play"
    if settings.model.base.name is not None:
        return "Atari on a base trained elsewhere"
    atari = settings.game.atari
    plain = AtariConfig(**{**vars(atari), "grayscale": False}) == _PROTOCOL and settings.game.max_steps is None
    return ATARI_100K if plain and judged >= _GAMES and steps <= _STEPS else "Atari, another protocol"


@cache
def _references() -> dict[str, Reference]:
    path = Path(__file__).with_suffix(".json")
    return {game: from_plain(Reference, scores, str(path)) for game, scores in json.loads(path.read_text()).items()}
