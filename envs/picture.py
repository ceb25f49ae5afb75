"""Pictures from a game's own renderer to small frames, without the work that can be saved."""

from collections.abc import Iterator
from contextlib import contextmanager
from math import gcd
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from worldmodel.spaces import FrameShape

Picture = NDArray[np.uint8]

# A picture is too small for threads: waiting for them takes longer than the work.
cv2.setNumThreads(1)


class Shrinker:
    """Resizes the pictures of one game, each `cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)`.

    Most of a picture is the same as in the one before, so only the part around what changed is resized again. It is
    cut where borders of large and small pixels fall together, which makes the result the same to the last bit.
    """

    def __init__(self, shape: FrameShape) -> None:
        self._height, self._width, _ = shape
        self._picture: Picture = np.empty((0, 0, 3), np.uint8)
        self._frame: Picture = np.empty(shape, np.uint8)

    def __call__(self, picture: Picture) -> Picture:
        """The small frame of a picture (height, width, 3), which must not be changed afterwards."""
        picture = np.ascontiguousarray(picture)
        if picture.shape != self._picture.shape or self._is_mixed(picture):
            self._frame = _resize(picture, self._height, self._width)
        elif (box := _changed(self._picture, picture)) is not None:
            self._update(picture, *box)
        self._picture = picture
        return self._frame.copy()

    def _is_mixed(self, picture: Picture) -> bool:
        """Whether it shrinks one way and grows the other, where OpenCV does not go band by band."""
        return (picture.shape[0] > self._height) != (picture.shape[1] > self._width)

    def _update(self, picture: Picture, rows: slice, columns: slice) -> None:
        large_rows, small_rows = _align(rows, picture.shape[0], self._height)
        large_columns, small_columns = _align(columns, picture.shape[1], self._width)
        height, width = small_rows.stop - small_rows.start, small_columns.stop - small_columns.start
        self._frame[small_rows, small_columns] = _resize(picture[large_rows, large_columns], height, width)


def _resize(picture: Picture, height: int, width: int) -> Picture:
    return np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def _changed(old: Picture, new: Picture) -> tuple[slice, slice] | None:
    """The rows and columns outside which two pictures are the same; None if they are the same everywhere."""
    rows = _span((_lines(old) != _lines(new)).any(axis=1))
    if rows is None:
        return None
    columns = _span((old[rows] != new[rows]).any(axis=0).any(axis=-1))
    return None if columns is None else (rows, columns)


def _lines(picture: Picture) -> NDArray[Any]:
    """The rows in the widest words that they fill: fewer to compare."""
    lines = picture.reshape(len(picture), -1)
    return lines.view(next(w for w in (np.uint64, np.uint32, np.uint8) if lines.shape[1] % w().itemsize == 0))


def _span(changed: NDArray[np.bool_]) -> slice | None:
    places = np.flatnonzero(changed)
    return slice(int(places[0]), int(places[-1]) + 1) if len(places) else None


def _align(span: slice, length: int, size: int) -> tuple[slice, slice]:
    """A span of a picture `length` long, widened to whole bands, and the pixels of the small frame that it makes."""
    large, small = _band(length, size)
    first, last = span.start // large, -(-span.stop // large)
    return slice(first * large, last * large), slice(first * small, last * small)


def _band(length: int, size: int) -> tuple[int, int]:
    """Into how many pixels at a time how many others go, so that resizing band by band changes no bit.

    OpenCV keeps the ratio as a float, which is exact if the denominator is a power of two.
    """
    common = gcd(length, size)
    exact = (size // common).bit_count() == 1
    return (length // common, size // common) if exact else (length, size)


@contextmanager
def quick_pixels() -> Iterator[None]:
    """Within, `pygame.surfarray.pixels3d` copies by OpenCV, several times faster, the pixels of a surface.

    Only for renderers that read what it returns, as Gymnasium's own do: it no longer writes through to the surface.
    """
    import pygame

    slow = pygame.surfarray.pixels3d
    pygame.surfarray.pixels3d = lambda surface: _pixels(surface) if _is_plain(surface) else slow(surface)
    try:
        yield
    finally:
        pygame.surfarray.pixels3d = slow


def _is_plain(surface: Any) -> bool:
    """Whether the surface's memory is 4 bytes a pixel, blue first, without gaps."""
    return surface.get_masks()[:3] == (0xFF0000, 0xFF00, 0xFF) and surface.get_pitch() == 4 * surface.get_width()


def _pixels(surface: Any) -> Picture:
    width, height = surface.get_size()
    pixels = np.frombuffer(surface.get_buffer(), np.uint8).reshape(height, width, 4)
    return cv2.cvtColor(pixels, cv2.COLOR_BGRA2RGB).transpose(1, 0, 2).astype(np.uint8, copy=False)
