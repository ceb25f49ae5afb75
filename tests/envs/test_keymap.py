import pytest
from ale_py import Action

from envs.keymap import keymap_of
from experiments.window import Command
from worldmodel.errors import UserError
from worldmodel.spaces import ActionSpec

ALL = [action.name for action in Action][:18]
DIRECTION = {"UP": "up", "DOWN": "down", "LEFT": "left", "RIGHT": "right", "FIRE": "space"}


def named(*names):
    return keymap_of(ActionSpec.discrete(len(names), names))


def test_every_combination_that_ale_names_has_its_keys():
    assert ALL[0] == "NOOP" and ALL[-1] == "DOWNLEFTFIRE"
    keymap = named(*ALL)
    for number, name in enumerate(ALL):
        held = {key for word, key in DIRECTION.items() if word in name}
        assert keymap.action(held) == number, name


def test_letters_are_arrows_and_any_of_the_two_will_do():
    keymap = named(*ALL)
    for letter, arrow in {"w": "up", "s": "down", "a": "left", "d": "right"}.items():
        assert keymap.action({letter}) == keymap.action({arrow}) == keymap.action({letter, arrow}) != 0
    assert ALL[keymap.action({"w", "right", "space"})] == "UPRIGHTFIRE"


def test_opposites_cancel_out_and_other_keys_do_nothing():
    keymap = named(*ALL)
    assert ALL[keymap.action({"left", "right"})] == "NOOP"
    assert ALL[keymap.action({"left", "d", "up"})] == "UP"
    assert ALL[keymap.action({"x", "1", "down"})] == "DOWN"


@pytest.mark.parametrize(
    ("names", "held", "played"),
    [
        (("NOOP", "FIRE", "RIGHT", "LEFT"), {"left", "space"}, "FIRE"),
        (("NOOP", "LEFT", "FIRE"), {"left", "space"}, "FIRE"),
        (("NOOP", "FIRE", "RIGHT", "LEFT"), {"left", "up"}, "LEFT"),
        (("NOOP", "UP", "DOWN"), {"space"}, "NOOP"),
        (("NOOP", "FIRE", "RIGHT", "LEFT", "RIGHTFIRE", "LEFTFIRE"), {"right", "space", "up"}, "RIGHTFIRE"),
        (("NOOP", "LEFT", "UP"), {"up", "left"}, "LEFT"),
    ],
)
def test_what_is_no_action_as_a_whole_is_played_as_far_as_there_is_one(names, held, played):
    assert names[named(*names).action(held, last=1)] == played


def test_no_key_does_nothing_where_an_action_does_nothing_else_the_last_one_goes_on():
    assert named("none", "left", "right").action(set(), last=2) == 0
    assert named("left", "stay", "right").action(set(), last=2) == 1
    for keymap in (named("LEFT", "RIGHT"), keymap_of(ActionSpec.discrete(2))):
        assert [keymap.action(set(), last=last) for last in (0, 1)] == [0, 1]


def test_two_actions_are_left_and_right_and_numbers_too():
    keymap = keymap_of(ActionSpec.discrete(2))
    assert [keymap.action({key}, last=1) for key in ("left", "1")] == [0, 0]
    assert [keymap.action({key}, last=0) for key in ("right", "2")] == [1, 1]


def test_number_keys_play_actions_without_such_names():
    for keymap in (keymap_of(ActionSpec.discrete(9)), named(*"abcdefghi")):
        assert [keymap.action({digit}) for digit in "123456789"] == list(range(9))
        assert keymap.action({"left"}, last=5) == 5
    keymap = named("noop", "jump", "duck")
    assert (keymap.action(set(), last=2), keymap.action({"3"}), keymap.action({"1"})) == (0, 2, 0)


def test_two_actions_of_one_name_are_told_apart_by_numbers():
    assert [named("UP", "up").action({digit}) for digit in "12"] == [0, 1]


def test_the_keys_are_told():
    assert named("NOOP", "FIRE", "UPFIRE").lines() == [
        "no key           NOOP",
        "space            FIRE",
        "up or w + space  UPFIRE",
    ]
    assert keymap_of(ActionSpec.discrete(2)).lines() == [
        "1 or left   action 1",
        "2 or right  action 2",
        "no key      the last action again",
    ]


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        (ActionSpec.discrete(10), "10 actions whose names tell no keys"),
        (ActionSpec.box((-1.0,), (1.0,)), r"\(Discrete\), and this one has actions from -1 to 1"),
        (ActionSpec.multi_discrete((3, 2)), "has 3 x 2 actions: choose another"),
        (ActionSpec.multi_binary(2), "has 2 x 2 actions: choose another"),
    ],
)
def test_what_keys_cannot_play_is_told(spec, told):
    with pytest.raises(UserError, match=told):
        keymap_of(spec)


def test_no_key_that_plays_asks_for_something_else():
    keys = {key for keymap in (named(*ALL), keymap_of(ActionSpec.discrete(9))) for key in keymap.buttons}
    assert len(keys) == 18
    assert not keys & {command.value for command in Command}
