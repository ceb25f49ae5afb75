"""Episodes of the counting game, made without playing it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from counting import NO_ACTION, NUM_ACTIONS, length_of, paint, reward_of

from rl.buffer import BufferWriter
from worldmodel.data.episode import Episode, EpisodeInfo, Source
from worldmodel.data.reader import BufferReader
from worldmodel.spaces import ActionSpec

SIZE = 8
FRAME_SHAPE = (SIZE, SIZE, 3)
SPEC = ActionSpec.discrete(NUM_ACTIONS, ("none", "left", "right"))


def counted(tag: int, begin: int = 0, end: int | None = None, source: Source = "random", number: int = 1) -> Episode:
    """Steps `begin` to `end` of the counting game `tag`, under actions of its own."""
    last = length_of(tag)
    actions = np.random.default_rng(tag).integers(NUM_ACTIONS, size=last)
    led = np.concatenate([[NO_ACTION], actions])
    count = np.arange(begin, (last if end is None else end) + 1)
    step = count[:-1]
    terminated = step == last - 1
    nothing = np.zeros(len(step), bool)
    info = EpisodeInfo("counting:Counting-v0", source, 0, 0, number, 0, tag, begin)
    rewards = reward_of(step, actions[step]).astype(np.float32)
    return Episode(
        paint(count, led[count], tag, SIZE), actions[step], rewards, terminated, nothing, step % 3 == 2, info
    )


def writer_at(folder: Path, capacity: int = 1_000_000) -> BufferWriter:
    return BufferWriter(folder, FRAME_SHAPE, SPEC, capacity)


def buffer_of(folder: Path, *chunks: Sequence[Episode]) -> BufferReader:
    writer = writer_at(folder)
    for chunk in chunks:
        writer.append(chunk)
    return BufferReader(folder)


def frames_of(reader: BufferReader, episode: int) -> np.ndarray:
    """All frames of an episode."""
    return reader.frames(reader.table.frame_ids(np.array(episode), np.arange(reader.episodes[episode].length + 1)))
