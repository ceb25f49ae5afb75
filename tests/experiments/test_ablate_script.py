from dataclasses import replace

import numpy as np
import pytest
from reports import make_report
from rich.console import Console

from experiments import ablate, dyna
from experiments.ablation import Ablation
from experiments.changes import CHANGES, ROWS
from experiments.cli import run_main
from experiments.presets import cartpole
from experiments.provenance import leaves
from rl.checks import check_settings

DIFFERING = {
    "all": set(),
    "no_base": {"model.base.name", "fit.autoencoder_steps", "fit.autoencoder_learning_rate"},
    "one_prediction": {"fit.unroll", "fit.batch_size"},
    "any_noise": {"fit.sampled_share"},
    "four_calls": {"model.sampler.steps"},
    "hard_steps": {"fit.hard_share"},
    "recent_play": {"fit.recent_share"},
    "no_shift": {"model.shift"},
    "calm_context": {"model.max_context_noise"},
    "rough_dreams": {"model.scatter"},
    "head_beside": {"fit.head_steps"},
    "adapter": {"fit.full"},
    "no_waiting": {"fit.more_fits"},
    "one_agent": {"imagine.afresh"},
    "normalized": {"imagine.normalized"},
    "no_doubt": {"imagine.doubt_limit"},
    "only_beginnings": {"imagine.starts.uniform", "imagine.starts.near_end", "imagine.starts.beginning"},
    "short_dreams": {"imagine.horizon"},
    "long_dreams": {"imagine.horizon"},
    "half_imagined": {"imagine.steps"},
    "twice_imagined": {"imagine.steps"},
}


class FakeRun:
    """A run that is finished as soon as it is begun."""

    trained, dies_in = (), None

    def __init__(self, path, settings):
        self.path, self.settings, self.last_round = path, settings, 0

    def reports(self):
        return [replace(make_report(), scalars={"imagined/last_length": 40.0})]


@pytest.fixture
def fake(monkeypatch):
    def train(run, console):
        if len(run.trained) == run.dies_in:
            raise KeyboardInterrupt
        run.trained.append((run.path.name, run.settings))

    monkeypatch.setattr(FakeRun, "trained", [])
    monkeypatch.setattr(ablate, "RunFolder", FakeRun)
    monkeypatch.setattr(dyna, "train_run", train)
    return FakeRun


@pytest.fixture
def ablate_main(tmp_path):
    where = ["--results", str(tmp_path / "new" / "a.json"), "--runs-dir", str(tmp_path / "runs")]
    return lambda *arguments: run_main(ablate.main, [*where, *arguments])


@pytest.mark.parametrize("row", ROWS)
def test_a_row_differs_from_the_preset_in_what_it_says_and_can_be_run(row):
    changed = CHANGES[row].make(cartpole())
    theirs, ours = leaves(changed), leaves(cartpole())
    assert {name for name in ours if ours[name] != theirs[name]} == DIFFERING[row]
    check_settings(changed)


def test_predictions_that_are_never_its_own_are_as_many():
    fit, changed = cartpole().fit, CHANGES["one_prediction"].make(cartpole()).fit
    assert changed.batch_size * changed.unroll == fit.batch_size * fit.unroll


def test_every_row_is_run_with_every_seed_and_kept(fake, ablate_main, tmp_path, capsys):
    assert ablate_main("--seed", "4", "--seeds", "2", "--rows", "all", "no_shift") == 0
    names = [name for name, _ in fake.trained]
    assert names == [f"cartpole-{row}-seed{seed}" for seed in (4, 5) for row in ("all", "no_shift")]
    assert [settings.model.shift for _, settings in fake.trained] == [0.5, 0.0, 0.5, 0.0]
    found = Ablation.read(tmp_path / "new" / "a.json")
    assert [(row, set(results)) for row, results in found.rows.items()] == [
        ("all", {"4", "5"}),
        ("no_shift", {"4", "5"}),
    ]
    assert found.rows["all"]["4"].returns == tuple(make_report().after.returns)
    assert "windows are never shifted" in capsys.readouterr().out


def test_a_row_that_would_change_nothing_is_left_out_and_named(fake, ablate_main, capsys):
    assert ablate_main("--preset", "plain", "--seeds", "1", "--rows", "all", "one_agent", "no_shift") == 0
    assert [name.split("-")[-2] for name, _ in fake.trained] == ["all", "no_shift"]
    assert "one_agent is left out" in capsys.readouterr().out


def test_what_only_the_other_family_has_is_left_out(fake, ablate_main, capsys):
    rows = ["all", "no_shift", "adapter", "recent_play", "short_dreams"]
    assert ablate_main("--family", "pixel", "--seeds", "1", "--rows", *rows) == 0
    assert [name.split("-")[-2] for name, _ in fake.trained] == ["all", "recent_play", "short_dreams"]
    shown = capsys.readouterr().out
    assert all(f"{row} is left out: with these settings it changes nothing" in shown for row in ("no_shift", "adapter"))


def test_the_same_command_goes_on_with_what_is_missing(fake, ablate_main, monkeypatch, capsys):
    monkeypatch.setattr(fake, "dies_in", 1)
    assert ablate_main("--seeds", "1", "--rows", "all", "no_doubt") == 130
    assert "To go on: python experiments/ablate.py" in capsys.readouterr().out
    monkeypatch.setattr(fake, "dies_in", None)
    assert ablate_main("--seeds", "1", "--rows", "all", "no_doubt") == 0
    assert [name.split("-")[1] for name, _ in fake.trained] == ["all", "no_doubt"]


def test_other_settings_are_refused_by_name(fake, ablate_main, capsys):
    ablate_main("--seeds", "1", "--rows", "all")
    assert ablate_main("--seeds", "1", "--rows", "all", "--fit.dream", "5") == 2
    assert "fit.dream" in capsys.readouterr().err


def test_no_seeds_are_refused(fake, ablate_main, capsys):
    assert ablate_main("--seeds", "0") == 2
    assert "seeds must be more than 0, not 0." in capsys.readouterr().err
    assert not fake.trained


def test_a_row_stands_beside_the_whole(fake, ablate_main, tmp_path, capsys):
    ablate_main("--seeds", "1", "--rows", "all", "no_doubt")
    found = Ablation.read(tmp_path / "new" / "a.json")
    half = replace(found.rows["all"]["0"], returns=tuple(value / 2 for value in found.rows["all"]["0"].returns))
    Console(width=140).print(ablate.table_of(found.added("no_doubt", 0, half)))
    shown = capsys.readouterr().out
    assert "+0.0" in shown and f"{-np.mean(half.returns):+.1f}" in shown
