import json
from dataclasses import replace

import pytest
import torch
from miniature import MINIATURE

from experiments import base_worth
from experiments.cli import run_main
from worldmodel.errors import UserError
from worldmodel.latent.model import LatentWorldModel
from worldmodel.latent.own_base import save_base
from worldmodel.spaces import ActionSpec

TINY = [
    "--games", "Acrobot-v1", "--steps", "120", "--max-steps", "20", "--seconds", "0.2", "--seeds", "0",
    "--model.frame-size", "32", "--model.context", "2", "--model.autoencoder.channels", "8", "8", "8",
    "--model.autoencoder.latent-channels", "4", "--model.denoiser.channels", "32", "64", "--model.adapter.rank", "2",
    "--model.sampler.steps", "1", "--model.head.members", "1", "--model.head.hidden", "8", "--fit.batch-size", "4",
    "--fit.dream", "2", "--fit.head-batch-size", "8", "--fit.head-dreams", "8",
]  # fmt: skip


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bases") / "ours"
    torch.manual_seed(0)
    save_base(LatentWorldModel(MINIATURE.model, ActionSpec.discrete(3)), folder, ("Pendulum-v1",))
    return folder


def worth_main(base, runs, *arguments):
    places = ["--base", str(base), "--runs-dir", str(runs), "--record", str(runs / "worth.json")]
    return run_main(base_worth.main, [*TINY, *places, *arguments])


@pytest.fixture(scope="module")
def runs(base, tmp_path_factory):
    runs = tmp_path_factory.mktemp("runs")
    assert worth_main(base, runs) == 0
    return runs


def results(runs):
    return json.loads((runs / "worth.json").read_text())["results"]


def test_every_arm_is_fitted_for_the_same_time_and_judged(runs):
    arms = {result["arm"]: result for result in results(runs)}
    assert set(arms) == {"scratch", "lora", "full"}
    assert set(arms["scratch"]["updates"]) == {"autoencoder", "dynamics", "head"}
    assert set(arms["lora"]["updates"]) == {"latents", "decoder", "adapter", "head"}
    assert arms["lora"]["updates"]["adapter"] > 0 == arms["lora"]["updates"]["latents"]
    assert arms["lora"]["trained"] < arms["scratch"]["trained"]
    copied = [arm["fidelity"]["copy_last"] for arm in arms.values()]
    assert copied[0] == copied[1] == copied[2] and len(copied[0]) > 3
    assert {arm["seconds"] for arm in arms.values()} == {0.2}
    assert [score["source"] for score in arms["full"]["outcomes"]] == ["real frames", "one dreamed step"]


def test_the_same_command_goes_on_with_what_is_lacking(base, runs, capsys):
    before = results(runs)
    assert worth_main(base, runs) == 0
    shown = capsys.readouterr().out
    assert results(runs) == before
    assert "Acrobot-v1" in shown and "lora" in shown and "seed 0" not in shown


@pytest.mark.parametrize("changed", [("--steps", "90"), ("--max-steps", "15")])
def test_play_of_other_settings_is_not_taken_for_this(base, runs, changed, monkeypatch, capsys):
    def play_game(*_):
        raise UserError("it is played.")

    monkeypatch.setattr("rl.pretrain_play.play_game", play_game)
    assert worth_main(base, runs, *changed, "--record", str(runs / "other.json")) == 2
    assert "it is played." in capsys.readouterr().err


def test_play_in_other_frames_lies_elsewhere():
    large = base_worth.Options(model=replace(MINIATURE.model, frame_size=(32, 48)))
    assert large.played != base_worth.Options(model=MINIATURE.model).played


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--steps", "60"], "holds results of another steps; give --record another file."),
        (["--seconds", "0"], "seconds must be more than 0, not 0.0."),
        (["--fit.batch-size", "0"], "fit.batch_size must be more than 0, not 0."),
        (["--games", "Pendulum-v1"], "has seen Pendulum-v1"),
        (["--model.context", "3"], "model.context is 3, but the base"),
    ],
)
def test_what_cannot_be_compared_is_refused_in_a_sentence(base, runs, capsys, arguments, sentence):
    before = results(runs)
    assert worth_main(base, runs, *arguments) == 2
    assert sentence in capsys.readouterr().err
    assert results(runs) == before
