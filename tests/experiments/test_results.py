import json
import subprocess
from dataclasses import replace

import pytest
from reports import make_report

from experiments import provenance, results
from experiments.results import check_recordable, read_results, record, references
from rl.settings import CollectSettings, Settings
from worldmodel.errors import UserError


def with_seed(seed: int, dream: str = "real") -> Settings:
    return replace(Settings(), seed=seed, imagine=replace(Settings().imagine, dream=dream))


def test_raw_returns_are_kept_by_seed(tmp_path):
    path = tmp_path / "new" / "cartpole_real.json"
    record(path, with_seed(0), [make_report(1, 50.0), make_report(2, 60.0)], "command")
    record(path, with_seed(1), [make_report(1, 70.0), make_report(2, 80.0)], "command")
    stored = read_results(path)
    assert stored.seeds["0"].random == (19.0, 20.0, 21.0)
    assert stored.seeds["1"].after == ((69.0, 70.0, 71.0), (79.0, 80.0, 81.0))
    assert stored.final_returns() == (59.0, 60.0, 61.0, 79.0, 80.0, 81.0)


def test_the_same_seed_replaces_itself(tmp_path):
    path = tmp_path / "cartpole_real.json"
    for mean in (50.0, 60.0):
        record(path, with_seed(0), [make_report(1, mean)], "command")
    assert read_results(path).final_returns() == (59.0, 60.0, 61.0)


def test_other_settings_are_refused_another_seed_is_not(tmp_path):
    path = tmp_path / "cartpole_real.json"
    check_recordable(path, with_seed(0))
    record(path, with_seed(0), [make_report()], "command")
    check_recordable(path, with_seed(5))
    with pytest.raises(UserError, match="another rounds"):
        check_recordable(path, replace(with_seed(0), rounds=7))


def test_a_file_was_written_with_the_defaults_of_settings_that_it_does_not_know(tmp_path):
    path = tmp_path / "cartpole_real.json"
    record(path, with_seed(0), [make_report()], "command")
    stored = json.loads(path.read_text())
    del stored["settings"]["collect.rare_rewards"]
    path.write_text(json.dumps(stored))
    check_recordable(path, with_seed(5))
    with pytest.raises(UserError, match=r"another collect\.rare_rewards"):
        check_recordable(path, replace(with_seed(5), collect=CollectSettings(rare_rewards=50)))


@pytest.fixture
def recorded(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "packages_root", lambda: tmp_path)
    record(tmp_path / "docs" / "results" / "cartpole_real.json", with_seed(0), [make_report()], "command")


def test_the_preset_finds_its_references(recorded):
    assert [found.dream for found in references("cartpole", with_seed(9, "model"))] == ["real"]
    assert references("atari", with_seed(9, "model")) == []


def test_a_run_that_imagines_otherwise_is_not_compared(recorded):
    settings = with_seed(0, "model")
    assert references("cartpole", replace(settings, imagine=replace(settings.imagine, horizon=9))) == []
    assert len(references("cartpole", replace(settings, fit=replace(settings.fit, steps=9)))) == 1


def test_a_setting_that_is_newer_than_the_record_counts_as_its_default(recorded, tmp_path):
    path = tmp_path / "docs" / "results" / "cartpole_real.json"
    stored = json.loads(path.read_text())
    del stored["settings"]["imagine.horizon"]
    path.write_text(json.dumps(stored))
    settings = with_seed(0, "model")
    assert len(references("cartpole", settings)) == 1
    assert references("cartpole", replace(settings, imagine=replace(settings.imagine, horizon=9))) == []


def test_the_commit_is_that_of_the_code(tmp_path, monkeypatch):
    monkeypatch.setattr(provenance, "packages_root", lambda: tmp_path)
    for command in (["init", "-q"], ["-c", "user.name=n", "-c", "user.email=e", "commit", "-qm", "m", "--allow-empty"]):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=tmp_path, capture_output=True, text=True).stdout
    assert head.startswith(provenance.commit())
    assert len(provenance.commit()) >= 12


def test_a_record_names_the_code_that_trained_not_that_which_recorded(tmp_path):
    reports = [replace(make_report(number), commit=code) for number, code in ((1, "old"), (2, "old"), (3, "new"))]
    record(tmp_path / "r.json", with_seed(0), reports, "command")
    assert read_results(tmp_path / "r.json").seeds["0"].commit == "old, new"
