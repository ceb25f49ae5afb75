from dataclasses import replace

import pytest
from disks import small_disk
from playing import SIZE, SPEC, counted, writer_at

from rl.settings import CollectSettings, Settings
from rl.space import check_space
from worldmodel.errors import UserError

SETTINGS = Settings(rounds=3, collect=CollectSettings(first_steps=40, steps=20, capacity=1000))
SETTINGS = replace(SETTINGS, model=replace(SETTINGS.model, frame_size=SIZE))
STEP = SIZE * SIZE * 3 + 8 + 7


@pytest.fixture
def disk(tmp_path):
    with small_disk(tmp_path / "disk", 200) as disk:
        (tmp_path / "model").mkdir()
        yield disk


def check(disk, settings, model_size=0):
    model = disk.parent / "model"
    (model / "weights").write_bytes(bytes(model_size))
    check_space(disk, settings, SPEC, writer_at(disk / "buffer").status(), model)


def steps(count, rounds=1):
    return replace(SETTINGS, rounds=rounds, collect=CollectSettings(first_steps=count, steps=count, capacity=10_000))


def test_a_run_that_fits_passes(disk):
    check(disk, SETTINGS)
    check(disk, steps(190 * 1024 // STEP))


def test_play_that_does_not_fit_is_refused_with_what_it_takes(disk):
    with pytest.raises(UserError, match=rf"{disk} has 0 MB free, but .* about 2 MB of play and 0 MB of rounds"):
        check(disk, steps(10_000))
    with pytest.raises(UserError, match="play"):
        check(disk, steps(300, rounds=4))


def test_no_more_counts_than_the_buffer_keeps(disk):
    check(disk, replace(SETTINGS, collect=CollectSettings(first_steps=100_000, capacity=100)))


def test_what_is_there_does_not_count_again(disk):
    writer = writer_at(disk / "buffer")
    writer.append([counted(tag) for tag in range(10)])
    played = writer.status().collected_steps
    check(disk, steps(played + 10))
    with pytest.raises(UserError):
        check(disk, steps(played + 900))


def test_rounds_that_are_left_count(disk):
    check(disk, SETTINGS, model_size=20_000)
    with pytest.raises(UserError, match="MB of rounds"):
        check(disk, SETTINGS, model_size=60_000)
    for number in (1, 2):
        (disk / "rounds" / f"{number:03d}").mkdir(parents=True)
    check(disk, SETTINGS, model_size=60_000)
