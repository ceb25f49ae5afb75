"""Actors that may die: they are started again, and asked again."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, OutOfMemoryError, RayActorError

from worldmodel.errors import UserError

DEATHS = (RayActorError, OutOfMemoryError)
"""What a call raises whose actor died, or was killed by Ray because memory ran short."""
MOST_DEATHS = 3
"""deaths in one round that are too many"""
_LAST_LINES = 3
_SECONDS_BETWEEN_WORDS = 15.0

Say = Callable[[str], None]
"""Tells whoever watches the run."""


class Supervised:
    """One actor, started again whenever it dies.

    Ray could restart it by itself, but would tell nobody, and would call an actor that has lost what it knew.

    Attributes:
        name: What the user knows it by.
        actor: Its handle, a new one after each death.
        deaths: How often it has died in this round.
    """

    def __init__(
        self, name: str, start: Callable[[], Any], say: Say, prepare: Callable[[Any], None] | None = None
    ) -> None:
        """Start it, without waiting for it.

        Args:
            name: What the user knows it by.
            start: Makes the actor.
            say: Where deaths are told.
            prepare: Gives an actor that was started again what the one before it knew.
        """
        self.name = name
        self.deaths = 0
        self._start, self._say, self._prepare = start, say, prepare
        self.actor = start()

    def ask(self, call: Callable[[Any], Any], timeout: float | None = None) -> Any:
        """What `call`, given the actor's handle, brings within `timeout` seconds; called again after each death.

        Raises:
            UserError: What the actor raised; or that it dies again and again, or does not answer.
        """
        return Question(self, call).answer(timeout)

    def revive(self, error: Exception) -> None:
        """Start it again after `error`.

        Raises:
            UserError: If it has died too often, or cannot be made.
        """
        raise_user_error(error)
        self.deaths += 1
        if self.deaths >= MOST_DEATHS:
            raise UserError(_storm(self.name, self.deaths, error)) from error
        self._say(f"{self.name} died ({cause_of_death(error)}) and is started again")
        ray.kill(self.actor)
        self.actor = self._start()
        self.prepare()

    def prepare(self) -> None:
        """Give it what the one before it knew."""
        try:
            if self._prepare:
                self._prepare(self.actor)
        except DEATHS as error:
            self.revive(error)


class Question:
    """What an actor was asked, and answers while others work."""

    def __init__(self, member: Supervised, call: Callable[[Any], Any]) -> None:
        """Ask `member` by `call`, given its actor's handle, and do not wait."""
        self._member, self._call = member, call
        self._ask()

    def answer(self, timeout: float | None = None) -> Any:
        """The answer, waited for `timeout` seconds at most; asked again after each death.

        Raises:
            UserError: See `Supervised.ask`.
        """
        while True:
            try:
                return ray.get(self._answer, timeout=timeout)
            except GetTimeoutError as error:
                raise UserError(
                    f"{self._member.name} gave no answer within {timeout:g} s: mend the game if it hangs, or raise the"
                    " timeout (--evaluate.timeout)."
                ) from error
            except DEATHS as error:
                # Another question may have found it dead already.
                if self._asked is self._member.actor:
                    self._member.revive(error)
                self._ask()

    def _ask(self) -> None:
        self._asked = self._member.actor
        self._answer = self._call(self._asked)


def wait_until_started(crew: Sequence[Supervised], patience: float, say: Say) -> None:
    """Wait until all of `crew` are there, at most `patience` seconds; what is awaited is said now and then.

    Raises:
        UserError: If one cannot be made, or the cluster has no room for it in time.
    """
    for member in crew:
        _wait_for(member, patience, say)


def raise_user_error(error: Exception) -> None:
    """Raise the `UserError` that an actor's `__init__` raised, if `error` came of one; Ray keeps its text alone."""
    _, found, sentence = str(error).rpartition(f"{UserError.__module__}.{UserError.__name__}: ")
    if found:
        raise UserError(sentence.strip()) from error


def cause_of_death(error: Exception) -> str:
    """Why an actor died, in a few words."""
    detail = str(error).rpartition("Worker exit detail: ")[2].strip()
    return detail.partition(" Some common causes")[0].rstrip(".")


def _wait_for(member: Supervised, patience: float, say: Say) -> None:
    ready, waited = member.actor.__ray_ready__.remote(), 0.0
    while not ray.wait([ready], timeout=min(_SECONDS_BETWEEN_WORDS, patience - waited))[0]:
        waited += _SECONDS_BETWEEN_WORDS
        if waited >= patience:
            raise UserError(_no_room(member.name, patience))
        say(f"{member.name} waits for room in the cluster, which has {free_resources()} free")
    member.ask(lambda actor: actor.__ray_ready__.remote())


def _no_room(name: str, patience: float) -> str:
    return (
        f"{name} found no room in the cluster within {patience:g} s ({free_resources()} free): end other work there,"
        " ask for less (--collect.collectors), or raise --cluster.patience."
    )


def free_resources() -> str:
    """CPUs and GPUs of the cluster that nobody holds."""
    free = ray.available_resources()
    return f"{free.get('CPU', 0.0):g} CPUs and {free.get('GPU', 0.0):g} GPUs"


def _storm(name: str, deaths: int, error: Exception) -> str:
    log = _newest_log(error)
    words = " / ".join(log.read_text(errors="replace").splitlines()[-_LAST_LINES:]) if log else ""
    told = f"; its last words in {log}: {words or 'none'}" if log else ""
    return (
        f"{name} died {deaths} times in one round ({cause_of_death(error)}{told}), most often for want of memory: free"
        " some, or ask for less (--collect.envs, --fit.batch-size), and the same command goes on."
    )


def _newest_log(error: Exception) -> Path | None:
    """Where the dead process wrote, if that was on this machine."""
    pid = str(error).partition("pid: ")[2].split("\n")[0].strip()
    node = ray._private.worker._global_node
    logs = Path(node.get_logs_dir_path()).glob(f"worker-*-{pid}.err") if pid.isdecimal() and node else ()
    return next(iter(logs), None)
