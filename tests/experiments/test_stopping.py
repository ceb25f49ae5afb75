import os
import signal
import subprocess
import sys

import pytest

from experiments.cli import run_main
from experiments.stopping import STOPPED, handlers_kept, stoppable

STUBBORN = """
import time
from experiments.stopping import stoppable

with stoppable():
    try:
        print("working", flush=True)
        time.sleep(60)
    except KeyboardInterrupt:
        print("cleaning up", flush=True)
        time.sleep(60)
"""


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_a_script_and_handlers_are_put_back(sent, capsys):
    before = signal.getsignal(sent)
    assert run_main(lambda arguments: os.kill(os.getpid(), sent), []) == STOPPED
    assert signal.getsignal(sent) == before
    assert "Stopped" in capsys.readouterr().out


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_the_second_signal_ends_the_process_at_once(sent):
    with subprocess.Popen([sys.executable, "-c", STUBBORN], stdout=subprocess.PIPE, text=True) as process:
        for expected in ("working\n", "cleaning up\n"):
            assert process.stdout.readline() == expected
            process.send_signal(sent)
        assert process.wait(10) == STOPPED


def test_handlers_that_others_set_do_not_stay():
    with stoppable():
        before = signal.getsignal(signal.SIGTERM)
        with handlers_kept():
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        assert signal.getsignal(signal.SIGTERM) == before


def test_a_signal_that_meets_a_handler_of_others_stops_a_script_too(capsys):
    def work(arguments):
        with handlers_kept():
            signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(number))
            os.kill(os.getpid(), signal.SIGTERM)

    assert run_main(work, []) == STOPPED
    assert "Stopped" in capsys.readouterr().out


def test_others_may_end_the_process_for_reasons_of_their_own():
    with pytest.raises(SystemExit), handlers_kept():
        sys.exit(3)
