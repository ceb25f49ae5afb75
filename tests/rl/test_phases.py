from contextlib import contextmanager

import pytest

from rl import phases
from rl.phases import Phases, Spent


@pytest.fixture
def clock(monkeypatch):
    """Goes on by a second whenever it is looked at."""
    ticks = iter(range(100))
    monkeypatch.setattr(phases.time, "monotonic", lambda: float(next(ticks)))


def test_phases_of_one_name_add_up_and_are_told_once(clock):
    gone_through = Phases()
    for units in (3, 4):
        with gone_through.phase("imagine", 10) as advance:
            advance(units, loss=0.5)
            advance(1)
    with gone_through.phase("save"):
        pass
    assert gone_through.take() == {"imagine": Spent(2.0, 9), "save": Spent(1.0, 0)}
    assert gone_through.take() == {}


def test_a_phase_that_broke_off_does_not_count(clock):
    gone_through = Phases()
    with pytest.raises(RuntimeError), gone_through.phase("fit", 10) as advance:
        advance(5)
        raise RuntimeError
    assert gone_through.take() == {}


def test_whoever_watches_sees_every_advance():
    seen = []

    class Watcher:
        @contextmanager
        def phase(self, name, total):
            seen.append((name, total))
            yield lambda n, **figures: seen.append((n, figures))

    gone_through = Phases()
    gone_through.progress = Watcher()
    with gone_through.phase("collect", 7) as advance:
        advance(2, real_return=1.0)
    assert seen == [("collect", 7), (2, {"real_return": 1.0})]
