"""Files as accidents leave them."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from worldmodel.errors import UserError
from worldmodel.families import load_world_model


def spoiled(whole: bytes, cuts: int, flips: int, seed: int = 0) -> Iterator[tuple[str, bytes]]:
    """A file's bytes cut off at `cuts` places and with `flips` single bits turned, most of them in its first part."""
    rng = np.random.default_rng(seed)
    for length in np.linspace(0, len(whole) - 1, cuts).astype(int).tolist():
        yield f"cut at {length}", whole[:length]
    for share in rng.random(flips) ** 3:
        place, bit = int(share * len(whole)), int(rng.integers(8))
        yield f"bit {bit} of byte {place}", whole[:place] + bytes([whole[place] ^ 1 << bit]) + whole[place + 1 :]


def check_refusals(folder: Path, name: str) -> None:
    """Spoil this file of a world model's folder: each time it is refused in one sentence, or harms nothing."""
    path = folder / name
    for told, data in spoiled(path.read_bytes(), cuts=2, flips=3):
        path.write_bytes(data)
        try:
            load_world_model(folder)
        except UserError as error:
            assert str(folder) in str(error), told
            assert "\n" not in str(error), told
