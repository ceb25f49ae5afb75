import json
import shutil

import pytest
import torch
from damage import check_refusals
from tiny_pixel import CONFIG, dreamed, tiny_pixel

from worldmodel.errors import UserError
from worldmodel.families import load_world_model
from worldmodel.pixel.model import PixelWorldModel

FILES = ("config.json", "model.safetensors")


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stored")
    tiny_pixel().save_pretrained(folder)
    return folder


def test_a_loaded_model_dreams_the_same_dream(stored):
    model, loaded = tiny_pixel(), load_world_model(stored)
    assert isinstance(loaded, PixelWorldModel)
    assert not loaded.training
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(dreamed(loaded), dreamed(model), strict=True))
    assert (loaded.config, loaded.action_spec) == (CONFIG, model.action_spec)


def test_a_folder_holds_json_and_safetensors_alone(stored):
    assert {path.name for path in stored.iterdir()} == set(FILES)


@pytest.fixture
def folder(stored, tmp_path):
    """A copy of it to spoil."""
    return shutil.copytree(stored, tmp_path / "model")


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_told(folder, name):
    (folder / name).unlink()
    for load in (PixelWorldModel.from_pretrained, load_world_model):
        with pytest.raises(UserError, match=str(folder)):
            load(folder)


@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_is_refused_in_a_sentence_or_harms_nothing(folder, name):
    check_refusals(folder, name)


def test_another_format_is_told(folder):
    card = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(card | {"format": 99}))
    with pytest.raises(UserError, match="format"):
        load_world_model(folder)


def test_an_unknown_family_is_told(tmp_path):
    (tmp_path / "config.json").write_text('{"family": "tokens"}')
    with pytest.raises(UserError, match="latent, pixel"):
        load_world_model(tmp_path)
