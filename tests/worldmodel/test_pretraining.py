from dataclasses import replace

import pytest
import torch
from tiny import CONFIG, SIZE, SPEC, sliding

from rl.buffer import BufferWriter
from worldmodel.data.reader import BufferReader
from worldmodel.errors import UserError
from worldmodel.fitting import FitConfig
from worldmodel.latent.config import BaseConfig
from worldmodel.latent.model import LatentWorldModel
from worldmodel.latent.own_base import belongs_to_game, read_card
from worldmodel.latent.pace import Pace
from worldmodel.latent.pretrain_scores import score_dreams, score_pictures
from worldmodel.latent.pretraining import Pretraining, average
from worldmodel.spaces import ActionSpec

FIT = FitConfig(batch_size=4, unroll=1, dream=2)
PUSH = ActionSpec.box((-1.0,), (1.0,))


def pushed(seed):
    """The sliding game with numbers for actions."""
    episode = sliding(seed)
    return replace(episode, actions=(episode.actions[:, None] - 1).astype("float32"))


@pytest.fixture(scope="module")
def readers(tmp_path_factory):
    folder = tmp_path_factory.mktemp("play")
    for name, spec, play in (("slide", SPEC, sliding), ("push", PUSH, pushed)):
        BufferWriter(folder / name, (SIZE, SIZE, 3), spec, 10_000).append([play(seed) for seed in range(12)])
    return {name: BufferReader(folder / name) for name in ("slide", "push")}


def pretraining(readers, tmp_path, **changes) -> Pretraining:
    return Pretraining(CONFIG, replace(FIT, **changes), readers, 2, 0, torch.device("cpu"), tmp_path / "failures")


def run(fit: Pretraining, stage, steps=3) -> Pace:
    pace = Pace(steps)
    fit.begin(stage, pace)
    while pace.progress < 1:
        fit.update()
    fit.finish()
    return pace


def weights(fit: Pretraining, game) -> dict[str, torch.Tensor]:
    return {name: weight.clone() for name, weight in fit.models[game].state_dict().items()}


@pytest.fixture
def trained(readers, tmp_path):
    fit = pretraining(readers, tmp_path)
    run(fit, "autoencoder")
    run(fit, "dynamics")
    return fit


def test_games_share_all_weights_but_those_of_their_actions_and_outcomes(trained):
    slide, push = weights(trained, "slide"), weights(trained, "push")
    per_game = ("autoencoder.change",)
    for name in slide.keys() & push.keys():
        if not (belongs_to_game(name) or name in per_game):
            assert torch.equal(slide[name], push[name]), name
    assert not torch.equal(slide["head.members.0.out.weight"], push["head.members.0.out.weight"])
    assert not torch.equal(slide["autoencoder.change"], push["autoencoder.change"])


def test_every_part_is_trained_in_its_stage(readers, tmp_path):
    fit = pretraining(readers, tmp_path)
    first = weights(fit, "push")
    run(fit, "autoencoder")
    second = weights(fit, "push")
    moved = {name.split(".")[0] for name in first if not torch.equal(first[name], second[name])}
    assert moved == {"autoencoder"}
    run(fit, "dynamics", 12)
    third = weights(fit, "push")
    still = {name for name in first if not name.startswith("autoencoder.") and torch.equal(second[name], third[name])}
    measured = {name for name in first if name.startswith("familiarity.")} | {"left_out"}
    assert still <= measured, "which is done for one game only"
    assert {name.split(".")[0] for name in second if not torch.equal(second[name], third[name])} == {"denoiser", "head"}


def test_latents_are_standardised_over_all_games(trained, readers):
    raw = []
    for game, reader in readers.items():
        frames = torch.from_numpy(reader.frames(torch.arange(reader.num_frames).numpy()))
        raw.append(trained.models[game].autoencoder.encode(frames))
    latents = torch.cat(raw)
    assert latents.mean((0, 2, 3)).abs().max() < 0.2
    assert (latents.std((0, 2, 3)) - 1).abs().max() < 0.2


def test_the_base_that_it_saves_begins_a_third_game(trained, tmp_path):
    trained.save(tmp_path / "base")
    assert read_card(tmp_path / "base").games == ("slide", "push")
    model = LatentWorldModel(replace(CONFIG, base=BaseConfig(str(tmp_path / "base"))), ActionSpec.discrete(7))
    ours, theirs = model.state_dict(), weights(trained, "slide")
    assert torch.equal(ours["denoiser.unet.conv_in.weight"], theirs["denoiser.unet.conv_in.weight"])
    assert torch.equal(ours["autoencoder.std"], theirs["autoencoder.std"])
    changes = [fit.autoencoder.change for fit in trained.models.values()]
    assert torch.allclose(ours["autoencoder.change"], torch.stack(changes).square().mean(0).sqrt())


def test_it_goes_on_from_a_state(readers, tmp_path):
    fit = pretraining(readers, tmp_path)
    run(fit, "autoencoder")
    pace = Pace(4)
    fit.begin("dynamics", pace)
    for _ in range(2):
        fit.update()
    torch.save(fit.state(), tmp_path / "state.pt")
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    other, rest = pretraining(readers, tmp_path), Pace(4, updates=2)
    other.load(state)
    other.begin("dynamics", rest)
    other.go_on(state)
    assert other.state()["optimization"]["ema"]["optimization_step"] == 2
    for name, weight in weights(fit, "push").items():
        assert torch.equal(weight, weights(other, "push")[name]), name
    other.update()
    assert rest.progress == 0.75


def test_the_same_seed_trains_the_same_base(readers, tmp_path, trained):
    again = pretraining(readers, tmp_path)
    run(again, "autoencoder")
    run(again, "dynamics")
    assert all(torch.equal(weight, weights(trained, "push")[name]) for name, weight in weights(again, "push").items())


def test_a_loss_that_is_no_number_stops_it_in_a_sentence(readers, tmp_path):
    fit = pretraining(readers, tmp_path)
    fit.begin("autoencoder", Pace(3))
    with torch.no_grad():
        fit.models["slide"].autoencoder.vae.decoder.layers[0].weight.fill_(float("nan"))
    with pytest.raises(UserError, match="pre-training the autoencoder, reconstruction is no number"):
        fit.update()


def test_one_worker_averages_nothing():
    assert average([], 0.25) == 0.25


def test_scores_tell_a_picture_from_noise(trained, readers):
    dreams = score_dreams(trained.models["slide"], readers["slide"], 0)
    assert dreams.horizons[0] == 1 and len(dreams.dream) == len(dreams.horizons)
    good = score_pictures(trained.models["slide"], readers["slide"], "held_out", 0)
    with torch.no_grad():
        trained.models["slide"].autoencoder.vae.decoder.layers[0].weight.mul_(-20)
    assert good.all > score_pictures(trained.models["slide"], readers["slide"], "held_out", 0).all


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_pace_ends_with_its_steps_or_its_minutes():
    clock = Clock()
    pace = Pace(10, minutes=1.0, clock=clock)
    pace.start()
    pace.count()
    assert pace.progress == pytest.approx(0.1)
    clock.now = 30.0
    pace.count()
    assert pace.progress == pytest.approx(0.5)
    clock.now = 61.0
    pace.count()
    assert pace.progress == 1.0


def test_a_pace_goes_on_where_it_was_left():
    clock = Clock()
    clock.now = 500.0
    pace = Pace(10, minutes=1.0, updates=3, seconds=30.0, clock=clock)
    assert pace.progress == pytest.approx(0.5)
    clock.now = 600.0
    pace.start()
    clock.now = 615.0
    pace.count()
    assert pace.progress == pytest.approx(0.75)
