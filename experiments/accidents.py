"""What can happen to a run, done to a small one: it must end as one that was left alone, to the last bit."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import psutil
import tyro
from rich.console import Console

from experiments.stopping import STOPPED
from rl.figures import BY_THE_CLOCK
from rl.settings import (
    ClusterSettings,
    CollectSettings,
    EvaluateSettings,
    GameSettings,
    ImagineSettings,
    Settings,
)
from worldmodel.data.reader import BufferReader
from worldmodel.files import write_json
from worldmodel.fitting import FitConfig
from worldmodel.head_config import HeadConfig
from worldmodel.latent.config import AdapterConfig, AutoencoderConfig, DenoiserConfig, LatentConfig, SamplerConfig
from worldmodel.plain import to_plain

SMALLEST = Settings(
    rounds=3,
    game=GameSettings("CartPole-v1"),
    collect=CollectSettings(envs=4, first_steps=1200, steps=1200),
    model=LatentConfig(
        frame_size=32,
        context=2,
        autoencoder=AutoencoderConfig(channels=(8, 8, 8), latent_channels=4),
        denoiser=DenoiserConfig(channels=(32, 64)),
        adapter=AdapterConfig(rank=2, alpha=2),
        sampler=SamplerConfig(steps=1),
        head=HeadConfig(members=1, hidden=8),
    ),
    fit=FitConfig(
        autoencoder_steps=50,
        first_steps=50,
        steps=50,
        head_steps=25,
        head_batch_size=16,
        head_dreams=32,
        more_fits=0,
        batch_size=8,
        unroll=2,
        dream=4,
    ),
    imagine=ImagineSettings(stack=2, dreams=16, horizon=12, steps=2048, rollout=8, minibatch=64, epochs=2),
    evaluate=EvaluateSettings(episodes=4),
    cluster=ClusterSettings(threads=1, num_cpus=2),
)
"""Three rounds that take less time than it takes to start Ray."""

_LONGEST_STOP = 15.0
_LONGEST_RUN = 600.0


@dataclass(frozen=True)
class Accident:
    """A signal at a certain moment of a run.

    Attributes:
        name: For the table.
        after: What the run has just printed.
        round: In which round it did; 0: before the first.
        sent: The signal.
        victim: To whom: the title of an actor's process; None: the run itself; the same command goes on.
        delay: Seconds between what it printed and the signal.
    """

    name: str
    after: str
    round: int
    sent: signal.Signals = signal.SIGKILL
    victim: str | None = None
    delay: float = 0.1


MOMENTS = (
    Accident("start of Ray", "starting Ray", 0, delay=1.0),
    Accident("start of the actors", "starting Ray", 0, delay=6.0),
    Accident("fit autoencoder", "collect", 1),
    Accident("fit dynamics", "fit autoencoder", 1),
    Accident("collect", "round 2", 2, delay=0.5),
    Accident("fit adapter", "collect", 2),
    Accident("fit head", "fit adapter", 2),
    Accident("hand over", "fit head", 2, delay=0.0),
    Accident("imagine", "hand over", 2, delay=0.3),
    Accident("evaluate", "imagine", 2, delay=0.0),
    Accident("judge dream", "evaluate", 2),
    Accident("save", "judge dream", 2, delay=0.0),
    Accident("the end of round 2", "real return", 2, delay=0.0),
)
ACTORS = (
    Accident("learner in fit dynamics", "fit autoencoder", 1, victim="ray::WorldModelLearner"),
    Accident("collector in collect", "round 2", 2, victim="ray::Collector", delay=0.3),
    Accident("learner in fit adapter", "collect", 2, victim="ray::WorldModelLearner"),
    Accident("evaluator in evaluate", "imagine", 2, victim="ray::Evaluator", delay=0.0),
    Accident("learner in judge dream", "evaluate", 2, victim="ray::WorldModelLearner"),
    Accident("buffer in collect", "round 3", 3, victim="ray::BufferActor", delay=0.3),
)


Series = Literal["killed", "actors", "interrupted", "terminated"]
"""Accidents that befall one run, one after the other."""

SERIES: dict[Series, Sequence[Accident]] = {
    "killed": MOMENTS,
    "actors": ACTORS,
    "interrupted": [replace(moment, sent=signal.SIGINT) for moment in MOMENTS],
    "terminated": [replace(moment, sent=signal.SIGTERM) for moment in MOMENTS],
}


@dataclass(frozen=True)
class AccidentOptions:
    """Strike a small run at every moment, each time with the same command, and compare it with one left alone."""

    series: tuple[Series, ...] = tuple(SERIES)
    """killed: SIGKILL of the run; actors: SIGKILL of its actors; interrupted: Ctrl-C; terminated: SIGTERM"""
    folder: Path | None = None
    """where to keep the runs; None: nowhere"""


class Command:
    """The same command, given again and again until the run has ended by itself.

    Attributes:
        left: Accidents that are still to come.
        printed: All that the run has printed.
        faults: What was not as it should be.
    """

    def __init__(self, folder: Path, name: str, accidents: Sequence[Accident] = ()) -> None:
        self._folder, self._name = folder, name
        self.left = list(accidents)
        self.printed: list[str] = []
        self.faults: list[str] = []

    def run(self) -> None:
        """Give the command, through all accidents, to the end."""
        while (struck := self._once()) and not self.faults:
            pass
        self.faults += [f"{accident.name} never came" for accident in self.left if not self.faults and not struck]

    def _once(self) -> Accident | None:
        """Give it once. Returns what ended it; None: it came to its end."""
        with self._process() as process:
            struck = self._watch(process)
            began, text = time.monotonic(), len(self.printed)
            self.printed += list(process.stdout or ())
            status = process.wait(_LONGEST_RUN)
        if struck is None:
            self.faults += [f"ended with status {status}: {' '.join(self.printed[-3:])}"] if status else []
        elif struck.sent != signal.SIGKILL:
            self._check_stop(struck, status, "".join(self.printed[text:]), time.monotonic() - began)
        return struck

    def _watch(self, process: subprocess.Popen[str]) -> Accident | None:
        """Let accidents happen, up to the first that befalls the run itself; which it was."""
        number = 0
        for line in process.stdout or ():
            self.printed.append(line)
            number = int(line.split()[1]) if line.startswith("round ") else number
            while self.left and self.left[0].round == number and line.strip().startswith(self.left[0].after):
                accident = self.left.pop(0)
                time.sleep(accident.delay)
                strike(process.pid, accident)
                if accident.victim is None:
                    return accident
        return None

    def _check_stop(self, accident: Accident, status: int, text: str, seconds: float) -> None:
        wrong = {
            f"status {status}": status != STOPPED,
            "a traceback": "Traceback" in text,
            "no word on how to go on": "To go on" not in text,
            f"{seconds:.0f} s": seconds > _LONGEST_STOP,
        }
        self.faults += [f"{accident.name} ended with {what}" for what, is_so in wrong.items() if is_so]

    @contextmanager
    def _process(self) -> Iterator[subprocess.Popen[str]]:
        script = Path(__file__).with_name("dyna.py")
        arguments = ("--config", self._folder / "settings.json", "--runs-dir", self._folder, "--name", self._name)
        with subprocess.Popen(
            [sys.executable, script, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            env=os.environ | {"PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1"},
        ) as process:
            yield process


def strike(driver: int, accident: Accident) -> None:
    """Send the signal: Ctrl-C goes to everybody in the terminal."""
    if accident.sent == signal.SIGINT:
        os.killpg(driver, accident.sent)
    elif accident.victim is None:
        os.kill(driver, accident.sent)
    else:
        for process in psutil.Process(driver).children(recursive=True):
            if " ".join(process.cmdline()).startswith(accident.victim):
                process.send_signal(accident.sent)


def outcome(run: Path) -> dict[str, Any]:
    """What a run came to, without what time and accidents leave in it; every chunk's checksum is checked on the way."""
    reader = BufferReader(run / "buffer")
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    kept = [{k: v for k, v in line.items() if not k.startswith(BY_THE_CLOCK)} for line in lines]
    games = [(e.info.round, e.info.seed, e.info.start, e.length) for e in reader.episodes]
    return {"metrics": kept, "games": games, "actions": reader.steps.actions.tolist()}


def main(options: AccidentOptions, console: Console) -> int:
    """Go through the accidents. Returns the exit status."""
    with working_folder(options.folder) as folder:
        write_json(folder / "settings.json", to_plain(SMALLEST))
        expected = reach(folder, "alone", (), {}, console)
        reached = [reach(folder, "again", (), expected, console)]
        reached += [reach(folder, series, SERIES[series], expected, console) for series in options.series]
    return int(not expected or any(each != expected for each in reached))


def reach(
    folder: Path, name: str, accidents: Sequence[Accident], expected: dict[str, Any], console: Console
) -> dict[str, Any]:
    """What a run comes to through some accidents; whether that is as expected is told. Nothing if it never ends."""
    command = Command(folder, name, accidents)
    command.run()
    reached = {} if command.faults else outcome(folder / name)
    other = [f"other {part}" for part in expected if reached and reached[part] != expected[part]]
    met = f"{len(accidents) - len(command.left)} accidents"
    console.print(f"{name:<12} {met:<14} {'; '.join([*command.faults, *other]) or 'as it should be'}", soft_wrap=True)
    return reached


@contextmanager
def working_folder(folder: Path | None) -> Iterator[Path]:
    """The folder for the runs: as given, and empty, or one that is removed afterwards."""
    if folder:
        folder.mkdir(parents=True)
        yield folder.absolute()
    else:
        with tempfile.TemporaryDirectory() as temporary:
            yield Path(temporary)


if __name__ == "__main__":
    sys.exit(main(tyro.cli(AccidentOptions, prog="python experiments/accidents.py"), Console()))
