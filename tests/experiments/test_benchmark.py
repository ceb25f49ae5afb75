import json
import time

import pytest
import torch

from experiments.benchmark import PARTS, main
from experiments.cli import run_main
from experiments.speed import real, roofline
from experiments.speed.agent import Learned
from experiments.speed.imagination import Imagined
from experiments.speed.judging import Judged, cut_round
from experiments.speed.pictures import Pictured, in_single_pixels
from experiments.speed.real import GAMES
from experiments.speed.record import read_benchmark
from experiments.speed.roofline import Roofline, Work, count, measure_roofline
from experiments.speed.timing import Rate, in_turns
from rl.checks import check_settings
from worldmodel.latent.config import AutoencoderConfig


def rate(per_second):
    return Rate(per_second, per_second, per_second, 3)


def test_ways_take_turns_and_the_first_does_not_count():
    order = []

    def way(name, seconds, done):
        def work():
            order.append(name)
            time.sleep(10 * seconds if order.count(name) == 1 else seconds)
            return done

        return work

    rates = in_turns({"one": way("one", 0.01, 5), "other": way("other", 0.02, 5)}, 0.0)
    assert order == ["one", "other"] * 4
    assert rates["one"].turns == 3
    assert 250 < rates["one"].per_second <= 500 and 125 < rates["other"].per_second <= 250
    assert rates["one"].low <= rates["one"].per_second <= rates["one"].high


def test_ways_are_measured_for_as_long_as_is_asked():
    assert in_turns({"one": lambda: time.sleep(0.01) or 1}, 0.2)["one"].turns > 10


def test_work_is_counted():
    layer = torch.nn.Linear(8, 4)
    counted = count(lambda: layer(torch.ones(3, 8)), layer.parameters())
    assert counted == Work(2 * 3 * 8 * 4, 4 * (8 * 4 + 4))


@pytest.mark.parametrize(("work", "seconds"), [(Work(8e9, 1), 2.0), (Work(1, 6e9), 3.0)])
def test_the_limit_is_what_takes_longer(work, seconds):
    assert Roofline(float32=1e9, bfloat16=4e9, bandwidth=2e9).seconds(work) == pytest.approx(seconds)


@pytest.mark.parametrize("built", [True, False])
def test_bfloat16_is_measured_only_where_the_device_is_built_for_it(monkeypatch, built):
    """Elsewhere a single product of such matrices takes a minute."""
    monkeypatch.setattr(roofline, "computes_bf16", lambda device: built)
    measured = measure_roofline("cpu", 0.05)
    assert (measured.bfloat16 > 0) is built
    assert measured.operations >= measured.float32 > 0 < measured.bandwidth


def test_ratios_say_how_many_times_faster_and_shares_how_much_longer():
    imagined = Imagined("pixel", 3, 32, {"plain": rate(10.0), "ours": rate(25.0)}, {}, 1.0, 100.0)
    assert imagined.ratio("plain") == 2.5
    learned = Learned("tiny", (16, 16, 3), {"bare torch": rate(120.0), "stock RLlib": rate(50.0), "ours": rate(100.0)})
    assert learned.times("bare torch") == 1.2 and learned.times("stock RLlib") == 0.5


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """A small roofline, and one game."""
    monkeypatch.setitem(roofline._SIDE, "cpu", 64)
    monkeypatch.setitem(roofline._COPIED, "cpu", 2**20)
    monkeypatch.setattr(real, "GAMES", real.GAMES[:1])


def test_the_same_autoencoder_in_single_pixels_has_latents_of_the_same_size():
    squares = AutoencoderConfig((48, 32), latent_channels=16, patch_size=4)
    pixels = in_single_pixels(squares)
    assert pixels == AutoencoderConfig((48, 48, 48, 32), latent_channels=16)
    assert pixels.scale == squares.scale
    assert Pictured(4, {"pixels": rate(20.0), "squares": rate(70.0)}).ratio == 3.5


SMALL = ["--seconds", "0.01", "--imagination.dreams", "1", "2", "--imagination.latent-calls", "1"]
SMALL += ["--imagination.beside-compiled", "--imagination.steps-ahead", "1"]


def test_what_is_measured_is_printed_and_kept_and_more_is_added(tmp_path, capsys):
    path = tmp_path / "speed.json"
    assert main([*SMALL, "--output", str(path), "--parts", "games", "buffer"]) == 0
    first = read_benchmark(path)
    assert "CartPole-v1" in first.games and first.buffer.written.per_second > 0 and not first.imagination
    assert main([*SMALL, "--output", str(path), "--parts", "latent"]) == 0
    both = read_benchmark(path)
    assert both.games == first.games
    assert [dreamed.dreams for dreamed in both.imagination] == [1, 2]
    assert all(dreamed.rates.keys() == {"plain", "ours"} for dreamed in both.imagination)
    assert both.machine["torch"] == torch.__version__
    assert both.origins["buffer"] == first.origins["buffer"], "each part keeps the command that measured it"
    assert both.origins["latent"].command.endswith("--parts latent")
    assert all(origin.memory_mb > 50 for origin in both.origins.values())
    shown = capsys.readouterr().out
    assert "Real play" in shown and "Imagined steps a second" in shown and "denoising" in shown


def test_the_figures_of_another_machine_are_not_mixed_in(tmp_path):
    path = tmp_path / "speed.json"
    main([*SMALL, "--output", str(path), "--parts", "buffer"])
    record = json.loads(path.read_text())
    record["machine"]["cpu"] = "another"
    path.write_text(json.dumps(record))
    main([*SMALL, "--output", str(path), "--parts", "games"])
    assert read_benchmark(path).buffer is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--seconds", "0"], "seconds must be more than 0"),
        (["--seconds", "nan"], "seconds must be a finite number, not nan."),
        (["--imagination.dreams", "4", "0"], "imagination.dreams must be more than 0"),
        (["--threads", "0"], "threads must be more than 0"),
        (["--world-model", "nowhere"], "nowhere holds no world model"),
        (["--parts", "games", "precision"], "the part precision needs a trained world model"),
    ],
)
def test_what_cannot_be_measured_is_refused(arguments, message, capsys):
    assert run_main(main, arguments) == 2
    assert message in capsys.readouterr().err


def test_a_cut_round_has_less_to_learn_and_as_much_to_judge():
    whole, tenth = cut_round(1.0), cut_round(0.1)
    assert whole.fit.first_steps == 10 * tenth.fit.first_steps and whole.imagine.steps > 9 * tenth.imagine.steps
    assert (whole.evaluate, whole.collect) == (tenth.evaluate, tenth.collect)
    assert whole.cluster.threads == 1, "a core is left free for whoever judges"
    check_settings(whole)
    check_settings(tenth)


def test_what_judging_beside_saves_is_told_by_medians():
    assert Judged(1.0, beside=(10.0, 8.0, 9.0), in_turn=(18.0, 50.0, 17.0)).ratio == 2.0


@pytest.mark.slow
def test_every_part_can_be_measured(tmp_path, monkeypatch):
    monkeypatch.setattr(real, "GAMES", GAMES)
    monkeypatch.setattr("experiments.speed.judging.LEARNING", (0.1,))
    monkeypatch.setattr("experiments.speed.judging._TURNS", 1)
    path = tmp_path / "speed.json"
    assert main([*SMALL, "--output", str(path), "--parts", *PARTS, "--imagination.pixel-calls", "1"]) == 0
    whole = read_benchmark(path)
    assert whole.training and whole.pictures and whole.agents and whole.round and whole.judging
