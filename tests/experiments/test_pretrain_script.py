import json
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path

import pytest
import ray
from clusters import ray_on

from experiments import cluster, pretrain
from experiments.base_page import write_base_page
from experiments.cli import run_main
from experiments.pretrain_watch import _Show
from rl.pretrain_board import Word
from rl.pretrain_settings import KEPT_OUT, PlaySettings, PretrainSettings
from worldmodel.latent.own_base import SHIPPED, read_card, shipped_bases

TINY = [
    "--play.games", "Pendulum-v1", "Acrobot-v1", "--play.strange", "ALE/Skiing-v5", "--play.steps", "60",
    "--play.envs", "2", "--play.max-steps", "20", "--model.frame-size", "16", "--model.context", "2",
    "--model.autoencoder.channels", "8", "8", "8", "--model.autoencoder.latent-channels", "4",
    "--model.denoiser.channels", "32", "64", "--model.sampler.steps", "1", "--model.head.members", "1",
    "--model.head.hidden", "8", "--fit.batch-size", "4", "--fit.unroll", "1", "--autoencoder.steps", "4",
    "--dynamics.steps", "4", "--games-per-update", "2", "--cluster.threads", "1",
]  # fmt: skip


def pretrain_main(runs: Path, *arguments: str) -> int:
    return run_main(pretrain.main, [*TINY, "--runs-dir", str(runs), *arguments])


@contextmanager
def two_cpus(settings):
    with nullcontext() if ray.is_initialized() else ray_on(2):
        yield cluster.Addresses(None, None)


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["1", "2"])
def test_the_script_leaves_a_base(monkeypatch, tmp_path, capsys, workers):
    monkeypatch.setattr(cluster, "ray_cluster", two_cpus)
    assert pretrain_main(tmp_path, "--workers", workers) == 0
    base = tmp_path / "pretrain-seed0" / "base"
    assert read_card(base).games == ("Pendulum-v1", "Acrobot-v1")
    assert "--play.games Pendulum-v1 Acrobot-v1" in (base / "README.md").read_text()
    shown = capsys.readouterr().out
    assert "dynamics" in shown and f"--base {base}" in shown
    assert pretrain_main(tmp_path) == 2
    assert "is there already" in capsys.readouterr().err


def test_its_page_tells_games_experts_command_and_scores(tmp_path):
    pictures, copied = {"all": 31.25, "moving": 22.5}, {"copy_last": [30.0], "copy_last_changing": [10.5]}
    dreams = {"horizons": [1], "dream": [33.0], "dream_changing": [19.75], **copied}
    scores = {"Pendulum-v1": {"pictures": pictures, "dreams": dreams}, "ALE/Gopher-v5": {"pictures": pictures}}
    (tmp_path / "scores.json").write_text(json.dumps(scores))
    settings = PretrainSettings(seed=3, play=PlaySettings(games=("Pendulum-v1", "ALE/Hero-v5")))
    write_base_page(tmp_path, "small", settings, "python experiments/pretrain.py --seed 3", 90.0)
    page = (tmp_path / "README.md").read_text()
    assert "license: apache-2.0" in page and "seed 3" in page and "50% in Pendulum-v1" in page
    assert "python experiments/pretrain.py --seed 3" in page and "ALE/Hero-v5" in page
    assert "| Pendulum-v1 | 31.2 | 22.5 | 19.8 (10.5) |" in page
    assert "| ALE/Gopher-v5 | 31.2 | 22.5 |  |" in page
    assert json.loads((tmp_path / "settings.json").read_text())["seed"] == 3


def test_words_of_the_workers_are_shown_as_phases_and_logged():
    shown, logged = [], []

    class Progress:
        def phase(self, name, total):
            shown.append((name, total))
            return nullcontext(lambda n, **figures: shown.append((n, figures)))

    class Log:
        def add_scalar(self, *what):
            logged.append(what)

    with ExitStack() as phase:
        show = _Show(Progress(), Log(), phase)
        show.see(Word("autoencoder", 0.0, 0, {}))
        show.see(Word("autoencoder", 0.25, 10, {"reconstruction": 0.5}))
        show.see(Word("dynamics", 0.5, 3, {"denoising": 1.0}))
    assert shown == [
        ("autoencoder", 1000), (0, {"updates": 0}), (250, {"updates": 10, "reconstruction": 0.5}),
        ("dynamics", 1000), (500, {"updates": 3, "denoising": 1.0}),
    ]  # fmt: skip
    assert logged == [("autoencoder/reconstruction", 0.5, 10), ("dynamics/denoising", 1.0, 3)]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--play.strange", "Pendulum-v1"], "none of them among play.strange"),
        (["--play.expert", "1.5"], "play.expert must be from 0 to 1, not 1.5."),
        (["--model.base.name", "small"], "leave out model.base.name"),
        (["--model.frame-size", "18"], "the autoencoder needs multiples of 4"),
    ],
)
def test_bad_settings_are_one_sentence_before_ray_starts(monkeypatch, tmp_path, capsys, arguments, sentence):
    monkeypatch.setattr(cluster, "ray_cluster", lambda settings: pytest.fail("Ray was started"))
    assert pretrain_main(tmp_path, *arguments) == 2
    assert sentence in capsys.readouterr().err


def test_no_game_of_a_claim_is_in_a_base():
    """Else its frames would count as real steps of the result."""
    settings = PretrainSettings().play
    seen = {*settings.games, *settings.strange}
    for name in shipped_bases():
        seen |= set(read_card(SHIPPED / name).games)
    for game in ("CartPole", "Pong", "Boxing", "Breakout", "Freeway", "LunarLander"):
        assert any(game in kept_out for kept_out in KEPT_OUT)
        assert not [known for known in seen if game in known]
    assert not set(KEPT_OUT) & seen


def test_the_shipped_bases_are_small():
    for name in shipped_bases():
        assert sum(path.stat().st_size for path in (SHIPPED / name).rglob("*")) < 20e6
