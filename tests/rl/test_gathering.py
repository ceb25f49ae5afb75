"""Games that fail while collectors play them on Ray."""

import time

import pytest
import ray
from misbehaving import BAD_STEP, HUNG

from rl import gathering
from rl.buffer import BufferActor
from rl.collector import CollectorActor, Shares
from rl.gathering import Gathering, Order
from rl.settings import GameSettings
from rl.supervised import Supervised
from worldmodel.data.reader import BufferReader
from worldmodel.errors import UserError
from worldmodel.spaces import ActionSpec

ENVS, SIZE = 2, 16


@pytest.fixture
def gather(cluster, tmp_path, monkeypatch):
    """Gathers 40 steps of some games, one a collector, and tells what it said meanwhile."""
    monkeypatch.setattr(gathering, "_PIECE", 20)
    said, crew = [], []

    def supervised(name, start):
        crew.append(Supervised(name, start, said.append))
        return crew[-1]

    def collector(index, game):
        return supervised(f"collector {index}", lambda: CollectorActor.remote(game, SIZE, ENVS, index, 0))

    def run(*games, timeout=60.0):
        buffer = supervised(
            "the buffer", lambda: BufferActor.remote(tmp_path, (SIZE, SIZE, 3), ActionSpec.discrete(2), 1000)
        )
        collectors = [collector(index, game) for index, game in enumerate(games)]
        order = Order(1, Shares(), ray.put(None), tmp_path)
        list(Gathering(collectors, buffer, tmp_path, order, timeout).run(40))
        return said

    yield run
    for member in crew:
        ray.kill(member.actor)


def lengths(folder):
    """Lengths of the episodes in the buffer, by collector."""
    found = {}
    for record in BufferReader(folder).episodes:
        found.setdefault(record.info.collector, []).append(record.length)
    return found


@pytest.mark.parametrize("fault", ["Raises", "Stubborn"])
def test_a_game_that_fails_ends_the_gathering_with_all_play_in_the_buffer(gather, tmp_path, fault):
    games = (GameSettings(f"misbehaving:{fault}-v0", patience=0.5), GameSettings("misbehaving:Walk-v0"))
    with pytest.raises(UserError, match=rf"misbehaving:{fault}-v0 failed in step\([01]\) at step 3 of the game with"):
        gather(*games)
    assert lengths(tmp_path) == {0: [BAD_STEP - 1] * ENVS, 1: [10] * ENVS}


def test_a_collector_that_hangs_for_good_is_started_again_and_told_in_the_end(gather):
    with pytest.raises(UserError, match=r"collector 0 brought no play within 3 s and was started again, 3 times"):
        gather(GameSettings("misbehaving:Hangs-v0", patience=None), timeout=3.0)


def test_a_collector_that_was_late_plays_its_piece_again(gather, tmp_path):
    HUNG.unlink(missing_ok=True)
    said = gather(GameSettings("misbehaving:HangsOnce-v0", 15, patience=None), timeout=8.0)
    assert said == ["collector 0 died (brought no play within 8 s) and is started again"]
    assert sum(lengths(tmp_path)[0]) == 40


@ray.remote(num_cpus=0)
class Silent:
    def answer(self):
        time.sleep(3600)


def test_an_actor_that_gives_no_answer_is_told(cluster):
    silent = Supervised("the evaluator", Silent.remote, print)
    with pytest.raises(UserError, match=r"the evaluator gave no answer within 1 s: .*--evaluate\.timeout"):
        silent.ask(lambda actor: actor.answer.remote(), timeout=1.0)
    ray.kill(silent.actor)
