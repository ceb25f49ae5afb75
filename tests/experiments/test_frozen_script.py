from contextlib import nullcontext
from dataclasses import replace

import pytest
from miniature import MINIATURE
from reports import make_report
from rich.console import Console

from experiments import bench, fresh, frozen
from experiments.changes import CHANGES, IMAGINED_ROWS
from experiments.cli import run_main
from experiments.frozen_results import Frozen, FrozenResult
from experiments.presets import cartpole
from experiments.provenance import leaves
from rl.dream_report import DreamReport
from rl.real_play import Agent
from rl.run_folder import RunFolder
from rl.statistics import Evaluation


class FakeEvaluator:
    """Plays no game: who learned from `steps` imagined steps, in dreams so long, returns both."""

    def evaluate(self, episodes, seed, policy, world_model, greedy):
        steps, horizon = policy
        return Evaluation((float(steps), float(horizon)), (1, 1))


@pytest.fixture
def learned(monkeypatch):
    """What agents were trained, in which run."""
    trained = []

    def train(run, imagine, progress):
        if len(trained) == 3:
            raise KeyboardInterrupt
        trained.append((run.settings.seed, imagine))
        return fresh.Fresh(Agent((imagine.steps, imagine.horizon), None), imagine.steps, DreamReport(ended=1))

    monkeypatch.setattr(fresh, "fresh_rllib", train)
    monkeypatch.setattr(bench, "evaluator_of", lambda settings: FakeEvaluator())
    monkeypatch.setattr(bench, "ray_here", lambda game: nullcontext())
    return trained


@pytest.fixture
def run(tmp_path):
    """Makes a run's folder, finished unless it is told how far it has come."""

    def made(settings=MINIATURE, rounds=None, name=None):
        folder = RunFolder(tmp_path / (name or f"seed{settings.seed}"), settings)
        for number in range(1, 1 + (settings.rounds if rounds is None else rounds)):
            with folder.alone(), folder.commit(make_report(number)) as round_folder:
                (round_folder / "world_model").mkdir()
        return str(folder.path)

    return made


@pytest.fixture
def frozen_main(tmp_path):
    return lambda *arguments: run_main(frozen.main, [*arguments, "--results", str(tmp_path / "new" / "f.json")])


@pytest.mark.parametrize("row", IMAGINED_ROWS)
def test_a_row_changes_nothing_but_how_the_agent_learns(row):
    ours, theirs = leaves(cartpole()), leaves(CHANGES[row].make(cartpole()))
    changed = {name.partition(".")[0] for name in ours if ours[name] != theirs[name]}
    assert changed == (set() if row == "all" else {"imagine"})
    kept = ("imagine.observation", "imagine.stack", "imagine.normalized", "imagine.afresh")
    assert all(ours[name] == theirs[name] for name in kept), "the network is that of the run's own agent"


def test_every_row_is_trained_in_every_run_and_kept_and_a_stop_loses_none(run, learned, frozen_main, tmp_path, capsys):
    runs = [run(replace(MINIATURE, seed=seed)) for seed in (4, 5)]
    assert frozen_main(*runs, "--rows", "all", "half_imagined") == 130
    assert "To go on: python experiments/frozen.py" in capsys.readouterr().out
    first = learned.copy()
    learned.clear()
    assert frozen_main(*runs, "--rows", "all", "half_imagined") == 0
    assert [(seed, imagine.steps) for seed, imagine in first + learned] == [(4, 64), (4, 32), (5, 64), (5, 32)]
    found = Frozen.read(tmp_path / "new" / "f.json")
    assert found.rows["half_imagined"]["5"].returns == (32.0, 5.0)
    assert found.rows["half_imagined"]["5"].imagined_steps == 32


def test_a_row_is_compared_within_its_own_world_model():
    def result(mean):
        return FrozenResult((mean,), 1.0, 1.0, 64, 1.0, "")

    found = Frozen("Game", "", "", {}, {"all": {"1": result(10.0), "2": result(50.0)}, "no_doubt": {"2": result(45.0)}})
    console = Console(width=160, record=True)
    console.print(frozen.table_of(found))
    (line,) = [line for line in console.export_text().splitlines() if "doubt" in line and "45.0" in line]
    assert "-5.0" in line, "not beside the mean of 30, to which the other world model belongs"


def test_what_is_no_finished_dream_is_refused_in_one_sentence(run, learned, frozen_main, tmp_path, capsys):
    finished = run()
    real = replace(MINIATURE, seed=9, imagine=replace(MINIATURE.imagine, dream="real"))
    refused = {
        "holds no run": [str(tmp_path)],
        "finished 1 of its 2 rounds": [finished, run(replace(MINIATURE, seed=8), rounds=1)],
        "imagine.dream is real": [run(real)],
        "another fit.unroll": [finished, run(replace(MINIATURE, seed=7, fit=replace(MINIATURE.fit, unroll=2)))],
        "the same seed": [finished, run(name="again")],
        "there is no world model": [],
    }
    for fault, runs in refused.items():
        assert frozen_main(*runs) == 2
        assert fault in capsys.readouterr().err.replace("\n", " ")
    assert not learned and not (tmp_path / "new").exists()
