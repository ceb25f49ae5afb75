import pytest
from PIL import Image
from pixel_dreams import LATENTS, RECURRENT, policy, world_model

from experiments import play
from experiments.cli import run_main
from rl.policies import save_policy


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return world_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(params=[RECURRENT, LATENTS], ids=["recurrent", "latents"])
def player(request, tmp_path):
    save_policy(tmp_path / "policy", policy(request.param))
    return str(tmp_path / "policy")


def test_a_policy_plays_in_the_dream_and_in_the_real_game(player, model, tmp_path, capsys):
    film = tmp_path / "dream.gif"
    words = ["--world-model", str(model), "--game.id", "counting:Counting-v0", "--games", "2", "--horizon", "3"]
    assert run_main(play.main, [player, *words, "--film", str(film)]) == 0
    dreamt, real = capsys.readouterr().out.splitlines()
    assert dreamt.startswith("dreamt: return ") and "in 2 games" in dreamt and "of the dreams ended" in dreamt
    assert real.startswith("real:   return ") and "in 2 games" in real
    assert 1 <= Image.open(film).n_frames <= 4


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "--world-model, --game.id, or both"),
        (["--game.id", "counting:Counting-v0", "--film", "a.gif"], "--film shows a dream"),
        (["--game.id", "counting:Counting-v0", "--games", "0"], "must be more than 0"),
        (["--world-model", "nowhere"], "nowhere holds no world model"),
        (["--game.id", "CartPole-v1"], "2 actions"),
    ],
)
def test_what_cannot_be_played_is_told_in_a_sentence(tmp_path, capsys, words, told):
    save_policy(tmp_path / "policy", policy(RECURRENT))
    assert run_main(play.main, [str(tmp_path / "policy"), *words]) == 2
    assert told in capsys.readouterr().err


def test_a_folder_without_a_policy_is_told(tmp_path, capsys):
    assert run_main(play.main, [str(tmp_path), "--game.id", "counting:Counting-v0"]) == 2
    assert "holds no policy" in capsys.readouterr().err
