import pytest
from playing import buffer_of, counted

from experiments import mend
from experiments.cli import run_main
from rl.lock import FolderLock
from worldmodel.data.reader import BufferReader


@pytest.fixture
def run(tmp_path):
    buffer_of(tmp_path / "buffer", [counted(1)], [counted(2)])
    return tmp_path


def test_a_whole_run_is_said_to_be(run, capsys):
    assert run_main(mend.main, [str(run)]) == 0
    assert capsys.readouterr().out == f"{run / 'buffer'} is whole.\n"


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
