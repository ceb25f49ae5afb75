import gymnasium as gym
import numpy as np
import pytest
import torch
from diamond import published_file

from experiments import import_diamond
from experiments.cli import run_main
from rl.policies import load_policy
from worldmodel.errors import UserError
from worldmodel.families import load_world_model
from worldmodel.pixel.model import PixelWorldModel

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return published_file(tmp_path_factory.mktemp("published"))


@pytest.fixture(scope="module")
def imported(file):
    folder = file.parent / "model"
    words = [str(file), "ALE/Breakout-v5", "--output", str(folder), "--steps", "24", "--starts", "3"]
    assert run_main(import_diamond.main, words) == 0
    return folder


def test_an_imported_model_is_ours(imported):
    model = load_world_model(imported)
    assert isinstance(model, PixelWorldModel)
    assert model.config.quantise == "floor"
    assert model.action_spec.names == ("NOOP", "FIRE", "RIGHT", "LEFT")
    assert load_policy(imported / "policy").spec.actions == model.action_spec


def test_neural_env_plays_it_from_its_folder_alone(imported):
    dream = gym.make("envs:NeuralEnv-v0", world_model=imported)
    seen, _ = dream.reset(seed=0)
    assert seen.shape == (64, 64, 12)
    after, reward, *_ = dream.step(1)
    assert (after[..., :9] == seen[..., 3:]).all()
    assert reward in (-1, 0, 1)


def test_neural_env_plays_the_file_itself_from_a_picture(file, imported):
    frame = np.random.default_rng(0).integers(256, size=(64, 64, 3)).astype(np.uint8)
    seen = []
    for source in (file, imported):
        dream = gym.make("envs:NeuralEnv-v0", world_model=source)
        dream.reset(seed=0, options={"frames": frame})
        after, *_ = dream.step(1)
        seen.append(after)
    assert (seen[0] == seen[1]).all() and (seen[0][..., -3:] != frame).any()
    with pytest.raises(UserError, match="no dream can begin: give `starts`"):
        gym.make("envs:NeuralEnv-v0", world_model=file).reset(seed=0)


def test_another_file_is_no_world_model(tmp_path):
    (tmp_path / "README.md").write_text("a game")
    with pytest.raises(UserError, match=r"README.md cannot be read .* such as Breakout\.pt"):
        gym.make("envs:NeuralEnv-v0", world_model=tmp_path / "README.md")


@pytest.mark.parametrize(
    ("game", "words", "told"),
    [
        ("ALE/Pong-v5", [], "4 actions, the game 6"),
        ("ALE/Brekout-v5", [], "did you mean"),
        ("ALE/Breakout-v5", ["--steps", "0"], "must be more than 0"),
        ("ALE/Breakout-v5", ["--output", "."], "is there already"),
    ],
)
def test_what_cannot_be_imported_is_told_in_a_sentence(file, tmp_path, capsys, game, words, told):
    assert run_main(import_diamond.main, [str(file), game, "--output", str(tmp_path / "out"), *words]) == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
