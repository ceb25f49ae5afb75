import subprocess
import sys
import time

import pytest

from rl.lock import FolderLock
from worldmodel.errors import UserError

HOLD = """
import sys, time
from pathlib import Path
from rl.lock import FolderLock

lock = FolderLock(Path(sys.argv[1]), 0)
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the folder."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE)
    process.stdout.readline()
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_a_folder_that_is_held_is_refused(tmp_path, holder):
    with pytest.raises(UserError, match="in use by another process"):
        FolderLock(tmp_path, 0.3)


def test_death_lets_go_of_a_folder(tmp_path, holder):
    holder.kill()
    began = time.monotonic()
    FolderLock(tmp_path, 10)
    assert time.monotonic() - began < 5


def test_a_folder_that_was_let_go_can_be_taken_again(tmp_path):
    FolderLock(tmp_path, 0).release()
    FolderLock(tmp_path, 0)
