"""What a worker of Ray Train does, without Ray Train."""

import json
import shutil
from dataclasses import replace
from types import SimpleNamespace

import pytest
import ray
import torch

from rl import pretrainer
from rl.pretrain_board import Board
from rl.pretrain_play import buffer_of, play_game, readers_of
from rl.pretrain_settings import BudgetSettings, PlaySettings, PretrainSettings
from rl.settings import ClusterSettings
from worldmodel.data.reader import BufferReader
from worldmodel.errors import UserError
from worldmodel.fitting import FitConfig
from worldmodel.head_config import HeadConfig
from worldmodel.latent.config import AutoencoderConfig, BaseConfig, DenoiserConfig, LatentConfig, SamplerConfig
from worldmodel.latent.model import LatentWorldModel
from worldmodel.latent.own_base import read_card
from worldmodel.spaces import ActionSpec

SETTINGS = PretrainSettings(
    play=PlaySettings(
        games=("counting:Counting-v0", "Pendulum-v1"), strange=("MountainCar-v0",), steps=60, envs=2, max_steps=20
    ),
    model=LatentConfig(
        frame_size=16,
        context=2,
        autoencoder=AutoencoderConfig(channels=(8, 8, 8), latent_channels=4),
        denoiser=DenoiserConfig(channels=(32, 64)),
        sampler=SamplerConfig(steps=1),
        head=HeadConfig(members=1, hidden=8),
    ),
    fit=FitConfig(batch_size=4, unroll=1, dream=2),
    autoencoder=BudgetSettings(steps=4),
    dynamics=BudgetSettings(steps=4),
    games_per_update=2,
    cluster=ClusterSettings(threads=1),
)


@pytest.fixture(scope="module")
def play(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "play"
    for game in (*SETTINGS.play.games, *SETTINGS.play.strange):
        play_game(SETTINGS.play, game, 16, 0, buffer_of(folder, game))
    return folder


class Ear(Board):
    """A board that is no actor."""

    def __init__(self) -> None:
        super().__init__()
        write = self.put
        self.put = SimpleNamespace(remote=write)  # type: ignore[method-assign,assignment]


@pytest.fixture
def train(play, tmp_path, monkeypatch):
    """Trains as Ray Train would have a single worker do; stops after so many checkpoints."""
    kept = tmp_path / "kept"
    monkeypatch.setattr(pretrainer, "get_context", lambda: SimpleNamespace(get_world_rank=lambda: 0))
    monkeypatch.setattr(pretrainer, "get_device", lambda: torch.device("cpu"))
    monkeypatch.setattr(
        pretrainer, "get_checkpoint", lambda: ray.train.Checkpoint.from_directory(kept) if kept.exists() else None
    )

    def train(settings=SETTINGS, checkpoints=100):
        left = checkpoints

        def report(metrics, checkpoint):
            nonlocal left
            left -= 1
            shutil.rmtree(kept, ignore_errors=True)
            shutil.copytree(checkpoint.path, kept)
            if not left:
                raise KeyboardInterrupt

        monkeypatch.setattr(ray.train, "report", report)
        board = Ear()
        try:
            pretrainer._work({"settings": settings, "play": play, "board": board})
        except KeyboardInterrupt:
            assert left == 0
        return kept, board.take()

    return train


def test_a_worker_trains_both_stages_and_leaves_a_base_with_scores(train, play):
    kept, words = train()
    base = kept / pretrainer.BASE
    config = replace(SETTINGS.model, base=BaseConfig(str(base)))
    assert LatentWorldModel(config, ActionSpec.discrete(5)).has_base
    assert read_card(base).games == SETTINGS.play.games
    scores = json.loads((base / pretrainer.SCORES).read_text())
    assert set(scores) == {*SETTINGS.play.games, *SETTINGS.play.strange}
    assert "dreams" in scores["Pendulum-v1"] and "dreams" not in scores["MountainCar-v0"]
    assert [word.stage for word in words if word.progress == 1] == ["autoencoder", "dynamics"]
    assert set(words[-1].losses) == {"denoising", "reward", "termination"}


def test_a_stopped_worker_goes_on_from_its_checkpoint(train):
    settings = replace(SETTINGS, dynamics=BudgetSettings(steps=8))
    kept, _ = train(settings, checkpoints=5)
    state = torch.load(kept / "state.pt", weights_only=True)
    assert (state["stage"], state["updates"]) == ("dynamics", 2)
    assert not (kept / pretrainer.BASE).exists()
    kept, words = train(settings)
    assert {word.stage for word in words} == {"dynamics"}
    assert words[-1].updates == 8
    assert (kept / pretrainer.BASE / pretrainer.SCORES).exists()


def test_a_finished_training_is_not_done_again(train):
    kept, _ = train()
    unet = "base/unet/diffusion_pytorch_model.safetensors"
    before = (kept / unet).read_bytes()
    _, words = train()
    assert words[-1].updates == 4 and not words[-1].losses
    assert (kept / unet).read_bytes() == before


def test_experts_and_chance_play_their_share(play):
    reader = BufferReader(buffer_of(play, "Pendulum-v1"))
    steps = {source: sum(e.length for e in reader.episodes if e.info.source == source) for source in
             ("random", "expert")}  # fmt: skip
    assert 30 <= steps["random"] < 32 and 30 <= steps["expert"] < 50
    others = readers_of(play, ("counting:Counting-v0",))["counting:Counting-v0"]
    assert {episode.info.source for episode in others.episodes} == {"random"}


def test_a_workers_word_to_the_user_is_found_in_what_ray_makes_of_it():
    class WrappedError(Exception):
        def __init__(self, cause):
            super().__init__("a long story")
            self.cause = cause

    told = UserError("lower the rate.")
    failed = SimpleNamespace(worker_failures={0: WrappedError(told)})
    assert pretrainer._ours(failed) is told
    other = ValueError("no user's business")
    assert pretrainer._ours(other) is other
