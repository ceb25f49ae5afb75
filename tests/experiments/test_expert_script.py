import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest
import ray
from clusters import ray_on

from experiments import cluster, expert
from experiments.cli import run_main
from rl.policies import load_policy
from rl.settings import GameSettings

SCRIPT = Path(__file__).parents[2] / "experiments" / "expert.py"
TINY = [
    "--game.id", "CartPole-v1", "--game.max-steps", "20", "--frame-size", "16", "--stack", "1", "--envs", "2",
    "--rollout", "16", "--minibatch", "16", "--epochs", "1", "--evaluate.episodes", "2", "--threads", "1",
]  # fmt: skip


def expert_main(folder: Path, *arguments: str) -> int:
    return run_main(expert.main, [*TINY, "--output", str(folder), *arguments])


@pytest.fixture
def no_cluster(monkeypatch):
    monkeypatch.setattr(cluster, "ray_cluster", lambda settings, game: pytest.fail("Ray was started"))


def test_the_script_leaves_an_expert_and_tells_what_it_cost(monkeypatch, tmp_path, capsys):
    there = ray.is_initialized()
    monkeypatch.setattr(cluster, "ray_cluster", lambda s, game: nullcontext() if there else ray_on(s.num_cpus))
    assert expert_main(tmp_path / "expert", "--steps", "100") == 0
    made = load_policy(tmp_path / "expert", source="expert")
    assert 0 < made.real_steps <= 100
    shown = capsys.readouterr().out
    assert f"{made.real_steps} real steps trained the expert" in shown
    assert f"--collect.expert-policy {tmp_path / 'expert'}" in shown
    assert "in 2 games" in shown


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--steps", "30"], "steps is 30, but a rollout alone may take 33"),
        (["--steps", "-5"], "steps must be more than 0, not -5."),
        (["--minibatch", "64"], "minibatch is 64, but a rollout has only 32 samples"),
        (["--game.id", "CartPool-v1"], "did you mean 'CartPole-v1'"),
        (["--game.id", "misbehaving:Opening-v0"], "could not be opened (OSError: no such level)"),
    ],
)
def test_a_bad_budget_or_game_is_one_sentence_before_ray_starts(no_cluster, tmp_path, capsys, arguments, sentence):
    assert expert_main(tmp_path / "expert", *arguments) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: ") and sentence in told
    assert told.count("\n") == 1
    assert not (tmp_path / "expert").exists()


def test_an_expert_that_is_there_is_not_overwritten(no_cluster, tmp_path, capsys):
    (tmp_path / "policy.json").write_text("{}")
    assert expert_main(tmp_path) == 2
    assert "another folder" in capsys.readouterr().err


def test_ctrl_c_is_told(monkeypatch, tmp_path, capsys):
    def stopped(settings, game):
        raise KeyboardInterrupt

    monkeypatch.setattr(cluster, "ray_cluster", stopped)
    assert expert_main(tmp_path / "expert") == 130
    assert "nothing was kept" in capsys.readouterr().out


def test_the_folder_is_named_after_game_and_seed():
    options = expert.Options(seed=3, game=GameSettings("ALE/Pong-v5"))
    assert options.folder == Path("runs/expert-ALE-Pong-v5-seed3").absolute()


def test_the_script_shows_its_help():
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--help"], capture_output=True, text=True, timeout=60, check=False,
        env={"PYTHONPATH": str(SCRIPT.parents[1]), "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    for shown in ("--steps INT", "--game.id STR", "--seed INT", "--envs INT", "--output FOLDER"):
        assert shown in done.stdout
