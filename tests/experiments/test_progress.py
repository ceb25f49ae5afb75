import io

import pytest
from rich.console import Console

from experiments import progress
from experiments.progress import ConsoleProgress


@pytest.mark.parametrize("terminal", [True, False])
def test_a_phase_leaves_a_line_with_its_time(terminal):
    output = io.StringIO()
    with ConsoleProgress(Console(file=output, force_terminal=terminal, width=100)).phase("fit", 3) as advance:
        advance(1, loss=0.5)
    last = output.getvalue().rstrip().splitlines()[-1]
    assert "fit" in last
    assert last.endswith("s")


def test_a_log_tells_how_far_it_is(monkeypatch):
    monkeypatch.setattr(progress, "_SECONDS_BETWEEN_LINES", 0.0)
    output = io.StringIO()
    with ConsoleProgress(Console(file=output, force_terminal=False, width=100)).phase("fit", 3) as advance:
        advance(1, loss=0.5)
        advance(2, loss=0.25)
    lines = [" ".join(line.split()) for line in output.getvalue().splitlines()]
    assert lines[:2] == ["fit 1/3 loss 0.5", "fit 3/3 loss 0.25"]
    assert "\x1b" not in output.getvalue()


def test_an_error_passes_through():
    with pytest.raises(ValueError, match="broken"), ConsoleProgress(Console(quiet=True)).phase("fit", 3):
        raise ValueError("broken")
