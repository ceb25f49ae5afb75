import json
from dataclasses import replace
from pathlib import Path

import pytest
from disks import fill, small_disk
from playing import counted, writer_at
from reports import make_fidelity, make_film, make_report

from rl import run_folder
from rl.round_report import load_report, save_report
from rl.run_folder import RunFolder
from rl.settings import ClusterSettings, ImagineSettings, Settings
from worldmodel.errors import UserError


def finish(run: RunFolder, number: int, changing: float = 20.0, incumbent: float | None = None) -> None:
    other = None if incumbent is None else make_fidelity(incumbent)
    with run.commit(replace(make_report(number, changing=changing), incumbent=other)) as folder:
        (folder / "world_model").mkdir()
        (folder / "world_model" / "weights").write_text(str(number))


def test_a_report_survives_its_file(tmp_path):
    report = make_report()
    save_report(tmp_path / "report.json", report)
    assert load_report(tmp_path / "report.json") == report
    assert load_report(tmp_path / "report.json").films == ()


def test_a_film_shows_reality_above_and_left_of_the_dream():
    film = make_film()
    strip, video = film.strip(), film.video()
    assert (strip[:8, 16:24] == film.real[2]).all()
    assert (strip[8:] == 255).all()
    assert (video[:, :, :8] == film.real).all()
    assert (video[:, :, 8:] == 255).all()


def test_a_new_run_has_no_finished_round(tmp_path):
    run = RunFolder(tmp_path / "run", Settings())
    assert run.last_round == 0
    assert run.reports() == []
    assert json.loads((run.path / "config.json").read_text())["fit"]["steps"] == Settings().fit.steps


def test_a_finished_round_is_found_again(tmp_path):
    finish(RunFolder(tmp_path / "run", Settings()), 1)
    run = RunFolder(tmp_path / "run", Settings())
    assert run.last_round == 1
    (report,) = run.reports()
    assert report.seconds.keys() - make_report(1).seconds.keys() == {"save"}
    assert replace(report, seconds={}) == replace(make_report(1), seconds={})


def test_an_unfinished_round_is_forgotten(tmp_path):
    run = RunFolder(tmp_path / "run", Settings())
    finish(run, 1)
    with pytest.raises(RuntimeError), run.commit(make_report(2)) as folder:
        (folder / "half").write_text("written")
        raise RuntimeError
    assert run.last_round == 1
    run = RunFolder(tmp_path / "run", Settings())
    assert [folder.name for folder in run.rounds.iterdir()] == ["001"]
    finish(run, 2)
    assert run.last_round == 2


def test_links_show_the_latest_and_the_best_world_model(tmp_path):
    """Which is best is asked on the same play: that of a later round may be harder."""
    run = RunFolder(tmp_path / "run", Settings())
    for number, changing, incumbent, best in ((1, 25.0, None, 1), (2, 22.0, 21.0, 2), (3, 23.0, 24.0, 2)):
        finish(run, number, changing, incumbent)
        assert (run.path / "world_model" / "latest" / "weights").read_text() == str(number)
        assert (run.path / "world_model" / "best" / "weights").read_text() == str(best)


def test_links_survive_moving_the_run(tmp_path):
    finish(RunFolder(tmp_path / "run", Settings()), 1)
    (tmp_path / "run").rename(tmp_path / "moved")
    assert (tmp_path / "moved" / "world_model" / "latest" / "weights").read_text() == "1"


def test_other_settings_are_refused_by_name(tmp_path):
    finish(RunFolder(tmp_path / "run", Settings()), 1)
    changed = replace(Settings(), fit=replace(Settings().fit, steps=7))
    with pytest.raises(UserError, match=rf"fit\.steps = {Settings().fit.steps} \(now 7\)"):
        RunFolder(tmp_path / "run", changed)


def test_more_rounds_and_another_cluster_are_welcome(tmp_path):
    finish(RunFolder(tmp_path / "run", Settings()), 1)
    longer = replace(Settings(), rounds=9, cluster=ClusterSettings(num_cpus=2))
    run = RunFolder(tmp_path / "run", longer)
    assert run.last_round == 1
    assert json.loads((run.path / "config.json").read_text())["rounds"] == 9


def test_fewer_rounds_than_are_finished_are_refused_and_the_settings_kept(tmp_path):
    run = RunFolder(tmp_path / "run", replace(Settings(), rounds=3))
    for number in (1, 2):
        finish(run, number)
    RunFolder(tmp_path / "run", replace(Settings(), rounds=2))
    with pytest.raises(UserError, match="has 2 finished rounds, more than --rounds 1"):
        RunFolder(tmp_path / "run", replace(Settings(), rounds=1))
    assert json.loads((run.path / "config.json").read_text())["rounds"] == 2


def test_more_rounds_are_refused_where_the_learning_rate_falls_over_all_of_them(tmp_path):
    falling = replace(Settings(), imagine=ImagineSettings(learning_rate_end=5e-5))
    finish(RunFolder(tmp_path / "run", falling), 1)
    RunFolder(tmp_path / "run", replace(falling, cluster=ClusterSettings(num_cpus=2)))
    with pytest.raises(UserError, match="rounds = 2"):
        RunFolder(tmp_path / "run", replace(falling, rounds=9))


def test_a_folder_that_is_no_run_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(UserError, match="no run"):
        RunFolder(tmp_path, Settings())
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_round_that_is_not_as_it_was_written_is_refused_by_name(tmp_path):
    run = RunFolder(tmp_path / "run", Settings())
    finish(run, 1)
    for name, spoil in (("world_model/weights", "2"), ("report.json", "{}"), ("checksums.json", "[")):
        path = run.round_folder(1) / name
        whole = path.read_text()
        path.write_text(spoil)
        with pytest.raises(UserError, match=rf"001 is damaged \(.*experiments/mend\.py {run.path}"):
            RunFolder(tmp_path / "run", Settings())
        path.unlink()
        with pytest.raises(UserError, match=f"{path.name} is missing"):
            RunFolder(tmp_path / "run", Settings())
        path.write_text(whole)
    assert RunFolder(tmp_path / "run", Settings()).last_round == 1


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '{"fit": {"stepz": 3}}', '{"fit": 3}', "\x00"])
def test_a_damaged_config_is_refused_by_name(tmp_path, text):
    finish(RunFolder(tmp_path / "run", Settings()), 1)
    (tmp_path / "run" / "config.json").write_text(text)
    with pytest.raises(UserError, match=r"run/config\.json"):
        RunFolder(tmp_path / "run", Settings())


def test_a_folder_that_nobody_may_write_to_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"/proc/run could not be written"):
        RunFolder(Path("/proc/run"), Settings())
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="file/run could not be written"):
        RunFolder(tmp_path / "file" / "run", Settings())


def test_a_full_disk_leaves_the_rounds_before_and_nothing_of_the_new_one(tmp_path):
    with small_disk(tmp_path / "disk", 256) as disk:
        run = RunFolder(disk / "run", Settings())
        finish(run, 1)
        ballast = fill(disk, leave=20_000)
        refused = pytest.raises(UserError, match=r"rounds/002\.tmp could not be written, because the disk is full")
        with refused, run.commit(make_report(2)) as folder:
            (folder / "weights").write_bytes(bytes(100_000))
        assert [path.name for path in run.rounds.iterdir()] == ["001"]
        ballast.unlink()
        run = RunFolder(disk / "run", Settings())
        finish(run, 2)
        assert RunFolder(disk / "run", Settings()).last_round == 2


def test_a_run_that_came_to_nothing_may_begin_again_with_other_settings(tmp_path):
    RunFolder(tmp_path / "run", Settings())
    run = RunFolder(tmp_path / "run", Settings(seed=3))
    assert json.loads((run.path / "config.json").read_text())["seed"] == 3
    writer_at(run.buffer).append([counted(1)])
    with pytest.raises(UserError, match="seed = 3"):
        RunFolder(tmp_path / "run", Settings(seed=4))


def test_what_a_run_begins_with_must_be_there_when_it_begins_and_not_for_ever(tmp_path):
    policy = tmp_path / "policy"
    settings = Settings(imagine=ImagineSettings(policy=policy))
    with pytest.raises(UserError, match=f"imagine.policy: there is no folder {policy}"):
        RunFolder(tmp_path / "run", settings)
    assert not (tmp_path / "run").exists()
    policy.mkdir()
    finish(RunFolder(tmp_path / "run", settings), 1)
    policy.rmdir()
    assert RunFolder(tmp_path / "run", settings).last_round == 1


def test_a_folder_that_was_killed_while_it_was_made_is_taken(tmp_path):
    (tmp_path / "config.json.123.tmp").write_text("{")
    assert RunFolder(tmp_path, Settings()).last_round == 0


def test_a_round_of_another_version_is_refused(tmp_path):
    run = RunFolder(tmp_path / "run", Settings())
    finish(run, 1)
    sums = run.round_folder(1) / "checksums.json"
    sums.write_text(sums.read_text().replace('"format": 1', '"format": 9'))
    with pytest.raises(UserError, match=r"another version .*format 9"):
        RunFolder(tmp_path / "run", Settings())


def test_settings_of_another_version_are_refused(tmp_path):
    run = RunFolder(tmp_path / "run", Settings())
    finish(run, 1)
    config = run.path / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"stride": 3}))
    with pytest.raises(UserError, match=r"another version .*stride"):
        RunFolder(tmp_path / "run", Settings())


def test_two_processes_do_not_go_on_with_one_run(tmp_path, monkeypatch):
    monkeypatch.setattr(run_folder, "_PATIENCE", 0.1)
    first, second = RunFolder(tmp_path / "run", Settings()), RunFolder(tmp_path / "run", Settings())
    with first.alone(), pytest.raises(UserError, match="in use by another process"), second.alone():
        pass
    with second.alone():
        pass
