"""Files as accidents leave them."""

from collections.abc import Iterator

import numpy as np


def spoiled(whole: bytes, cuts: int, flips: int, seed: int = 0) -> Iterator[tuple[str, bytes]]:
    """A file's bytes cut off at `cuts` places and with `flips` single bits turned, most of them in its first part."""
    rng = np.random.default_rng(seed)
    for length in np.linspace(0, len(whole) - 1, cuts).astype(int).tolist():
        yield f"cut at {length}", whole[:length]
    for share in rng.random(flips) ** 3:
        place, bit = int(share * len(whole)), int(rng.integers(8))
        yield f"bit {bit} of byte {place}", whole[:place] + bytes([whole[place] ^ 1 << bit]) + whole[place + 1 :]
