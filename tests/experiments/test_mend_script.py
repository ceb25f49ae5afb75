import pytest
from playing import buffer_of, counted
from reports import FakeAlgorithm
from rich.console import Console
from test_training import NoGauges

from experiments import mend
from experiments.cli import run_main
from experiments.training import train_rounds
from rl.lock import FolderLock
from rl.run_folder import RunFolder
from rl.settings import Settings
from worldmodel.data.reader import BufferReader


@pytest.fixture
def run(tmp_path):
    buffer_of(tmp_path / "buffer", [counted(1)], [counted(2)])
    return tmp_path


def test_a_whole_run_is_said_to_be(run, capsys):
    assert run_main(mend.main, [str(run)]) == 0
    assert capsys.readouterr().out == f"{run} is whole.\n"


@pytest.mark.parametrize("named", ["", "buffer"])
def test_a_damaged_run_is_mended_by_its_folder_or_its_buffers(run, capsys, named):
    chunk = run / "buffer" / "000000.safetensors"
    chunk.write_bytes(b"")
    assert run_main(mend.main, [str(run / named)]) == 0
    assert f"{chunk} was damaged and is now in damaged/: 9 steps are lost." in capsys.readouterr().out
    assert [record.info.seed for record in BufferReader(run / "buffer").episodes] == [2]


def test_what_is_no_run_is_refused(tmp_path, capsys):
    assert run_main(mend.main, [str(tmp_path)]) == 2
    assert str(tmp_path) in capsys.readouterr().err


def test_a_run_that_goes_on_is_left_alone(run, capsys):
    lock = FolderLock(run / "buffer", 0)
    assert run_main(mend.main, [str(run)]) == 2
    assert "in use by another process" in capsys.readouterr().err
    lock.release()


def test_a_damaged_round_is_set_aside_and_the_run_goes_on_from_the_one_before(tmp_path, capsys):
    settings = Settings(rounds=3)
    train_rounds(FakeAlgorithm(), RunFolder(tmp_path, settings), Console(quiet=True), NoGauges())
    (tmp_path / "rounds" / "003" / "state").write_text("x")
    buffer_of(tmp_path / "buffer", [counted(1)])
    assert run_main(mend.main, [str(tmp_path)]) == 0
    assert "003 was damaged (state has changed) and is now 003.damaged." in capsys.readouterr().out
    run = RunFolder(tmp_path, settings)
    assert run.last_round == 2
    train_rounds(FakeAlgorithm(), run, Console(quiet=True), NoGauges())
    assert [report.round for report in run.reports()] == [1, 2, 3]
    assert len(list(run.rounds.iterdir())) == 4
