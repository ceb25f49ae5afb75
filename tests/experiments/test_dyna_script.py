import json
import sys
from contextlib import nullcontext
from types import ModuleType

import pytest
from reports import FakeAlgorithm

from experiments import cluster, dyna
from experiments.cli import run_main
from experiments.presets import cartpole


class FakeConfig:
    """Stands where `rl.dyna.DynaConfig` stands; `made` counts its algorithms."""

    made = 0
    dies_in: int | None = None

    def __init__(self, settings, folder) -> None:
        assert (folder / "buffer").is_dir()

    def build_algo(self) -> FakeAlgorithm:
        type(self).made += 1
        algorithm = FakeAlgorithm(self.dies_in)
        algorithm.stop = lambda: None
        return algorithm


@pytest.fixture
def config(monkeypatch):
    module = ModuleType("rl.dyna")
    module.Dyna = FakeAlgorithm
    module.DynaConfig = type("Config", (FakeConfig,), {})
    monkeypatch.setitem(sys.modules, "rl.dyna", module)
    addresses = cluster.Addresses("http://here/metrics", None)
    monkeypatch.setattr(cluster, "ray_cluster", lambda settings, game: nullcontext(addresses))
    return module.DynaConfig


def dyna_main(tmp_path, *arguments: str) -> int:
    return run_main(dyna.main, ["--runs-dir", str(tmp_path), "--name", "run", "--rounds", "2", *arguments])


def test_a_run_ends_with_its_tables_its_page_and_its_record(config, tmp_path, capsys):
    assert dyna_main(tmp_path, "--record", str(tmp_path / "results.json")) == 0
    shown = capsys.readouterr().out
    assert "agent after round 2" in shown
    assert "http://here/metrics" in shown
    assert (tmp_path / "run" / "report" / "index.html").exists()
    stored = json.loads((tmp_path / "results.json").read_text())
    assert stored["seeds"]["0"]["after"][-1] == [51.0, 52.0, 53.0]
    assert stored["command"].startswith("python experiments/dyna.py --runs-dir")


def test_a_finished_run_shows_its_tables_again_without_training(config, tmp_path, capsys):
    dyna_main(tmp_path)
    capsys.readouterr()
    assert dyna_main(tmp_path) == 0
    assert "agent after round 2" in capsys.readouterr().out
    assert config.made == 1


def test_ctrl_c_says_how_to_go_on_and_the_same_command_does(config, tmp_path, capsys):
    config.dies_in = 2
    assert dyna_main(tmp_path) == 130
    told = capsys.readouterr().out
    assert "Stopped with 1 of 2 rounds finished" in told
    assert f"To go on: python experiments/dyna.py --runs-dir {tmp_path} --name run --rounds 2" in told
    config.dies_in = None
    assert dyna_main(tmp_path) == 0
    shown = capsys.readouterr().out
    assert "round 2 of 2" in shown
    assert "round 1 of 2" not in shown


def test_another_setting_is_refused_by_name(config, tmp_path, capsys):
    dyna_main(tmp_path)
    assert dyna_main(tmp_path, "--fit.steps", "9") == 2
    assert f"fit.steps = {cartpole().fit.steps} (now 9)" in capsys.readouterr().err


def test_a_misspelt_game_is_refused_before_ray_starts(config, tmp_path, capsys):
    assert dyna_main(tmp_path, "--game.id", "CartPool-v1") == 2
    assert "CartPole-v1" in capsys.readouterr().err
    assert config.made == 0


def test_results_of_other_settings_are_refused_before_training(config, tmp_path, capsys):
    record = ("--record", str(tmp_path / "results.json"))
    dyna_main(tmp_path, *record)
    assert dyna_main(tmp_path, *record, "--name", "other", "--fit.steps", "9") == 2
    assert "fit.steps" in capsys.readouterr().err
    assert config.made == 1
