from dataclasses import replace

import numpy as np
import pytest
from counting import length_of
from playing import buffer_of, counted, writer_at

from worldmodel.data.reader import BufferReader
from worldmodel.data.sources import Played


def paid(*episodes):
    return sum(float(episode.rewards.sum()) for episode in episodes)


def test_whoever_played_a_piece_has_its_steps_and_its_end(tmp_path):
    """The second game changes hands after five steps: its end is the agent's, its first steps are not."""
    whole, begun = counted(3), counted(4, 0, 5)
    ended, other = counted(4, 5, None, "policy"), counted(5, source="policy")
    played = buffer_of(tmp_path, [whole, begun], [ended, other]).by_source()
    assert played == {
        "random": Played(length_of(3) + 5, paid(whole, begun), 1),
        "policy": Played(length_of(4) - 5 + length_of(5), paid(ended, other), 2),
    }
    assert played["policy"].mean_return == pytest.approx(paid(ended, other) / 2)


def test_a_game_that_reached_its_limit_counts_as_one_that_ended(tmp_path):
    piece = counted(4, 0, 5, "expert")
    cut = replace(piece, truncated=np.arange(len(piece)) == len(piece) - 1)
    assert buffer_of(tmp_path, [cut]).by_source() == {"expert": Played(5, paid(cut), 1)}


def test_no_end_no_mean_return(tmp_path):
    played = buffer_of(tmp_path, [counted(4, 0, 5)]).by_source()
    assert np.isnan(played["random"].mean_return)


def test_what_was_evicted_does_not_count(tmp_path):
    writer = writer_at(tmp_path, capacity=20)
    for tag in (3, 4, 5):
        writer.append([counted(tag)])
    assert BufferReader(tmp_path).by_source() == {"random": Played(length_of(5), paid(counted(5)), 1)}
