import subprocess
import sys
import time

import numpy as np
import psutil

from experiments.speed.memory import MemoryWatch

HOLDS = """
held = bytearray(b"1") * (200 << 20)
print("held", flush=True)
input()
"""


def test_what_was_held_and_is_gone_counts():
    with MemoryWatch() as watch:
        before = watch.peak_mb
        held = np.ones(200 << 20, np.uint8)
        time.sleep(1)
        del held
    assert 180 < watch.peak_mb - before < 400
    assert before > 10


def test_processes_that_are_started_count():
    with MemoryWatch() as watch:
        before = watch.peak_mb
        child = subprocess.Popen([sys.executable, "-c", HOLDS], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert child.stdout.readline() == b"held\n"
        time.sleep(1)
        child.communicate(b"\n")
    assert 180 < watch.peak_mb - before < 400


def test_one_who_is_gone_while_he_is_looked_at_harms_nothing(monkeypatch):
    def gone(self):
        raise psutil.NoSuchProcess(self.pid)

    monkeypatch.setattr(psutil.Process, "memory_info", gone)
    with MemoryWatch() as watch:
        pass
    assert watch.peak_mb == 0
