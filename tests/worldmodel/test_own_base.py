import json
import shutil
from dataclasses import replace

import pytest
import torch
from tiny import CELLS, CHANNELS, CONFIG, LATENT, SPEC, begun, dreamed, random_segment, slides, sliding, stir, tiny

from worldmodel.errors import UserError
from worldmodel.fitting import FitConfig
from worldmodel.latent import own_base
from worldmodel.latent.bases import check_base, make_base
from worldmodel.latent.config import BaseConfig, LatentConfig
from worldmodel.latent.fitter import LatentFitter
from worldmodel.latent.model import LatentWorldModel
from worldmodel.latent.own_base import base_folder, belongs_to_game, save_base, shipped_bases
from worldmodel.spaces import ActionSpec

OTHER = ActionSpec.box((-1.0, 0.0), (1.0, 2.0))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bases") / "ours"
    save_base(taught(), folder, ("sliding",))
    return folder


def taught() -> LatentWorldModel:
    model = tiny()
    model.familiarity.learn(torch.randn(100, 2, *model.latent_shape))
    model.familiarity.limit.fill_(0.5)
    model.left_out.fill_(0.1)
    return model


@pytest.fixture
def copy(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "copy")


def config_of(folder, **changes) -> LatentConfig:
    return replace(CONFIG, base=BaseConfig(str(folder)), **changes)


def test_all_but_what_belongs_to_a_game_is_taken_over(folder):
    torch.manual_seed(7)
    known, model = taught().state_dict(), LatentWorldModel(config_of(folder), SPEC).state_dict()
    assert set(known) == set(model)
    differing = {name for name in known if not torch.equal(known[name], model[name])}
    assert differing == {name for name in known if belongs_to_game(name)}
    assert {"denoiser.conditioner.action.lookup.weight", "head.members.0.out.weight"} < differing


def test_it_predicts_changes_of_standard_latents_as_it_was_trained_to(folder):
    model = LatentWorldModel(config_of(folder), SPEC)
    model.load_state_dict(tiny().state_dict())
    for ours, theirs in zip(dreamed(model.eval()), dreamed(tiny()), strict=True):
        assert torch.equal(ours, theirs)


def test_a_game_with_other_actions_and_rewards_can_be_learned_on_it(folder):
    head = replace(CONFIG.head, rewards="symlog")
    model = LatentWorldModel(config_of(folder, head=head), OTHER)
    assert torch.equal(model.head.members[0].enter.weight, tiny().head.members[0].enter.weight)
    assert model.head.rewards.classes == 41


def test_a_head_of_another_shape_begins_anew_as_a_whole(folder):
    head = replace(CONFIG.head, hidden=24)
    model = LatentWorldModel(config_of(folder, head=head), SPEC)
    assert not torch.equal(model.head.members[0].norm.weight[:16], tiny().head.members[0].norm.weight)
    assert torch.equal(model.denoiser.conditioner.position, tiny().denoiser.conditioner.position)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"context": 6}, "model.context is 6, but the base"),
        ({"frame_size": 32}, "model.frame_size is 32 x 32, but the base"),
        ({"noise_levels": 3}, "model.noise_levels is 3, but the base"),
        ({"residual": False}, "model.residual is False, but the base"),
        ({"autoencoder": replace(CONFIG.autoencoder, latent_channels=8)}, "model.autoencoder.latent_channels is 8"),
        ({"denoiser": replace(CONFIG.denoiser, action_dim=32)}, "model.denoiser.action_dim is 32"),
    ],
)
def test_settings_that_it_was_not_trained_with_are_refused_in_a_sentence(folder, changes, sentence):
    for refuse in (check_base, make_base):
        with pytest.raises(UserError, match="^" + sentence) as refused:
            refuse(config_of(folder, **changes))
        assert "\n" not in str(refused.value)


def test_a_frame_size_may_be_said_either_way(folder):
    check_base(config_of(folder, frame_size=(16, 16)))


@pytest.mark.parametrize("file", [own_base.CARD, own_base.WEIGHTS, "unet/config.json", "vae/config.json"])
def test_a_damaged_base_is_refused_in_a_sentence(copy, file):
    (copy / file).write_bytes(b"{]")
    with pytest.raises(UserError):
        make_base(config_of(copy))


def test_another_format_is_refused(copy):
    card = json.loads((copy / own_base.CARD).read_text())
    (copy / own_base.CARD).write_text(json.dumps(card | {"format": 0}))
    with pytest.raises(UserError, match="is not of format 1"):
        check_base(config_of(copy))


def test_a_short_name_means_a_base_that_comes_with_the_project(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(own_base, "SHIPPED", folder.parent)
    monkeypatch.chdir(tmp_path)
    assert shipped_bases() == ("ours",)
    assert base_folder("ours") == folder
    assert LatentWorldModel(config_of("ours"), SPEC).has_base
    with pytest.raises(UserError, match=r"comes with the project \(ours\)"):
        check_base(config_of("others"))
    (tmp_path / "ours").mkdir()
    assert base_folder("ours").absolute() == tmp_path / "ours"


def test_a_model_on_it_is_saved_without_it_and_loaded_again(folder, tmp_path):
    model = LatentWorldModel(config_of(folder), SPEC)
    model.adapt()
    stir(model, 1, only="lora_B")
    stir(model, 2, only="modules_to_save.default")
    model.save_pretrained(tmp_path)
    assert not (tmp_path / "unet").exists() and not (tmp_path / "vae").exists()
    loaded = LatentWorldModel.from_pretrained(tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(dreamed(loaded), dreamed(model.eval()), strict=True))


def test_a_base_with_other_context_filters_is_another_one(copy, tmp_path):
    model = LatentWorldModel(config_of(copy), SPEC)
    model.save_pretrained(tmp_path / "model")
    other = tiny()
    with torch.no_grad():
        other.denoiser.unet.conv_in.weight[:, :CHANNELS] += 1
    save_base(other, copy, ("sliding",))
    with pytest.raises(UserError, match="belongs to the base"):
        LatentWorldModel.from_pretrained(tmp_path / "model")


def fitter_on(folder, tmp_path, **fit) -> LatentFitter:
    reader = slides(tmp_path / "play", [sliding(seed) for seed in range(12)])
    config = FitConfig(batch_size=4, first_steps=3, steps=2, head_steps=1, unroll=1, dream=2, **fit)
    model = LatentWorldModel(config_of(folder), SPEC)
    return LatentFitter(model, config, reader, torch.device("cpu"), tmp_path / "failures")


def test_only_an_adapter_is_fitted_and_a_decoder_if_it_is_asked_for(folder, tmp_path):
    fitter = fitter_on(folder, tmp_path / "one")
    assert [stage.name for stage in fitter.stages(first=True)] == ["latents", "adapter", "head"]
    fitter = fitter_on(folder, tmp_path / "two", decoder_steps=3)
    assert [stage.name for stage in fitter.stages(first=True)] == ["latents", "decoder", "adapter", "head"]


def test_the_latents_keep_their_scale_and_the_games_change_is_measured(folder, tmp_path):
    fitter = fitter_on(folder, tmp_path)
    before = {name: buffer.clone() for name, buffer in fitter.model.autoencoder.named_buffers(recurse=False)}
    encoder = fitter.model.encoder_hash()
    for stage in fitter.stages(first=True):
        fitter.begin(stage, 0)
        if stage.steps:
            fitter.fit(stage.steps)
        fitter.finish()
    after = dict(fitter.model.autoencoder.named_buffers(recurse=False))
    assert torch.equal(after["mean"], before["mean"]) and torch.equal(after["std"], before["std"])
    assert not torch.equal(after["change"], before["change"])
    assert fitter.model.encoder_hash() == encoder
    assert fitter.model.own_networks() == ()


def test_its_autoencoder_may_learn_the_game_and_is_kept_then(folder, tmp_path):
    fitter = fitter_on(folder, tmp_path, base_autoencoder_steps=2)
    model, encoder = fitter.model, fitter.model.encoder_hash()
    stages = fitter.stages(first=True)
    assert [stage.name for stage in stages] == ["autoencoder", "adapter", "head"]
    assert [stage.name for stage in fitter.stages(first=False)] == ["adapter", "head"]
    mean = model.autoencoder.mean.clone()
    fitter.begin(stages[0], 0)
    fitter.fit(2)
    fitter.finish()
    assert model.encoder_hash() != encoder
    assert torch.equal(model.autoencoder.mean, mean)
    assert model.own_networks() == ("vae",)
    model.save_pretrained(tmp_path / "model")
    assert LatentWorldModel.from_pretrained(tmp_path / "model").encoder_hash() == model.encoder_hash()


def test_it_can_be_kept_in_half_the_memory(folder):
    model = LatentWorldModel(replace(CONFIG, base=BaseConfig(str(folder), dtype="bfloat16")), SPEC)
    assert model.own_networks() == ()
    latents = begun(model).latents
    assert latents.shape[2:] == LATENT and latents.shape[-1] == CELLS
    assert all(torch.isfinite(loss) for loss in model.losses(random_segment()).values())
