from dataclasses import replace
from types import SimpleNamespace

import pytest
from miniature import MINIATURE
from playing import SPEC, buffer_of, counted
from reports import FakeAlgorithm, make_report
from rich.console import Console
from test_training import NoGauges

from experiments import model_page
from experiments.model_page import PAGE, write_model_page
from experiments.training import train_rounds
from rl.run_folder import RunFolder
from rl.settings import Settings
from worldmodel.families import load_world_model
from worldmodel.latent.config import BaseConfig
from worldmodel.latent.model import LatentWorldModel

COMMAND = "python experiments/dyna.py --rounds 2"


@pytest.fixture
def page(tmp_path, monkeypatch):
    """Writes the page of a run with these settings, after a round with this report."""
    monkeypatch.setattr(model_page, "commit", lambda: "0123456789ab")
    buffer_of(tmp_path / "mine" / "buffer", [counted(1), counted(2)], [counted(3, source="policy"), counted(5, end=4)],
              [counted(5, 4, 7)])  # fmt: skip

    def write(settings=MINIATURE, report=None, command=COMMAND):
        mine, folder = tmp_path / "mine", tmp_path / "model"
        run = SimpleNamespace(path=mine, buffer=mine / "buffer", settings=settings)
        folder.mkdir(exist_ok=True)
        write_model_page(folder, run, report or make_report(2), command)
        return (folder / PAGE).read_text()

    return write


def test_it_says_where_the_model_comes_from(page):
    text = page()
    assert f"# mine, round 2: a world model of {MINIATURE.game.id}" in text
    assert "family `latent`" in text and "base none,\ncommit 0123456789ab" in text
    assert f"\n    {COMMAND}\n" in text
    assert "license: apache-2.0" in text and "Apache-2.0, as the project." in text
    assert COMMAND not in page(command="")


def test_it_says_what_play_the_model_learned_from(page):
    random = 9 + 10 + 7
    text = page()
    assert f"| random | 3 | {random} |" in text, "the two pieces of a game are one episode"
    assert "| policy | 1 | 11 |" in text and f"| all | 4 | {random + 11} |" in text
    assert "of 2,000 real steps so far" in text
    assert "The expert took 300 real steps before." in page(report=replace(make_report(), expert_steps=300))


def test_it_has_the_scores_of_the_report(page):
    text = page(report=make_report(changing=17.25))
    assert "| prediction | 1 | 8 |" in text
    assert "| dream, changing pixels | 17.2 | 17.2 |" in text
    assert "7 of 10 real ends" in text and "1.5% of the other steps" in text
    assert "reaches 50.0 in the real game" in text
    assert "Nothing was measured" in page(report=replace(make_report(), fidelity=None))


def test_the_licence_of_somebody_elses_base_is_its_own(page):
    ours = replace(MINIATURE, model=replace(MINIATURE.model, base=BaseConfig("small")))
    theirs = replace(MINIATURE, model=replace(MINIATURE.model, base=BaseConfig("somebody/model")))
    assert "license: apache-2.0" in page(ours)
    text = page(theirs)
    assert "license: other" in text and "That of its base, somebody/model" in text


def test_it_is_the_same_every_time(page):
    assert page() == page()


def test_every_round_of_a_run_gets_one_and_stays_whole(tmp_path):
    run = RunFolder(tmp_path / "run", Settings(rounds=2))
    train_rounds(FakeAlgorithm(), run, Console(quiet=True), NoGauges(), COMMAND)
    for number in (1, 2):
        text = (run.round_folder(number) / "world_model" / PAGE).read_text()
        assert f"# run, round {number}:" in text and COMMAND in text
    assert RunFolder(tmp_path / "run", Settings(rounds=2)).last_round == 2, "the checksums know the page"
    assert (run.path / "world_model" / "best" / PAGE).exists()


def test_a_world_model_with_a_page_is_read_as_before(page, tmp_path):
    model = LatentWorldModel(MINIATURE.model, SPEC)
    model.save_pretrained(tmp_path / "model")
    page()
    assert load_world_model(tmp_path / "model").encoder_hash() == model.encoder_hash()
