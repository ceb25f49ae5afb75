import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from counting import paint, read
from miniature import MINIATURE
from playing import SPEC, counted
from reports import make_report

from experiments import fidelity
from experiments.cli import run_main
from experiments.fidelity_results import FidelityResults
from experiments.report import gap_plot
from rl.buffer import BufferWriter
from rl.policies import PolicySnapshot, PolicySpec, save_policy
from rl.run_folder import RunFolder
from worldmodel.latent.model import LatentWorldModel
from worldmodel.plain import from_plain

SIZE = 32
QUICK = ["--horizon", "6", "--dreams", "3", "--steps", "12", "--games", "2", "--clip", "2"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of one round of the counting game, never trained."""
    folder = RunFolder(tmp_path_factory.mktemp("runs") / "counting-seed0", MINIATURE)
    BufferWriter(folder.buffer, (SIZE, SIZE, 3), SPEC, 1_000_000).append([grown(tag) for tag in range(22)])
    torch.manual_seed(0)
    model = LatentWorldModel(MINIATURE.model, SPEC)
    seen = PolicySpec("latents", model.observation_shape("latents"), 2, SPEC, encoder_hash=model.encoder_hash())
    weights = {name: np.asarray(weight) for name, weight in seen.build().get_state().items()}
    with folder.commit(replace(make_report(), scalars={"imagined/return": 40.0, "imagined/length": 4.0})) as round_1:
        model.save_pretrained(round_1 / "world_model")
        save_policy(round_1 / "policy", PolicySnapshot(seen, weights, 1, 1))
    return folder.path


def grown(tag):
    """A counting game in frames of 32 pixels."""
    episode = counted(tag)
    seen = read(episode.frames)
    return replace(episode, frames=paint(seen.count, seen.action, seen.tag, SIZE))


@pytest.fixture(scope="module")
def measured(run, tmp_path_factory):
    output = tmp_path_factory.mktemp("fidelity")
    networks = ["--lpips", "stand_ins:Apart", "--fid", "stand_ins:Means", "--fvd", "stand_ins:Means"]
    assert run_main(fidelity.main, [str(run), *QUICK, *networks, "--output", str(output)]) == 0
    return output


def test_everything_is_written_and_can_be_read_again(measured):
    results = from_plain(FidelityResults, json.loads((measured / "fidelity.json").read_text()), "fidelity.json")
    assert (results.game, results.run, results.round) == ("counting:Counting-v0", "counting-seed0", 1)
    assert results.free.horizons == results.forced.horizons == (1, 2, 4, 6)
    assert [results.free.forced, results.forced.forced] == [False, True]
    assert {curve.metric for curve in results.free.curves} == {"PSNR, dB", "SSIM", "LPIPS (stand_ins:Apart)"}
    assert [scores.metric.partition(",")[0] for scores in results.frechet] == [
        "FID (stand_ins:Means",
        "FVD (stand_ins:Means",
    ]
    assert [scores.source for scores in results.outcomes] == ["real frames", "one dreamed step", "free-running dream"]
    assert [standing.name for standing in results.standings] == [
        "random policy",
        "untrained policy",
        "round 1",
        "round 1, sampled",
    ]
    assert all(len(standing.dreamed.returns) == 2 for standing in results.standings)
    assert results.promise is not None
    assert (results.promise.player, results.promise.moments) == ("round 1, sampled", 256)
    assert results.promise.horizons[-1] == MINIATURE.imagine.horizon
    assert [(row.round, row.alarms) for row in results.alarms] == [(1, None)], "no play came after the only round"
    training = [(row.round, row.imagined_return, row.real_return, row.random_return) for row in results.training]
    assert training == [(1, 40.0, 50.0, 20.0)]


def test_every_metric_has_its_baseline_beside_it(measured):
    results = from_plain(FidelityResults, json.loads((measured / "fidelity.json").read_text()), "fidelity.json")
    for scores in (results.free, results.forced):
        rows = {(curve.metric, curve.pixels): set() for curve in scores.curves}
        for curve in scores.curves:
            rows[curve.metric, curve.pixels].add(curve.prediction)
        assert len(rows) == 6
        assert set(map(frozenset, rows.values())) == {
            frozenset(("dream", "last frame copied", "autoencoder (ceiling)"))
        }
    text = (measured / "index.html").read_text()
    assert text.count("baseline: its frequency") == 9
    for row in (
        "baseline: what other noise costs",
        "none: last frame copied",
        "median reward",
        "by the agent, in the real game",
        "at random, a share of",
    ):
        assert row in text


def test_plots_and_films_lie_beside_the_page(measured):
    text = (measured / "index.html").read_text()
    pictures = sorted(path.name for path in measured.glob("*.png"))
    assert {"free_running.png", "teacher_forced.png", "reliability.png", "returns.png"} < set(pictures)
    assert [name for name in pictures if name.startswith("film-001-")]
    assert all(f'src="{name}"' in text for name in pictures)


def test_without_games_there_are_no_returns_and_it_lands_in_the_run(run):
    assert run_main(fidelity.main, [str(run), *QUICK, "--games", "0", "--round", "1"]) == 0
    stored = json.loads((run / "report" / "fidelity" / "fidelity.json").read_text())
    assert (stored["standings"], stored["promise"], stored["frechet"]) == ([], None, [])
    assert not (run / "report" / "fidelity" / "returns.png").exists()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--round", "7"], "has no round 7: it has 1."),
        (["--dreams", "0"], "dreams must be more than 0, not 0"),
        (["--games", "-1"], "games must be at least 0, not -1"),
        (["--fvd", "stand_ins:Means", "--clip", "9", "--horizon", "8"], "lower --clip"),
        (["--lpips", "nowhere.pt"], "nowhere.pt could not be read as TorchScript"),
        (["--fid", "stand_ins:Map"], "its features must be"),
    ],
)
def test_what_cannot_be_measured_is_told_at_once(run, capsys, options, sentence):
    assert run_main(fidelity.main, [str(run), *QUICK, *options]) == 2
    captured = capsys.readouterr()
    assert sentence in captured.err
    assert "dream freely" not in captured.out


def test_what_is_no_run_is_refused(tmp_path, capsys):
    assert run_main(fidelity.main, [str(tmp_path)]) == 2
    assert "holds no run" in capsys.readouterr().err


def test_the_gap_is_drawn_round_by_round():
    reports = [replace(make_report(number, mean=20.0 * number), scalars={"imagined/return": 45.0}) for number in (1, 2)]
    (axes,) = gap_plot(reports, 48).axes
    lines = {
        line.get_label(): line.get_ydata().tolist() for line in axes.get_lines() if not line.get_label().startswith("_")
    }
    assert lines["imagined"] == [45.0, 45.0]
    assert "48 steps" in axes.get_title()
