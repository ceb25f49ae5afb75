"""Runs whose actors are killed in the middle of a round, and runs that are resumed."""

import os
import signal
import threading
from contextlib import contextmanager

import pytest
import ray
from miniature import MINIATURE

from rl import gathering
from rl.dyna import DynaConfig
from rl.figures import BY_THE_CLOCK
from rl.progress import NullProgress
from rl.reporting import scalars
from rl.supervised import Question, Supervised, wait_until_started
from worldmodel.data.reader import BufferReader
from worldmodel.errors import UserError

COLLECT = MINIATURE.collect
KILLED_IN = {"collect": ("collector 0", "the buffer"), "fit head": ("the learner",), "evaluate": ("the evaluator",)}


class Killer(NullProgress):
    """Kills actors of `algorithm`, each once, when a phase has just begun; let it judge agents in turn then."""

    def __init__(self, algorithm) -> None:
        self.processes = {member.name: process_of(member.actor) for member in algorithm._crew.all}
        self.left = dict(KILLED_IN)
        self.said = []

    @contextmanager
    def phase(self, name, total):
        for member in self.left.pop(name, ()):
            os.kill(self.processes[member], signal.SIGKILL)
        with super().phase(name, total) as advance:
            yield advance

    def say(self, sentence):
        self.said.append(sentence)


def process_of(actor):
    return ray.get(actor.__ray_call__.remote(lambda _: os.getpid()))


@pytest.fixture
def made(cluster, tmp_path, monkeypatch):
    monkeypatch.setattr(gathering, "_PIECE", 60)
    algorithms = []

    def make(name):
        algorithms.append(DynaConfig(MINIATURE, folder=tmp_path / name).build_algo())
        return algorithms[-1]

    yield make
    for algorithm in algorithms:
        algorithm.stop()


def told(report):
    return {name: value for name, value in scalars(report).items() if not name.startswith(BY_THE_CLOCK)}


def played(folder):
    reader = BufferReader(folder / "buffer")
    return reader.episodes, reader.steps.actions.tolist()


@pytest.mark.slow
def test_a_round_whose_actors_are_killed_ends_as_if_they_had_lived(made, tmp_path):
    """One judges its agents beside the fit and the dream, the other in turn: that must change nothing either."""
    steady, struck = made("steady"), made("struck")
    steady.judges_beside, struck.judges_beside = True, False
    killer = struck.progress = Killer(struck)
    for algorithm in (steady, struck):
        algorithm.train()
    assert not killer.left
    assert struck.last_report.restarts == {name: 1 for names in KILLED_IN.values() for name in names}
    assert steady.last_report.restarts == struck._crew.take_deaths() == {}
    assert told(struck.last_report) == told(steady.last_report)
    assert played(tmp_path / "struck") == played(tmp_path / "steady")
    assert all("died (Worker unexpectedly exits" in sentence for sentence in killer.said)


@pytest.mark.slow
def test_a_run_that_is_resumed_ends_as_one_that_was_left_alone(made, tmp_path):
    """Round 3 is resumed after it has played its first piece."""
    steady, stopped = made("steady"), made("stopped")
    for algorithm in (steady, stopped):
        for _ in (1, 2):
            algorithm.train()
    steady.train()
    stopped.save_round(tmp_path / "2")
    next(stopped._crew.gathering(stopped._order(3)).run(COLLECT.steps))
    stopped.stop()
    resumed = made("stopped")
    resumed.load_round(tmp_path / "2")
    resumed.train()
    assert told(resumed.last_report) == told(steady.last_report)
    assert played(tmp_path / "stopped") == played(tmp_path / "steady")


@ray.remote(num_cpus=0)
class Mortal:
    def __init__(self, sentence=None):
        if sentence:
            raise UserError(sentence)

    def die(self):
        print("the last words", flush=True)
        os._exit(1)

    def die_once(self, grave):
        if not grave.exists():
            grave.touch()
            os._exit(1)
        return "risen"

    def answer(self):
        return 42


@ray.remote(num_cpus=0, max_concurrency=2)
class Waiting:
    def __init__(self):
        self._door = threading.Event()

    def open(self):
        self._door.set()

    def pass_through(self):
        return self._door.wait() and "open"

    def wait_for(self, other):
        return ray.get(other.pass_through.remote())


def test_one_that_dies_again_and_again_ends_the_run_in_one_sentence(cluster):
    said = []
    member = Supervised("the mortal", Mortal.remote, said.append)
    with pytest.raises(UserError, match=r"the mortal died 3 times in one round .*same command goes on\.") as error:
        member.ask(lambda actor: actor.die.remote())
    assert len(said) == 2 and "\n" not in str(error.value)


def test_one_that_dies_with_two_questions_open_answers_both_and_has_died_once(cluster, tmp_path):
    member = Supervised("the mortal", Mortal.remote, [].append)
    first = Question(member, lambda actor: actor.die_once.remote(tmp_path / "grave"))
    second = Question(member, lambda actor: actor.answer.remote())
    assert (second.answer(), first.answer(), member.deaths) == (42, "risen", 1)


def test_others_work_while_a_question_is_open(cluster):
    member, other = (Supervised(name, Waiting.remote, print) for name in ("one", "other"))
    question = Question(member, lambda actor: actor.wait_for.remote(other.actor))
    other.ask(lambda actor: actor.open.remote())
    assert question.answer(timeout=30) == "open"


def test_what_init_raises_for_the_user_is_shown_as_it_is(cluster):
    member = Supervised("the mortal", lambda: Mortal.remote("mend this: do that."), print)
    with pytest.raises(UserError) as error:
        wait_until_started([member], 30, print)
    assert str(error.value) == "mend this: do that."


def test_what_finds_no_room_is_told_and_given_up(cluster):
    said = []
    member = Supervised("the mortal", lambda: Mortal.options(num_cpus=99).remote(), said.append)
    with pytest.raises(
        UserError, match=r"the mortal found no room in the cluster within 1 s \(\d CPUs and 0 GPUs free\)"
    ):
        wait_until_started([member], 1, said.append)
    ray.kill(member.actor)
