"""The episodes of a buffer in tables, and one of them as a whole."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from experiments.table import new_table
from worldmodel.data.episode import OUTCOME_FIELDS, Episode
from worldmodel.data.reader import BufferReader

ENDS = ("terminated", "truncated", "goes on")
"""how an episode may end; the last: it was cut off while its game went on"""


def episode_of(reader: BufferReader, place: int) -> Episode:
    """The episode at this place in `reader.episodes`, its pieces in one."""
    record = reader.episodes[place]
    steps = slice(reader.table.offset[place], reader.table.offset[place] + record.length)
    ids = reader.table.frame_ids(np.array(place), np.arange(record.length + 1))
    outcomes = {name: getattr(reader.steps, name)[steps] for name in ("actions", *OUTCOME_FIELDS)}
    return Episode(reader.frames(ids), info=record.info, **outcomes)


def ends_of(reader: BufferReader) -> NDArray[np.int64]:
    """How every episode ends, as places in `ENDS`, (episodes,)."""
    last = reader.table.offset + reader.table.length - 1
    return np.select([reader.steps.terminated[last], reader.steps.truncated[last]], [0, 1], 2)


def episodes_table(reader: BufferReader, places: Iterable[int]) -> Table:
    """A line for each of the episodes at these places."""
    table = new_table(f"{reader.episodes[0].info.env_id}: episodes", "number")
    table.columns[0].justify = "right"
    table.add_column("source")
    for name in ("round", "from step", "length", "return"):
        table.add_column(name, justify="right")
    table.add_column("end")
    table.add_column("seed", justify="right")
    ends = ends_of(reader)
    for place in places:
        episode = reader.episodes[place]
        info, seed = episode.info, episode.info.seed
        told = (place + 1, info.source, info.round, info.start, episode.length, f"{episode.return_:.5g}",
                ENDS[ends[place]], "" if seed is None else seed)  # fmt: skip
        table.add_row(*map(str, told))
    return table


def totals_table(reader: BufferReader) -> Table:
    """What the episodes of every source come to, and all of them."""
    table = new_table("In all", "source")
    rewards = ("rewards below 0", "at 0", "above 0")
    for name in ("episodes", "steps", "mean return", *rewards, *ENDS, "lives lost"):
        table.add_column(name, justify="right")
    sources = np.array([episode.info.source for episode in reader.episodes])
    for source in np.unique(sources).tolist():
        table.add_row(source, *_totals(reader, sources == source))
    table.add_section()
    table.add_row("all", *_totals(reader, np.full(len(sources), True)))
    table.caption = (
        "Source: who began the episode. From step: a longer game is several episodes. Goes on: the game was not over"
        " when the episode was."
    )
    return table


def _totals(reader: BufferReader, chosen: NDArray[np.bool_]) -> list[str]:
    """The cells of the episodes that are `chosen`, (episodes,)."""
    steps = np.repeat(chosen, reader.table.length)
    signs = np.sign(reader.steps.rewards[steps]).astype(np.int64)
    returns = [episode.return_ for episode, wanted in zip(reader.episodes, chosen, strict=True) if wanted]
    counts = [
        *np.bincount(signs + 1, minlength=3),
        *np.bincount(ends_of(reader)[chosen], minlength=3),
        reader.steps.life_lost[steps].sum(),
    ]
    return [f"{len(returns):,}", f"{len(signs):,}", f"{np.mean(returns):.5g}", *(f"{count:,}" for count in counts)]
