import json
import subprocess
import sys
from pathlib import Path

import pytest

from experiments import compare, compare_report, rows
from experiments.cli import run_main
from experiments.comparison import Comparison, Point, RowResult
from worldmodel.errors import UserError

SCRIPT = Path(__file__).parents[2] / "experiments" / "compare.py"
PONG = str(SCRIPT.parents[1] / "docs" / "results" / "compare_pong_40k.json")
MEANS = {"imagination": 200.0, "random": 20.0, "model_free": 50.0, "model_free_more": 210.0, "fine_tuned": 250.0}


class FakeRows:
    """Plays no row; `played` says which were asked for. Dies in the row number `dies_in`."""

    def __init__(self):
        self.played, self.dies_in = [], None

    def __call__(self, row, bench, done):
        if len(self.played) == self.dies_in:
            raise KeyboardInterrupt
        assert row == "imagination" or "imagination" in done
        self.played.append((row, bench.settings.seed))
        mean = MEANS.get(row, 100.0) + bench.settings.seed
        return RowResult((Point(3000, 1.5, (mean - 5,)), Point(6000, 3.0, (mean - 1, mean + 1))), 99_000)


@pytest.fixture
def shown(monkeypatch):
    """Rows that are not really played."""
    fake = FakeRows()
    monkeypatch.setattr(rows, "play_row", fake)
    return fake


@pytest.fixture
def fake(shown, monkeypatch):
    """The same, and nothing is shown of them, which takes longer than all the rest."""
    monkeypatch.setattr(compare_report, "print_comparison", lambda *told: None)
    monkeypatch.setattr(compare_report, "draw", lambda *told: [])
    return shown


@pytest.fixture
def compare_main(tmp_path):
    def run(*arguments):
        where = ["--results", str(tmp_path / "new" / "r.json"), "--runs-dir", str(tmp_path / "runs")]
        return run_main(compare.main, [*where, "--seeds", "2", *arguments])

    return run


def stored(tmp_path):
    return Comparison.read(tmp_path / "new" / "r.json")


def test_every_row_is_played_with_every_seed_and_kept(shown, compare_main, tmp_path, capsys):
    assert compare_main("--seed", "4") == 0
    assert shown.played == [(row, seed) for seed in (4, 5) for row in MEANS]
    found = stored(tmp_path)
    assert found.rows["model_free"]["5"].points[-1].returns == (54.0, 56.0)
    assert found.settings["imagine.dreams"] == 64 and found.settings["play.envs"] == 8
    assert not {"seed", "cluster.threads"} & set(found.settings)
    assert found.command.startswith("python experiments/compare.py --results") and "CPU cores" in found.machine
    told = capsys.readouterr().out
    assert "model-free PPO, 10 times as many" in told
    assert "Imagination is better than model-free PPO, same real steps with a probability of 1.00" in told
    assert "on 2 of 2 seeds" in told
    assert (tmp_path / "new" / "r_steps.png").exists() and (tmp_path / "new" / "r_time.png").exists()


def test_what_is_there_is_not_played_again(fake, compare_main):
    compare_main()
    played = len(fake.played)
    assert compare_main() == 0
    assert len(fake.played) == played
    compare_main("--seeds", "3", "--rows", "imagination", "ceiling")
    assert fake.played[played:] == [("ceiling", 0), ("ceiling", 1), ("imagination", 2), ("ceiling", 2)]


def test_stopped_anywhere_it_goes_on_with_what_is_missing(fake, compare_main, tmp_path, capsys):
    for fake.dies_in in (1, 4, 9):
        assert compare_main() == 130
        assert len(fake.played) == fake.dies_in
        assert f"To go on: python experiments/compare.py --results {tmp_path}" in capsys.readouterr().out
    fake.dies_in = None
    assert compare_main() == 0
    assert fake.played == [(row, seed) for seed in (0, 1) for row in MEANS]
    assert json.loads((tmp_path / "new" / "r.json").read_text())["rows"].keys() == MEANS.keys()


def test_seeds_of_another_process_are_not_lost(fake, compare_main, tmp_path, monkeypatch):
    def meanwhile(row, bench, done):
        monkeypatch.setattr(rows, "play_row", fake)
        compare_main("--seed", "7", "--seeds", "1")
        return fake(row, bench, done)

    monkeypatch.setattr(rows, "play_row", meanwhile)
    compare_main()
    assert stored(tmp_path).rows["random"].keys() == {"0", "1", "7"}


def test_other_settings_are_refused_by_name(fake, compare_main, capsys):
    compare_main()
    played = len(fake.played)
    assert compare_main("--imagine.horizon", "9", "--play.epochs", "2") == 2
    assert "another imagine.horizon, play.epochs; give --results another file." in capsys.readouterr().err
    assert len(fake.played) == played
    assert compare_main("--cluster.threads", "1", "--seed", "3") == 0


def test_a_file_of_before_a_setting_takes_no_more_seeds_with_another_than_its_default(fake, compare_main, tmp_path):
    compare_main()
    (path,) = tmp_path.rglob("*.json")
    known = json.loads(path.read_text())
    del known["settings"]["fit.recent_share"], known["settings"]["times"]
    path.write_text(json.dumps(known))
    assert compare_main("--seed", "3", "--fit.recent-share", "0.5") == 2
    assert compare_main("--seed", "3", "--times", "3") == 2
    assert compare_main("--seed", "3") == 0


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--imagine.dream", "real"], "add ceiling to --rows"),
        (["--imagine.policy", "."], "leave out --imagine.policy"),
        (["--seeds", "0"], "seeds must be more than 0, not 0."),
        (["--points", "0"], "points must be more than 0"),
        (["--play.learning-rate", "nan"], "play.learning_rate must be a finite number"),
        (["--fine-tune.minibatch", "9999"], "a rollout has only 512 samples (fine_tune.envs times fine_tune.rollout)"),
        (["--game.id", "CartPool-v1"], "did you mean 'CartPole-v1'"),
        (["--game.id", "counting:Counting-box-v0", "--rows", "fresh_torch"], "leave it out of --rows"),
        (["--beside", "nowhere.json"], "nowhere.json holds no comparison"),
        (["--beside", PONG], "none of Atari 100k's games, which alone are on one scale: leave out --beside"),
        (["--game.id", "ALE/Pong-v5", "--beside", PONG], "takes results of other games, each once"),
    ],
)
def test_what_can_not_be_is_one_sentence_before_anything_is_played(fake, compare_main, capsys, arguments, sentence):
    assert compare_main(*arguments) == 2
    told = capsys.readouterr().err
    assert sentence in told and told.count("\n") == 1
    assert not fake.played


def test_rows_without_imagination_are_refused():
    with pytest.raises(UserError, match="put imagination into --rows"):
        rows.play_row("model_free", None, {})


def test_a_damaged_file_is_told(fake, compare_main, tmp_path, capsys):
    compare_main()
    (tmp_path / "new" / "r.json").write_text("{")
    assert compare_main() == 2
    assert "r.json holds no comparison" in capsys.readouterr().err


def test_a_budget_is_shared_evenly_and_ends_exactly():
    assert rows.goals(6000, 5) == [1200, 2400, 3600, 4800, 6000]
    assert rows.goals(10, 3) == [4, 7, 10]


def test_the_script_shows_its_help():
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--help"], capture_output=True, text=True, timeout=60, check=False,
        env={"PYTHONPATH": str(SCRIPT.parents[1]), "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    for shown in ("--seeds INT", "--rows", "--play.envs INT", "--fine-tune-steps INT", "--results FILE"):
        assert shown in done.stdout
