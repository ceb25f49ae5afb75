import pytest

from rl.gathering import play_until


class Played:
    """As many steps as are wanted, a rare reward in each of these."""

    lap = 1000

    def __init__(self, steps, rare):
        self.steps, self._rare, self.asked = steps, rare, []

    def run(self, wanted):
        self.asked.append(wanted)
        self.steps = max(self.steps, wanted)
        yield wanted

    def seen(self):
        return sum(step <= self.steps for step in self._rare)


def test_enough_at_once_plays_no_more():
    played = Played(4000, [10, 20, 30])
    assert list(play_until(played, played.seen, wanted=3, most=9000)) == [3]
    assert not played.asked


def test_it_plays_on_until_enough_are_seen():
    played = Played(4000, [10, 4500, 6500, 6600])
    assert list(play_until(played, played.seen, wanted=3, most=9000)) == [1, 1, 0, 2]
    assert played.asked == [5000, 6000, 7000]


def test_it_waits_no_longer_than_it_may():
    played = Played(4000, [])
    assert sum(play_until(played, played.seen, wanted=3, most=5500)) == 0
    assert played.asked == [5000, 5500]


@pytest.mark.parametrize("interrupted", range(4000, 9000, 1000))
def test_wherever_it_is_interrupted_it_ends_where_it_would_have_ended(interrupted):
    rare = [10, 4400, 6500, 8200]
    alone = Played(4000, rare)
    list(play_until(alone, alone.seen, wanted=3, most=9000))
    assert alone.steps == 7000
    again = Played(min(interrupted, alone.steps), rare)
    list(play_until(again, again.seen, wanted=3, most=9000))
    assert again.steps == alone.steps
