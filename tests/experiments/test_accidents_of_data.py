"""Full disks, damage and misbehaving games, done to small runs from the command line.

Slow: python -m pytest -m slow tests/experiments/test_accidents_of_data.py
"""

import os
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from threading import Thread

import pytest
from disks import fill, small_disk
from misbehaving import FAULTS

from experiments.accidents import SMALLEST
from worldmodel.data.reader import BufferReader
from worldmodel.files import write_json
from worldmodel.plain import to_plain

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
SETTINGS = replace(SMALLEST, rounds=2)


def script(name, *arguments):
    """Run a script of `experiments` to its end; no traceback, whatever happens."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "experiments" / name), *map(str, arguments)],
        capture_output=True, text=True, timeout=600, check=False, env=os.environ | {
            "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}", "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert "Traceback" not in done.stdout + done.stderr, done.stderr
    return done


def dyna(folder, *arguments):
    write_json(folder / "settings.json", to_plain(SETTINGS))
    return script("dyna.py", "--config", folder / "settings.json", "--runs-dir", folder, "--name", "run", *arguments)


def refusal(done):
    """The one sentence that a script ended with."""
    assert done.returncode == 2, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, done.stderr
    return lines[0]


def played(folder):
    return BufferReader(folder / "run" / "buffer").num_steps


@pytest.mark.parametrize("fault", ["Raises", "Hangs", "NanReward"])
def test_a_game_that_fails_in_a_run_is_one_sentence_and_what_was_played_is_kept(tmp_path, fault):
    done = dyna(tmp_path, "--game.id", f"misbehaving:{fault}-v0", "--game.patience", "2")
    sentence = refusal(done)
    assert f"misbehaving:{fault}-v0 failed in step(" in sentence
    assert "at step 3 of the game with seed" in sentence
    assert FAULTS[fault].rpartition(".*")[2].replace("0.2", "2").replace("\\", "") in sentence
    assert played(tmp_path) == 2 * SETTINGS.collect.envs
    assert f"judged games are cut off after {SETTINGS.evaluate.max_steps}" in done.stdout


def test_a_disk_that_fills_up_costs_no_play_and_the_same_command_goes_on(tmp_path):
    with small_disk(tmp_path / "disk", 100_000) as disk:
        filler = Thread(target=_fill_when, args=(disk / "run" / "buffer" / "000000.safetensors", disk))
        filler.start()
        sentence = refusal(dyna(disk))
        filler.join()
        assert "could not be written, because the disk is full" in sentence
        assert "make room there and give the same command again" in sentence
        assert not list(disk.rglob("*.tmp"))
        kept = played(disk)
        assert kept > 0
        (disk / "ballast").unlink()
        assert dyna(disk).returncode == 0
        assert played(disk) > kept


def _fill_when(there: Path, disk: Path) -> None:
    while not there.exists():
        time.sleep(0.01)
    # Other files come and go meanwhile.
    for _ in range(3):
        with suppress(OSError):
            fill(disk)


def test_a_disk_without_room_is_refused_before_work_starts(tmp_path):
    with small_disk(tmp_path / "disk", 2_000) as disk:
        sentence = refusal(dyna(disk))
        assert "the run is going to write about" in sentence or "disk is full" in sentence
        assert not list((disk / "run" / "buffer").glob("*.safetensors"))


def test_damage_to_a_run_is_named_mended_and_gone_on_from(tmp_path):
    assert dyna(tmp_path).returncode == 0
    run = tmp_path / "run"
    chunk = run / "buffer" / "000001.safetensors"
    chunk.write_bytes(chunk.read_bytes()[:-9])
    before = played_chunks(run)
    weights = next((run / "rounds" / "002").rglob("*.safetensors"))
    weights.write_bytes(b"")
    assert (
        f"{run / 'rounds' / '002'} is damaged ({weights.relative_to(run / 'rounds' / '002')} has changed)"
        in refusal(dyna(tmp_path))
    )
    mended = script("mend.py", run)
    assert mended.returncode == 0
    assert f"{chunk} was damaged and is now in damaged/" in mended.stdout
    assert "002 was damaged" in mended.stdout
    assert dyna(tmp_path).returncode == 0
    assert played_chunks(run) >= before - 1
    assert script("mend.py", run).stdout == f"{run} is whole.\n"


def played_chunks(run):
    return len(list((run / "buffer").glob("[0-9]*.safetensors")))
