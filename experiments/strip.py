"""An episode in one picture: its frames, and under each what was done and what was paid."""

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from worldmodel.data.episode import Episode
from worldmodel.spaces import ActionSpec

FRAMES = 32
"""of a strip at most"""
_COLUMNS = 8
_WIDTH = 96
"""pixels of a frame at least: a small one is enlarged"""
_LINE, _MARGIN = 12, 2
_COLOURS = {-1: "firebrick", 0: "grey", 1: "forestgreen"}
"""of what was paid, by its sign"""


@dataclass(frozen=True)
class Caption:
    """What stands under a frame.

    Attributes:
        step: How many steps of the episode have led to it.
        action: The action that was chosen on seeing it; nothing under the last.
        reward: What was paid from it to the next frame that is shown.
        end: How the game ended with it; nothing where it goes on.
    """

    step: int
    action: str = ""
    reward: float = 0.0
    end: str = ""


def film_strip(episode: Episode, spec: ActionSpec) -> NDArray[np.uint8]:
    """The episode's frames as one picture, uint8 (height, width, 3): time runs right, then down.

    Of an episode with more than `FRAMES` frames so many are shown, from the first to the last, evenly spread.
    """
    told = captions(episode, spec)
    return _grid([_cell(episode.frames[caption.step], caption) for caption in told])


def captions(episode: Episode, spec: ActionSpec) -> list[Caption]:
    """What stands under each frame that is shown."""
    steps = np.linspace(0, len(episode), min(FRAMES, len(episode) + 1)).round().astype(np.int64)
    paid = np.add.reduceat(episode.rewards, steps[:-1])
    under = [
        Caption(step, _in_words(spec, episode.actions[step]), float(reward))
        for step, reward in zip(steps[:-1].tolist(), paid, strict=True)
    ]
    over = {"terminated": episode.terminated[-1], "truncated": episode.truncated[-1]}
    return [*under, Caption(len(episode), end=next((word for word, ended in over.items() if ended), ""))]


def png(picture: NDArray[np.uint8]) -> bytes:
    """A PNG of uint8 (height, width, 3)."""
    data = io.BytesIO()
    Image.fromarray(picture).save(data, "PNG")
    return data.getvalue()


def _in_words(spec: ActionSpec, action: NDArray[Any]) -> str:
    if spec.kind == "discrete" and spec.names:
        return spec.names[int(action)]
    components = np.ravel(action).tolist()
    return " ".join(f"{component:.3g}" if spec.kind == "box" else str(component) for component in components)


def _cell(frame: NDArray[np.uint8], caption: Caption) -> NDArray[np.uint8]:
    """A frame with its caption, uint8 (height, width, 3); words that are too long are cut."""
    times = math.ceil(_WIDTH / frame.shape[1])
    shown = Image.fromarray(frame.repeat(times, 0).repeat(times, 1))
    cell = Image.new("RGB", (shown.width + _MARGIN, shown.height + 2 * _LINE + _MARGIN), "white")
    cell.paste(shown)
    draw = ImageDraw.Draw(cell)
    draw.text((_MARGIN, shown.height), f"{caption.step}: {caption.action or caption.end}", "black")
    if caption.action:
        draw.text((_MARGIN, shown.height + _LINE), f"{caption.reward:+.4g}", _COLOURS[int(np.sign(caption.reward))])
    return np.asarray(cell)


def _grid(cells: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Cells of one size in rows, the last of which is filled up with white."""
    columns = min(len(cells), _COLUMNS)
    white = [np.full_like(cells[0], 255)] * (-len(cells) % columns)
    rows = np.stack([*cells, *white]).reshape(-1, columns, *cells[0].shape)
    return np.concatenate([np.concatenate(list(row), axis=1) for row in rows])
