"""What can happen to a run, done to a small one: it must end as one that was left alone, to the last bit."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console

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
    fit=FitConfig(autoencoder_steps=50, first_steps=50, steps=50, head_steps=25, batch_size=8, unroll=2, dream=4),
    imagine=ImagineSettings(stack=2, dreams=16, horizon=12, steps=2048, rollout=8, minibatch=64, epochs=2),
    evaluate=EvaluateSettings(episodes=4),
    cluster=ClusterSettings(threads=1, num_cpus=2),
)
"""Three rounds that take less time than it takes to start Ray."""

_STOPPED = 130
_LONGEST_STOP = 15.0
_LONGEST_RUN = 600.0


@dataclass(frozen=True)
class Accident:
    """A signal at a certain moment of a run.

    Attributes:
        name: For the table, and for `--only`.
        after: What the run has just printed.
        round: In which round it did; 0: before the first.
        sent: The signal.
        victim: To whom: the title of an actor's process; None: the run itself.
        delay: Seconds between what it printed and the signal.
    """

    name: str
    after: str
    round: int
    sent: signal.Signals = signal.SIGKILL
    victim: str | None = None
    delay: float = 0.1


_MOMENTS = (
    Accident("in start", "starting Ray", 0, delay=1.0),
    Accident("in start of actors", "starting Ray", 0, delay=6.0),
    Accident("in collect", "round 2", 2, delay=0.5),
    Accident("in fit autoencoder", "collect", 1),
    Accident("in fit dynamics", "fit autoencoder", 1),
    Accident("in fit adapter", "collect", 2),
    Accident("in fit head", "fit adapter", 2),
    Accident("in hand over", "fit head", 2, delay=0.0),
    Accident("in imagine", "hand over", 2, delay=0.3),
    Accident("in evaluate", "imagine", 2, delay=0.0),
    Accident("in judge dream", "evaluate", 2),
    Accident("in save", "judge dream", 2, delay=0.0),
    Accident("after round 2", "real return", 2),
)
_ACTORS = (
    Accident("collector in collect", "round 2", 2, victim="ray::Collector", delay=0.3),
    Accident("buffer in collect", "round 2", 2, victim="ray::BufferActor", delay=0.3),
    Accident("learner in fit dynamics", "fit autoencoder", 1, victim="ray::WorldModelLearner"),
    Accident("learner in fit adapter", "collect", 2, victim="ray::WorldModelLearner"),
    Accident("learner in judge dream", "evaluate", 2, victim="ray::WorldModelLearner"),
    Accident("evaluator in evaluate", "imagine", 2, victim="ray::Evaluator"),
)
ACCIDENTS = (
    *(replace(moment, name=f"SIGKILL {moment.name}") for moment in _MOMENTS),
    *(replace(moment, name=f"SIGKILL {moment.name}") for moment in _ACTORS),
    *(replace(moment, name=f"Ctrl-C {moment.name}", sent=signal.SIGINT) for moment in _MOMENTS),
    *(replace(moment, name=f"SIGTERM {moment.name}", sent=signal.SIGTERM) for moment in _MOMENTS[:3]),
)


@dataclass(frozen=True)
class AccidentOptions:
    """Strike a small run at every moment, run the same command again, and compare with one that was left alone."""

    only: Annotated[tuple[str, ...], tyro.conf.arg(metavar="WORD")] = ()
    """only accidents whose names hold all of these words, such as `SIGKILL` `collect`"""
    folder: Path | None = None
    """where to keep the runs; None: nowhere"""


@dataclass
class Command:
    """The same command every time."""

    folder: Path
    name: str
    printed: list[str] = field(default_factory=list)

    def run(self, accident: Accident | None = None) -> int:
        """Run it, and let the accident happen. Returns the exit status."""
        with self._process() as process:
            if accident:
                self._read_until(process, accident)
                strike(process.pid, accident)
            began = time.monotonic()
            self.printed.extend(process.stdout or ())
            status = process.wait(_LONGEST_RUN)
            self.stopped_in = time.monotonic() - began
        return status

    @contextmanager
    def _process(self) -> Iterator[subprocess.Popen[str]]:
        script = Path(__file__).with_name("dyna.py")
        arguments = [
            "--config",
            str(self.folder / "settings.json"),
            "--runs-dir",
            str(self.folder),
            "--name",
            self.name,
        ]
        with subprocess.Popen(
            [sys.executable, str(script), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            env=os.environ | {"PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1"},
        ) as process:
            yield process

    def _read_until(self, process: subprocess.Popen[str], accident: Accident) -> None:
        number = 0
        for line in process.stdout or ():
            self.printed.append(line)
            if line.startswith("round "):
                number = int(line.split()[1])
            if number == accident.round and line.strip().startswith(accident.after):
                time.sleep(accident.delay)
                return


def strike(driver: int, accident: Accident) -> None:
    """Send the signal: Ctrl-C goes to everybody in the terminal."""
    if accident.sent == signal.SIGINT:
        os.killpg(driver, accident.sent)
        return
    victims = [pid for pid, title in family(driver) if accident.victim and title.startswith(accident.victim)]
    for pid in victims if accident.victim else [driver]:
        os.kill(pid, accident.sent)


def family(root: int) -> list[tuple[int, str]]:
    """All descendants of a process: pid and title."""
    listed = subprocess.run(["ps", "-eo", "pid=,ppid=,args="], capture_output=True, text=True, check=True).stdout
    rows = [line.split(maxsplit=2) for line in listed.splitlines()]
    parents = {int(pid): int(parent) for pid, parent, *_ in rows}
    titles = {int(pid): " ".join(title) for pid, _, *title in rows}

    def descends(pid: int) -> bool:
        while pid in parents and pid != root:
            pid = parents[pid]
        return pid == root

    return [(pid, titles[pid]) for pid in parents if pid != root and descends(pid)]


def outcome(run: Path) -> dict[str, Any]:
    """What a run came to, without what time and accidents leave in it; every chunk's checksum is checked on the way."""
    reader = BufferReader(run / "buffer")
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    kept = [{k: v for k, v in line.items() if not k.startswith(("seconds/", "restarts/"))} for line in lines]
    games = [(e.info.round, e.info.seed, e.info.start, e.length) for e in reader.episodes]
    return {"metrics": kept, "games": games, "actions": reader.steps.actions.tolist()}


def faults(folder: Path, name: str, accident: Accident, expected: dict[str, Any]) -> list[str]:
    """Let one accident happen, go on with the same command, and say what was not as it should be."""
    command = Command(folder, name)
    status = command.run(accident)
    wrong = []
    if accident.sent != signal.SIGKILL:
        wrong += stop_faults(command, status)
    if accident.victim is None:
        status = command.run()
    if status:
        wrong.append(f"ended with status {status}: {''.join(command.printed[-3:])}")
        return wrong
    reached = outcome(folder / name)
    wrong += [f"other {part}" for part in expected if reached[part] != expected[part]]
    if accident.victim and not any("started again" in line for line in command.printed):
        wrong.append("nobody was started again")
    return wrong


def stop_faults(command: Command, status: int) -> list[str]:
    """What was wrong with a stop that was asked for."""
    text = "".join(command.printed)
    wrong = {
        f"status {status}": status != _STOPPED,
        "traceback": "Traceback" in text,
        "does not say how to go on": "To go on" not in text,
        f"took {command.stopped_in:.0f} s": command.stopped_in > _LONGEST_STOP,
    }
    return [what for what, is_so in wrong.items() if is_so]


def main(options: AccidentOptions, console: Console) -> int:
    """Go through the accidents. Returns how many left a fault."""
    chosen = [accident for accident in ACCIDENTS if all(word in accident.name for word in options.only)]
    with working_folder(options.folder) as folder:
        write_json(folder / "settings.json", to_plain(SMALLEST))
        expected = left_alone(folder, console)
        found = 0
        for number, accident in enumerate(chosen, start=1):
            wrong = faults(folder, f"struck-{number}", accident, expected)
            console.print(f"{accident.name:<36} {'; '.join(wrong) or 'as if it had not been'}", soft_wrap=True)
            found += bool(wrong)
    console.print(f"{len(chosen)} accidents, {found} with faults")
    return found


def left_alone(folder: Path, console: Console) -> dict[str, Any]:
    """What comes of the run when nothing happens; it is run twice, for it must repeat itself."""
    for name in ("alone", "again"):
        if Command(folder, name).run():
            raise SystemExit(
                f"the run fails by itself; try: python experiments/dyna.py --config {folder}/settings.json"
            )
    first, second = outcome(folder / "alone"), outcome(folder / "again")
    same = [part for part in first if first[part] == second[part]]
    console.print(f"{'left alone, twice':<36} the same {', '.join(same)}")
    return first


@contextmanager
def working_folder(folder: Path | None) -> Iterator[Path]:
    """The folder for the runs: as given, or one that is removed afterwards."""
    if folder:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        yield folder.absolute()
    else:
        with tempfile.TemporaryDirectory() as temporary:
            yield Path(temporary)


def _parse(arguments: Sequence[str]) -> AccidentOptions:
    return tyro.cli(AccidentOptions, args=arguments, prog="python experiments/accidents.py")


if __name__ == "__main__":
    sys.exit(bool(main(_parse(sys.argv[1:]), Console())))
