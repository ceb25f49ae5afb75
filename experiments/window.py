"""A window that shows a game, and the keyboard before it."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np
import pygame
from numpy.typing import NDArray

from worldmodel.errors import UserError, in_short
from worldmodel.spaces import FrameShape

_LINES = 4
_TEXT, _LINE, _MARGIN = 24, 24, 8
"""pixels: the height of letters, from line to line, and around the text"""
_WIDTH = 400
"""pixels that the text needs"""
_WHITE, _BLACK = (230, 230, 230), (0, 0, 0)


class Command(Enum):
    """What keys ask for that do not play; each by what pygame calls its key."""

    ANEW = "r"
    PAUSE = "p"
    ONE_STEP = "n"
    TURN = "tab"
    END = "escape"


_COMMANDS = {command.value: command for command in Command}


@dataclass(frozen=True)
class Asked:
    """What a person asked for since the last look.

    Attributes:
        commands: What is to be done.
        keys: All other keys that are held, or were pressed in between, by what pygame calls them.
    """

    commands: frozenset[Command]
    keys: frozenset[str]


class Window:
    """A window with a picture and a few lines of text below."""

    def __init__(self, title: str, frame_shape: FrameShape, zoom: int) -> None:
        """Open it, every pixel of a picture `zoom` pixels wide and high.

        Raises:
            UserError: If there is no screen for it.
        """
        height, width, _ = frame_shape
        self._size = (zoom * width, zoom * height)
        try:
            pygame.display.init()
            pygame.font.init()
            self._screen = pygame.display.set_mode(
                (max(self._size[0], _WIDTH), self._size[1] + _LINES * _LINE + 2 * _MARGIN)
            )
        except pygame.error as error:
            raise UserError(
                f"no window could be opened ({in_short(error)}): start on a machine with a screen."
            ) from error
        pygame.display.set_caption(title)
        self._font = pygame.font.Font(None, _TEXT)
        self._clock = pygame.time.Clock()
        self._held: set[str] = set()

    def show(self, picture: NDArray[np.uint8], lines: Sequence[str]) -> None:
        """Show a picture, uint8 (height, width, 3), and at most 4 `lines`."""
        self._screen.fill(_BLACK)
        surface = pygame.surfarray.make_surface(picture.transpose(1, 0, 2))
        self._screen.blit(pygame.transform.scale(surface, self._size), (0, 0))
        for number, line in enumerate(lines):
            text = self._font.render(line, True, _WHITE)
            self._screen.blit(text, (_MARGIN, self._size[1] + _MARGIN + number * _LINE))
        pygame.display.flip()

    def look(self, fps: float) -> Asked:
        """Wait for the next of `fps` moments a second, and tell what was asked for since the last."""
        self._clock.tick(fps)
        commands, pressed = set(), set()
        for event in pygame.event.get():
            if event.type == pygame.QUIT:
                commands.add(Command.END)
            elif event.type == pygame.KEYUP:
                self._held.discard(pygame.key.name(event.key))
            elif event.type == pygame.KEYDOWN:
                pressed.add(key := pygame.key.name(event.key))
                self._held.add(key)
        commands |= {_COMMANDS[key] for key in pressed & _COMMANDS.keys()}
        return Asked(frozenset(commands), frozenset(self._held | pressed) - _COMMANDS.keys())

    def close(self) -> None:
        """Close it."""
        pygame.display.quit()
