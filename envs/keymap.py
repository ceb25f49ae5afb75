"""Which keys play which action, as the names of a game's actions tell."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from worldmodel.errors import UserError
from worldmodel.spaces import ActionSpec

_JOYSTICK = re.compile("(UP|DOWN)?(LEFT|RIGHT)?(FIRE)?")
"""what ALE's names of actions are made of"""
_NOTHING = {"NOOP", "NONE", "NOTHING", "STAY"}
_FIRE = "FIRE"
_OPPOSITES = ({"UP", "DOWN"}, {"LEFT", "RIGHT"})
_JOYSTICK_KEYS = {
    "up": "UP", "w": "UP", "down": "DOWN", "s": "DOWN", "left": "LEFT", "a": "LEFT", "right": "RIGHT", "d": "RIGHT",
    "space": _FIRE,
}  # fmt: skip
_DIGITS = "123456789"


@dataclass(frozen=True)
class Keymap:
    """What a keyboard plays.

    Attributes:
        buttons: The button that each key is, by what pygame calls the key; several keys may be one button.
        chords: The action of the buttons that are held together; of none, if there is an action that does nothing.
        names: A word for each action.
    """

    buttons: Mapping[str, str]
    chords: Mapping[frozenset[str], int]
    names: tuple[str, ...]

    def action(self, held: Collection[str], last: int = 0) -> int:
        """The action that the keys `held` play, after the action `last`.

        Opposite directions cancel out. Where all buttons together are no action, the most of them that are one count,
        with FIRE rather than without. Where none is, and no action does nothing, the last one goes on.
        """
        pressed = {self.buttons[key] for key in held if key in self.buttons}
        for pair in _OPPOSITES:
            pressed -= pair if pair <= pressed else set()
        played = [chord for chord in self.chords if chord <= pressed]
        return self.chords[max(played, key=lambda chord: (len(chord), _FIRE in chord))] if played else last

    def lines(self) -> list[str]:
        """The keys of every action, to be read by a person."""
        told = {self._keys(chord): self.names[action] for chord, action in self.chords.items()}
        told.setdefault(self._keys(frozenset()), "the last action again")
        width = max(map(len, told))
        return [f"{keys:{width}}  {action}" for keys, action in told.items()]

    def _keys(self, chord: frozenset[str]) -> str:
        keys: dict[str, list[str]] = {}
        for key, button in self.buttons.items():
            keys.setdefault(button, []).append(key)
        return " + ".join(" or ".join(keys[button]) for button in keys if button in chord) or "no key"


def keymap_of(spec: ActionSpec) -> Keymap:
    """The keys of a game with one choice a step: arrows and space where its actions are called so, else numbers.

    Raises:
        UserError: If the game has other actions, or more than 9 without such names.
    """
    if spec.kind != "discrete":
        raise UserError(
            f"keys play games with one choice a step (Discrete), and this one has {spec}: choose another, or wrap it in"
            " gymnasium.wrappers.TransformAction."
        )
    chords = {_chord(name): action for action, name in enumerate(spec.names)}
    if None in chords or len(chords) != spec.sizes[0]:
        return _numbered(spec)
    known = {chord: action for chord, action in chords.items() if chord is not None}
    used = frozenset[str]().union(*known)
    return Keymap({key: button for key, button in _JOYSTICK_KEYS.items() if button in used}, known, spec.names)


def _chord(name: str) -> frozenset[str] | None:
    """The buttons that an action's name tells; None if it tells of none."""
    if name.upper() in _NOTHING:
        return frozenset()
    told = _JOYSTICK.fullmatch(name.upper())
    return frozenset(filter(None, told.groups())) if name and told else None


def _numbered(spec: ActionSpec) -> Keymap:
    count = spec.sizes[0]
    if count > len(_DIGITS):
        raise UserError(
            f"this game has {spec} whose names tell no keys, and number keys play {len(_DIGITS)} at most: name them"
            " after directions, as ALE does, or choose another game."
        )
    buttons = {digit: digit for digit in _DIGITS[:count]}
    # Two actions are nearly always left and right.
    buttons |= {"left": "1", "right": "2"} if count == 2 else {}
    chords = {frozenset({digit}): action for action, digit in enumerate(_DIGITS[:count])}
    chords |= {frozenset(): action for action, name in enumerate(spec.names) if name.upper() in _NOTHING}
    return Keymap(buttons, chords, spec.names or tuple(f"action {digit}" for digit in _DIGITS[:count]))
