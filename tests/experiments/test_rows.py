"""What the rows of a comparison leave behind; what they learn is seen in `test_compare_whole`."""

from contextlib import nullcontext
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from pixel_dreams import LATENTS, SIZE, policy, world_model
from reports import make_report

from experiments import play, rows
from experiments.cli import run_main
from experiments.comparison import CompareSettings, Point, RowResult
from rl.policies import load_policy
from rl.real_play import Agent, Milestone
from rl.run_folder import RunFolder
from rl.settings import GameSettings, Settings
from worldmodel.pixel.config import PixelConfig

SETTINGS = Settings(family="pixel", game=GameSettings("counting:Counting-v0"), pixel=PixelConfig(frame_size=SIZE))
IMAGINED = {"imagination": RowResult((Point(500, 60.0, (1.0,)),))}


def tuned(steps):
    """An agent after so many real steps, which its weights tell."""
    snapshot = policy(LATENTS)
    weights = {name: np.full_like(weight, steps / 1000) for name, weight in snapshot.weights.items()}
    return replace(snapshot, weights=weights, real_steps=steps)


@pytest.fixture
def bench(tmp_path, monkeypatch):
    """Where nobody learns: the agent at each goal is made up."""
    run = RunFolder(tmp_path / "run", SETTINGS)
    eyes = world_model(tmp_path / "model")
    monkeypatch.setattr(rows, "ray_here", lambda game: nullcontext())
    monkeypatch.setattr(rows, "agent_of", lambda run: Agent(tuned(0), eyes))

    def learn(settings, play, goals, progress, begin):
        for goal in goals:
            yield Milestone(Agent(tuned(goal), begin and begin.eyes), goal, goal / 10)

    monkeypatch.setattr(rows, "learn_for_real", learn)
    compare = CompareSettings(points=2, fine_tune_steps=60, times=1)
    return SimpleNamespace(settings=SETTINGS, compare=compare, progress=None, finished_run=lambda: run, run=run,
                           judge=lambda agent, finished=True: (float(finished),))  # fmt: skip


def test_the_agent_that_was_fine_tuned_is_kept_beside_its_run(bench):
    result = rows.play_row("fine_tuned", bench, IMAGINED)
    assert [point.real_steps for point in result.points] == [500, 530, 560]
    kept = load_policy(bench.run.fine_tuned)
    assert kept.real_steps == 60 and kept.spec == LATENTS
    assert all(np.array_equal(weight, tuned(60).weights[name]) for name, weight in kept.weights.items())
    RunFolder(bench.run.path, SETTINGS)


def test_it_can_be_played(bench, tmp_path, capsys):
    rows.play_row("fine_tuned", bench, IMAGINED)
    words = ["--world-model", str(tmp_path / "model"), "--game.id", SETTINGS.game.id, "--games", "1", "--horizon", "2"]
    assert run_main(play.main, [str(bench.run.fine_tuned), *words]) == 0
    assert "real:   return" in capsys.readouterr().out


@pytest.mark.parametrize(("row", "code"), [("imagination", "trained"), ("fine_tuned", "looked")])
def test_a_row_names_the_code_that_trained_its_agent(bench, monkeypatch, row, code):
    monkeypatch.setattr(rows, "commit", lambda: "looked")
    with bench.run.alone(), bench.run.commit(replace(make_report(1), commit="trained")):
        pass
    assert rows.play_row(row, bench, IMAGINED).commit == code


def test_agents_without_a_world_model_are_not_kept(bench):
    rows.play_row("model_free", bench, IMAGINED)
    assert not bench.run.fine_tuned.exists()
