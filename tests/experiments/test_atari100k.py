from dataclasses import replace

import pytest

from envs.atari_config import AtariConfig
from experiments.atari100k import ATARI_100K, _references, reference, track
from experiments.presets import PRESETS
from rl.settings import GameSettings
from worldmodel.latent.config import BaseConfig, LatentConfig

PROTOCOL = replace(
    PRESETS["atari"](),
    game=GameSettings("ALE/Breakout-v5", atari=AtariConfig(life_loss_ends=True)),
    model=LatentConfig(),
)  # fmt: skip


def test_there_are_26_games_on_one_scale():
    assert len(_references()) == 26
    assert all(scores.human > scores.random for scores in _references().values())
    pong = reference("ALE/Pong-v5")
    assert pong.normalised(pong.random) == 0 and pong.normalised(pong.human) == 1
    assert pong.normalised(18.0) == pytest.approx(38.7 / 35.3)


@pytest.mark.parametrize("game", ["CartPole-v1", "Pong-v5", "ALE/Skiing-v5", "my_game:Pong-v5"])
def test_another_game_has_no_human_to_compare_with(game):
    assert reference(game) is None
    assert track(replace(PROTOCOL, game=GameSettings(game)), 100, 100_000) == ""


def with_atari(**changes):
    return replace(PROTOCOL, game=replace(PROTOCOL.game, atari=replace(PROTOCOL.game.atari, **changes)))


def test_the_name_takes_the_whole_protocol():
    assert track(PROTOCOL, 100, 100_000) == ATARI_100K
    assert track(with_atari(grayscale=True), 100, 100_000) == ATARI_100K


@pytest.mark.parametrize(
    ("settings", "judged", "steps"),
    [
        (with_atari(sticky=0.25), 100, 100_000),
        (with_atari(frame_skip=2), 100, 100_000),
        (with_atari(full_actions=True), 100, 100_000),
        (with_atari(noop_max=300), 100, 100_000),
        (with_atari(life_loss_ends=False), 100, 100_000),
        (replace(PROTOCOL, game=replace(PROTOCOL.game, max_steps=500)), 100, 100_000),
        (PROTOCOL, 99, 100_000),
        (PROTOCOL, 100, 100_001),
    ],
)
def test_anything_else_is_another_protocol(settings, judged, steps):
    assert track(settings, judged, steps) == "Atari, another protocol"


def test_help_from_elsewhere_is_a_track_of_its_own():
    helped = replace(PROTOCOL, collect=replace(PROTOCOL.collect, expert=0.1))
    assert track(helped, 100, 100_000) == "Atari with an expert's play"
    based = replace(PROTOCOL, model=replace(PROTOCOL.model, base=BaseConfig("somewhere")))
    assert track(based, 100, 100_000) == "Atari on a base trained elsewhere"
