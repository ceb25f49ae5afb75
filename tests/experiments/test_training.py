import io
import json

import pytest
from reports import FakeAlgorithm
from rich.console import Console

from experiments import training
from experiments.report import write_page
from experiments.training import train_rounds
from rl.run_folder import RunFolder
from rl.settings import Settings


class NoGauges:
    def write(self, report) -> None:
        pass

    def show(self, figures) -> None:
        pass


def train(run: RunFolder, algorithm: FakeAlgorithm) -> str:
    text = io.StringIO()
    train_rounds(algorithm, run, Console(file=text, width=100), NoGauges())
    return text.getvalue()


def test_every_round_is_kept_and_told(tmp_path):
    run = RunFolder(tmp_path / "run", Settings(rounds=3))
    text = train(run, FakeAlgorithm())
    assert [report.after.mean for report in run.reports()] == [51.0, 52.0, 53.0]
    assert "round 3 of 3" in text
    assert "real return 53.0" in text
    assert len(run.metrics.read_text().splitlines()) == 3


def test_a_stopped_run_goes_on_from_its_last_finished_round(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        train(RunFolder(tmp_path / "run", Settings(rounds=3)), FakeAlgorithm(dies_in=3))
    run = RunFolder(tmp_path / "run", Settings(rounds=3))
    assert run.last_round == 2
    algorithm = FakeAlgorithm()
    assert "round 1" not in train(run, algorithm)
    assert algorithm.round == 3
    rounds = [json.loads(line)["round"] for line in run.metrics.read_text().splitlines()]
    assert rounds == [1, 2, 3]


def test_every_round_names_the_code_that_trained_it(tmp_path, monkeypatch):
    codes = iter(("old", "new"))
    monkeypatch.setattr(training, "commit", lambda: next(codes))
    run = RunFolder(tmp_path / "run", Settings(rounds=2))
    train(run, FakeAlgorithm())
    assert [report.commit for report in run.reports()] == ["old", "new"]


def test_the_page_shows_tables_plots_and_films(tmp_path):
    run = RunFolder(tmp_path / "run", Settings(rounds=3))
    train(run, FakeAlgorithm())
    page = write_page(run, [], seconds=1.0)
    text = page.read_text()
    assert "agent after round 3" in text
    shown = {"learning_curve.png", "fidelity.png", "film-001-0.png", "film-003-0.png"}
    assert all(name in text and (run.report / name).stat().st_size for name in shown)
