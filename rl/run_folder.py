"""A run on disk.

runs/<name>/
config.json            every setting
buffer/                the real play
fitted/                the world model as it is being fitted; there only while the run goes on
rounds/NNN/            what a finished round left; appears by one rename, the only truth on resuming
world_model/latest     link to the newest round's world model
world_model/best       link to the best one; see `RoundReport.is_best`
fine_tuned/            the agent that went on in the real game, if one did; see `experiments.rows`
metrics.jsonl          one line a round
tensorboard/
report/
"""

import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from rl.checks import check_beginning
from rl.checksums import damage, other_format, write_checksums
from rl.lock import LOCK, FolderLock
from rl.reporting import write_metrics
from rl.round_report import RoundReport, load_report, save_report
from rl.settings import ImagineSettings, Settings
from worldmodel.data.chunk import CHUNKS
from worldmodel.errors import UserError
from worldmodel.files import flush, write_json, writing
from worldmodel.plain import dotted, overlay, to_plain

_MAY_CHANGE = ("rounds", "cluster.")
"""settings that say how long and where a run goes on, not what it is"""
_PATIENCE = 5.0
"""seconds to wait for a process that is about to end"""


class RunFolder:
    """The folder of one run: new, or gone on with from its last finished round.

    Args:
        path: The folder; created if it isn't there.
        settings: The run's settings.

    Raises:
        UserError: If the folder holds a run with other settings or with more rounds, or something that is no run; if
            its newest round is damaged; if it can't be written; if a new run cannot begin with its settings.
    """

    def __init__(self, path: Path, settings: Settings) -> None:
        self.path = path.absolute()
        self.settings = settings
        self._config = self.path / "config.json"
        with writing(self.path):
            _check_free(self.path, self._config)
            if not self._is_settled():
                check_beginning(settings)
            self.path.mkdir(parents=True, exist_ok=True)
            if not self._is_settled():
                with self._locked():
                    self._settle()
            for folder in (self.rounds, self.buffer, self.tensorboard, self.report, self.path / "world_model"):
                folder.mkdir(exist_ok=True)
        self._check_newest()
        if self._is_stale():
            with self._locked():
                self._renew()

    @property
    def buffer(self) -> Path:
        """Where the real play is kept."""
        return self.path / "buffer"

    @property
    def rounds(self) -> Path:
        """Where finished rounds are kept."""
        return self.path / "rounds"

    @property
    def tensorboard(self) -> Path:
        """Where TensorBoard reads."""
        return self.path / "tensorboard"

    @property
    def report(self) -> Path:
        """Where plots and the page go."""
        return self.path / "report"

    @property
    def fine_tuned(self) -> Path:
        """Where the policy is kept that went on in the real game, if one did."""
        return self.path / "fine_tuned"

    @property
    def metrics(self) -> Path:
        """One line of scalars a round."""
        return self.path / "metrics.jsonl"

    @property
    def last_round(self) -> int:
        """The last finished round; 0 if there is none."""
        return max((int(folder.name) for folder in self._finished()), default=0)

    def round_folder(self, number: int) -> Path:
        """What round `number` left."""
        return self.rounds / f"{number:03d}"

    def reports(self) -> list[RoundReport]:
        """The reports of all finished rounds, in order."""
        return [load_report(folder / "report.json") for folder in self._finished()]

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Within, no other process may go on with this run.

        Raises:
            UserError: If one does.
        """
        with self._locked():
            self._forget_unfinished()
            yield

    @contextmanager
    def commit(self, report: RoundReport) -> Iterator[Path]:
        """A folder to save a round in; when the context is left without an error, the round is finished.

        The time within is added to the report, as a phase of its own.

        Raises:
            UserError: If it can't be written; nothing is left of it then.
        """
        unfinished = self.rounds / f"{report.round:03d}.tmp"
        began = time.monotonic()
        with writing(unfinished):
            try:
                unfinished.mkdir()
                yield unfinished
                seconds = report.seconds | {"save": time.monotonic() - began}
                save_report(unfinished / "report.json", replace(report, seconds=seconds))
                write_checksums(unfinished)
                _flush(unfinished)
            except BaseException:
                shutil.rmtree(unfinished, ignore_errors=True)
                raise
            unfinished.rename(self.round_folder(report.round))
            flush(self.rounds)
            self._renew()

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with writing(self.path):
            lock = FolderLock(self.path, _PATIENCE)
        try:
            yield
        finally:
            lock.release()

    def _is_settled(self) -> bool:
        """Whether the settings stand in their file already."""
        try:
            stored: object = json.loads(self._config.read_text())
        except (OSError, ValueError):
            return False
        return stored == to_plain(self.settings)

    def _settle(self) -> None:
        """Write the settings, which make the folder a run, unless others brought it where it is."""
        if self._config.exists() and self._has_begun():
            _check_same(self._stored(), self.settings, self.path)
            self._check_rounds()
        write_json(self._config, to_plain(self.settings))

    def _check_rounds(self) -> None:
        """Refuse fewer rounds than there are: what came of all of them would be taken for what came of those."""
        finished = len(self._finished()) if self.rounds.is_dir() else 0
        if finished > self.settings.rounds:
            raise UserError(
                f"{self.path} has {finished} finished rounds, more than --rounds {self.settings.rounds}: ask for as"
                " many, or choose another --name."
            )

    def _is_stale(self) -> bool:
        """Whether the process was killed after its last round, before links and figures showed it."""
        lines = self.metrics.read_text().splitlines() if self.metrics.exists() else []
        return len(lines) != len(self._finished())

    def _renew(self) -> None:
        """Let the links and the figures show all finished rounds; the figures last, as `_is_stale` asks for them."""
        reports = self.reports()
        self._link_world_models(reports)
        write_metrics(self.metrics, reports)

    def _finished(self) -> list[Path]:
        return finished_rounds(self.path)

    def _forget_unfinished(self) -> None:
        for folder in self.rounds.glob("*.tmp"):
            shutil.rmtree(folder)

    def _has_begun(self) -> bool:
        """Whether anything was played or finished; settings that never came so far may be changed."""
        return any(self.buffer.glob(CHUNKS)) or (self.rounds.is_dir() and bool(self._finished()))

    def _check_newest(self) -> None:
        newest = self.round_folder(self.last_round)
        if self.last_round and (other := other_format(newest)) is not None:
            raise UserError(
                f"{newest} was written by another version of this project (format {other}): go on with that version, or"
                " choose another --name."
            )
        if self.last_round and (found := damage(newest)):
            raise UserError(
                f"{newest} is damaged ({found}): restore it from a copy, or give"
                f" `python experiments/mend.py {self.path}`, which sets it aside, to go on from the round before."
            )

    def _stored(self) -> Settings:
        try:
            values = json.loads(self._config.read_text())
        except ValueError as error:
            raise UserError(
                f"{self._config} is damaged ({error}): restore it from a copy, or choose another --name."
            ) from error
        try:
            return overlay(Settings(), values, str(self._config))
        except UserError as error:
            raise UserError(
                f"{self.path} was begun by another version of this project ({error}): go on with that version, or"
                " choose another --name."
            ) from error

    def _link_world_models(self, reports: list[RoundReport]) -> None:
        kept = [report for report in reports if (self.round_folder(report.round) / "world_model").exists()]
        best = [report for report in kept if report.is_best]
        if kept:
            self._link(self.path / "world_model" / "latest", kept[-1].round)
        if best:
            self._link(best_world_model(self.path), best[-1].round)

    def _link(self, link: Path, number: int) -> None:
        fresh = link.with_suffix(".tmp")
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(Path("..") / "rounds" / f"{number:03d}" / "world_model")
        fresh.replace(link)


def check_is_run(path: Path) -> None:
    """Refuse a folder that holds no run.

    Raises:
        UserError: If it does not.
    """
    if not (path / "config.json").is_file() or not (path / "rounds").is_dir():
        raise UserError(f"{path} holds no run: name the folder of one, such as runs/cartpole-seed0.")


def best_world_model(run: Path) -> Path:
    """The link to the best world model of the run in the folder `run`; it is there once a round is finished."""
    return run / "world_model" / "best"


def finished_rounds(run: Path) -> list[Path]:
    """The folders of the finished rounds of the run in the folder `run`, in order."""
    return sorted(folder for folder in (run / "rounds").iterdir() if folder.name.isdecimal())


def mend_rounds(run: Path) -> list[str]:
    """Set the damaged rounds of the run in the folder `run` aside. Returns what was wrong, a sentence each."""
    found = []
    for folder in finished_rounds(run) if (run / "rounds").is_dir() else ():
        if reason := damage(folder):
            aside = folder.with_name(f"{folder.name}.damaged.{time.time_ns()}")
            folder.rename(aside)
            found.append(f"{folder} was damaged ({reason}) and is now {aside.name}.")
    return found


def _check_free(path: Path, config: Path) -> None:
    if path.exists() and not path.is_dir():
        raise UserError(f"{path} is a file; choose another --name or --runs-dir.")
    own = (config.name, LOCK)
    strangers = path.exists() and any(not there.name.startswith(own) for there in path.iterdir())
    if strangers and not config.exists():
        raise UserError(f"{path} holds something that is no run; choose another --name or --runs-dir.")


def _check_same(stored: Settings, settings: Settings, path: Path) -> None:
    old, new = dotted(stored), dotted(settings)
    # A learning-rate schedule over the whole run would be another one.
    may_change = _MAY_CHANGE[1:] if _is_scheduled(settings.imagine) else _MAY_CHANGE
    changed = [name for name in new if new[name] != old[name] and not name.startswith(may_change)]
    if changed:
        was = ", ".join(f"{name} = {_shown(old[name])} (now {_shown(new[name])})" for name in changed)
        raise UserError(f"{path} was begun with {was}; give the same settings to go on with it, or another --name.")


def _is_scheduled(imagine: ImagineSettings) -> bool:
    return imagine.learning_rate_end is not None and not imagine.afresh


def _shown(value: Any) -> str:
    return json.dumps(to_plain(value))


def _flush(folder: Path) -> None:
    for path in (*folder.rglob("*"), folder):
        flush(path)
