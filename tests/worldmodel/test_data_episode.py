from dataclasses import replace

import numpy as np
import pytest
from playing import counted


def test_an_episode_counts_its_steps():
    assert len(counted(0)) == 8
    assert len(counted(0, 2, 5)) == 3


@pytest.mark.parametrize(
    "change",
    [
        {"frames": counted(0).frames.astype(np.float32)},
        {"frames": counted(0).frames[:-1]},
        {"actions": counted(0).actions.astype(np.int32)},
        {"rewards": counted(0).rewards.astype(np.float64)},
        {"truncated": np.eye(8, dtype=bool)[3]},
        {"terminated": np.eye(8, dtype=bool)[0]},
    ],
)
def test_an_episode_that_is_not_one_is_refused(change):
    with pytest.raises(ValueError):
        replace(counted(0), **change)
