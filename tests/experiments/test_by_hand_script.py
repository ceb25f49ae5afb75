import sys

import numpy as np
import pytest
from counting import reward_of
from PIL import Image
from pixel_dreams import LATENTS, RECURRENT, SIZE, policy, world_model

from experiments import by_hand
from experiments.cli import run_main
from rl.policies import save_policy
from worldmodel.data.reader import BufferReader

GAME = ["--game.id", "counting:Counting-v0", "--frame-size", str(SIZE)]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(world_model(tmp_path_factory.mktemp("model")))


@pytest.fixture
def person(monkeypatch):
    """Types what a test tells, one tuple of keys a look, each pressed and let go of; then closes the window.

    A key with a + before it stays held, one with a - is let go of.
    """
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    import pygame

    from experiments.window import Window

    def post(kind, key):
        pygame.event.post(pygame.event.Event(kind, key=pygame.key.key_code(key)))

    def sits_down(*looks):
        left, shown = iter(looks), []
        look, show = Window.look, Window.show

        def typed(self, fps):
            keys = next(left, None)
            if keys is None:
                pygame.event.post(pygame.event.Event(pygame.QUIT))
            for key in keys or ():
                if not key.startswith("-"):
                    post(pygame.KEYDOWN, key.lstrip("+"))
                if not key.startswith("+"):
                    post(pygame.KEYUP, key.lstrip("-"))
            return look(self, 10_000)

        def seen(self, picture, lines):
            show(self, picture, lines)
            shown.append((pygame.surfarray.array3d(self._screen).transpose(1, 0, 2), picture, list(lines)))

        monkeypatch.setattr(Window, "look", typed)
        monkeypatch.setattr(Window, "show", seen)
        return shown

    return sits_down


def run(*words):
    return run_main(by_hand.main, list(words))


def test_the_real_game_is_played_and_kept_as_it_was_typed(person, tmp_path, capsys):
    shown = person(("left",), (), ("+right",), (), ("-right",), ("a",))
    film, kept = tmp_path / "film.gif", tmp_path / "kept"
    words = ["--names", "none", "left", "right", "--seed", "3", "--record", str(kept), "--film", str(film)]
    assert run(*GAME, *words) == 0
    actions = [1, 0, 2, 2, 0, 1]
    reader = BufferReader(kept)
    assert reader.steps.actions.tolist() == actions
    assert reader.steps.rewards.tolist() == [reward_of(n, action) for n, action in enumerate(actions)]
    assert reader.episodes[0].info.source == "human" and not reader.episodes[0].ended
    assert reader.action_spec.names == ()
    assert Image.open(film).n_frames == len(shown) == 7
    told = capsys.readouterr().out
    assert "left or a   left" in told and "no key      none" in told and "escape  end" in told
    assert f"6 steps kept in {kept}" in told and "tab" not in told


def test_the_window_shows_the_picture_and_what_came_of_it(person):
    shown = person(("3",), ())
    assert run(*GAME, "--zoom", "3") == 0
    screen, picture, lines = shown[-1]
    np.testing.assert_array_equal(screen[: 3 * SIZE : 3, : 3 * SIZE : 3], picture)
    np.testing.assert_array_equal(screen[1 : 3 * SIZE : 3, 2 : 3 * SIZE : 3], picture)
    assert lines == ["step 2   reward +12   return 14", "you play"]
    assert screen[3 * SIZE :].any() and not screen[: 3 * SIZE, 3 * SIZE :].any()


def test_it_pauses_and_takes_one_step_and_begins_anew(person):
    shown = person((), ("p",), (), ("n", "2"), ("p",), ("r",), ())
    assert run(*GAME, "--seed", "0") == 0
    steps = [lines[0].split()[1] for _, _, lines in shown]
    assert steps == ["0", "1", "1", "1", "2", "3", "0", "1"]
    assert [lines[-1] for _, _, lines in shown][2:5] == ["paused   P: go on   N: one step"] * 3
    assert shown[4][2][0] == "step 2   reward +11   return 11"


def test_at_its_end_a_game_waits_to_begin_anew(person):
    shown = person(*[()] * 34, ("r",))
    assert run(*GAME, "--game.max-steps", "5") == 0
    assert shown[34][2][0].startswith("step 5 ") and shown[34][2][-1] == "cut off   R: begin anew"
    assert shown[35][2][0].startswith("step 0 ")


@pytest.mark.parametrize("spec", [RECURRENT, LATENTS], ids=["recurrent", "latents"])
def test_a_person_takes_over_from_the_policy_and_gives_back(person, model, tmp_path, spec, capsys):
    save_policy(tmp_path / "policy", policy(spec))
    words = ["--policy", str(tmp_path / "policy"), "--doubt-limit", "1e9", "--seed", "0"]
    shown = person((), ("tab",), (), ("escape",))
    assert run("--world-model", model, *words) == 0
    who = [next(line for line in lines if "change places" in line) for *_, lines in shown]
    assert [line.split("   ")[0] for line in who] == ["the policy plays"] * 2 + ["you play"] * 2
    assert all(lines[1].startswith("doubt ") and " of 1e+09 " in lines[1] for *_, lines in shown)
    assert "tab  change places" in capsys.readouterr().out


def test_in_the_real_game_a_policy_on_latents_sees_through_its_encoder(person, model, tmp_path):
    save_policy(tmp_path / "policy", policy(LATENTS))
    person((), ("tab", "2"), ("1",))
    words = ["--game.id", "counting:Counting-v0", "--policy", str(tmp_path / "policy"), "--record", str(tmp_path / "k")]
    assert run(*words, "--encoder", model) == 0
    reader = BufferReader(tmp_path / "k")
    assert reader.frame_shape == (SIZE, SIZE, 3) and reader.steps.actions[1:].tolist() == [1, 0]
    assert reader.episodes[0].info.source == "policy"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "give --world-model for a dream, or --game.id"),
        (["--world-model", "nowhere", *GAME], "one thing at a time"),
        (["--world-model", "nowhere"], "nowhere holds no world model"),
        (["--world-model", "nowhere", "--record", "kept"], "leave out --record: dreams are not kept"),
        (["--world-model", "nowhere", "--frame-size", "64"], "leave out --frame-size"),
        (["--world-model", "nowhere", "--encoder", "nowhere"], "leave out --encoder"),
        ([*GAME, "--horizon", "9"], "leave out --horizon: --game.max-steps"),
        ([*GAME, "--doubt-limit", "9"], "leave out --doubt-limit"),
        ([*GAME, "--encoder", "nowhere"], "give --policy"),
        ([*GAME, "--policy", "nowhere"], "a policy has a frame size of its own"),
        (["--game.id", "counting:Counting-v0", "--policy", "nowhere"], "nowhere holds no policy"),
        ([*GAME, "--fps", "0"], "fps must be more than 0"),
        ([*GAME, "--names", "UP", "DOWN"], "--names has 2 words, and the game 3 actions"),
        (["--game.id", "counting:Counting-box-v0"], "one choice a step (Discrete)"),
        (["--game.id", "counting:Counting-multi_binary-v0"], "one choice a step (Discrete)"),
    ],
)
def test_what_cannot_be_played_is_told_in_a_sentence(monkeypatch, tmp_path, capsys, words, told):
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    monkeypatch.chdir(tmp_path)
    assert run(*words) == 2
    assert told in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_policy_on_latents_wants_an_encoder(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    save_policy(tmp_path / "policy", policy(LATENTS))
    assert run("--game.id", "counting:Counting-v0", "--policy", str(tmp_path / "policy")) == 2
    assert "give --encoder" in capsys.readouterr().err


def test_a_missing_pygame_or_screen_is_told(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "pygame", None)
    assert run(*GAME) == 2
    assert "pip install 'gymnasium[classic-control]'" in capsys.readouterr().err
    monkeypatch.undo()
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    assert run(*GAME) == 2
    assert "no screen" in capsys.readouterr().err


def test_a_screen_that_cannot_be_opened_is_told(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("SDL_VIDEODRIVER", "nosuchdriver")
    monkeypatch.chdir(tmp_path)
    assert run(*GAME, "--record", "kept") == 2
    assert "no window could be opened" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
