import errno
import os
from pathlib import Path

import pytest
from disks import fill, full_after, small_disk

from worldmodel.errors import UserError
from worldmodel.files import free_space, is_full_disk, write_json, write_whole, writing


def test_what_is_written_is_there_whole_and_nothing_else(tmp_path):
    write_whole(tmp_path / "a", b"old")
    write_whole(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"new"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_on_a_full_disk_the_old_file_stays_and_half_of_the_new_does_not(tmp_path):
    with small_disk(tmp_path / "disk", 64) as disk:
        write_whole(disk / "a", b"old")
        ballast = fill(disk, leave=8192)
        with pytest.raises(UserError, match=rf"{disk / 'a'} could not be written, because the disk is full \(0\.0 MB"):
            write_whole(disk / "a", bytes(32_768))
        assert (disk / "a").read_bytes() == b"old"
        assert sorted(path.name for path in disk.iterdir()) == ["a", "ballast"]
        ballast.unlink()
        write_whole(disk / "a", bytes(32_768))
        assert (disk / "a").stat().st_size == 32_768


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_is_full_when_flushed_leaves_nothing_behind(tmp_path, monkeypatch, code):
    full_after(monkeypatch, 0, code)
    with pytest.raises(UserError, match="disk is full"):
        write_json(tmp_path / "a.json", [1])
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_nobody_may_write_to_is_told(tmp_path):
    with pytest.raises(UserError, match=r"/proc/a could not be written \(.*\): choose a folder"):
        write_whole(Path("/proc/a"), b"")
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="Not a directory"):
        write_whole(tmp_path / "file" / "a", b"")


def test_other_errors_pass():
    for error in (TimeoutError("no answer"), ConnectionResetError(errno.ECONNRESET, "reset")):
        with pytest.raises(type(error)), writing(Path("a")):
            raise error
    with pytest.raises(ZeroDivisionError), writing(Path("a")):
        _ = 1 / 0
    with pytest.raises(UserError, match=r"^Mend this\.$"), writing(Path("a")):
        raise UserError("Mend this.")


def test_a_full_disk_is_known_by_its_text_too():
    assert is_full_disk(RuntimeError(f"I/O error: {os.strerror(errno.ENOSPC)} (os error 28)"))
    assert not is_full_disk(OSError(errno.EACCES, "Permission denied"))


def test_free_space_is_that_of_the_disk_where_a_folder_will_be(tmp_path):
    with small_disk(tmp_path / "disk", 64) as disk:
        assert free_space(disk / "not" / "yet" / "there") == 65_536
