import errno
import json
import subprocess
import sys
from pathlib import Path

import pytest
from bases import write_base

from experiments.cli import parse_options, run_main
from experiments.presets import atari, cartpole, smoke
from rl.settings import Settings
from worldmodel.errors import UserError
from worldmodel.plain import to_plain

SCRIPT = Path(__file__).parents[2] / "experiments" / "dyna.py"


def test_no_option_gives_the_default_preset():
    assert parse_options([]).settings == cartpole()


def test_options_go_over_the_config_which_goes_over_the_preset(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text("rounds = 9\n[fit]\nsteps = 7\nbatch-size = 5\n")
    options = parse_options(["--preset", "atari", "--config", str(file), "--fit.steps", "8"])
    assert options.fit.steps == 8
    assert options.fit.batch_size == 5
    assert options.rounds == 9
    assert options.game == atari().game


def test_a_runs_own_config_is_a_config(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(to_plain(atari())))
    assert parse_options(["--config", str(tmp_path / "config.json")]).settings == atari()


def test_smoke_cuts_the_config_and_yields_to_options(tmp_path):
    file = tmp_path / "mine.json"
    file.write_text('{"evaluate": {"episodes": 2}, "fit": {"first_steps": 50000}}')
    options = parse_options(["--config", str(file), "--smoke", "--rounds", "1"])
    assert options.rounds == 1
    assert options.evaluate.episodes == 2
    assert options.fit.first_steps == smoke(Settings()).fit.first_steps < 50_000


def test_a_misspelt_setting_in_a_config_is_refused_with_the_nearest(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text("[imagine]\nhorizn = 7\n")
    with pytest.raises(UserError, match=r"mine\.toml: 'imagine\.horizn' .*did you mean 'horizon'\?"):
        parse_options(["--config", str(file)])


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("mine.yaml", "", r"must end in \.toml or \.json"),
        ("mine.toml", "rounds = ", "is not valid TOML"),
        ("mine.json", "{", "is not valid JSON"),
        ("mine.json", "[]", "must be a table"),
    ],
)
def test_an_unreadable_config_is_refused(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=message):
        parse_options(["--config", str(tmp_path / name)])


def test_a_config_that_is_not_there_is_refused():
    with pytest.raises(UserError, match="cannot be read"):
        parse_options(["--config", "/nowhere/mine.toml"])


@pytest.mark.parametrize(
    ("arguments", "nearest"),
    [(["--fit.stepz", "3"], "--fit.steps"), (["--roundz", "3"], "--rounds"), (["--run-dir", "x"], "--runs-dir")],
)
def test_a_misspelt_option_is_met_with_the_nearest(capsys, arguments, nearest):
    with pytest.raises(SystemExit) as exit_info:
        parse_options(arguments)
    assert exit_info.value.code == 2
    assert nearest in "".join(capsys.readouterr())


def test_a_bad_value_is_refused_before_anything_starts():
    with pytest.raises(UserError, match=r"imagine\.minibatch"):
        parse_options(["--imagine.minibatch", "100000"])


def test_names_tell_runs_apart():
    names = {
        parse_options(arguments).run_path.name
        for arguments in ([], ["--seed", "1"], ["--smoke"], ["--preset", "atari"], ["--imagine.dream", "real"],
                          ["--base", "none"],
                          ["--preset", "atari", "--game.id", "ALE/Breakout-v5"], ["--game.id", "mine:Game-v0"])
    }  # fmt: skip
    assert len(names) == 8
    assert {"cartpole-seed0", "breakout-v5-seed0"} <= names
    assert parse_options(["--name", "mine", "--runs-dir", "/tmp/r"]).run_path == Path("/tmp/r/mine")


def test_paths_are_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "expert").mkdir()
    settings = parse_options(["--collect.expert-policy", "expert", "--imagine.policy", "expert"]).settings
    assert settings.collect.expert_policy == tmp_path / "expert"
    assert settings.imagine.policy == tmp_path / "expert"


def test_ray_address_is_the_clusters():
    assert parse_options(["--ray-address", "auto"]).settings.cluster.address == "auto"
    assert parse_options(["--cluster.address", "10.0.0.1:6379"]).settings.cluster.address == "10.0.0.1:6379"


def test_a_base_is_a_folder_or_a_hub_id(tmp_path, monkeypatch):
    write_base(tmp_path / "SD")
    monkeypatch.chdir(tmp_path)
    options = parse_options(["--base", "SD"])
    assert options.settings.model.base.name == str(tmp_path / "SD")
    assert options.run_path.name == "cartpole-sd-seed0"
    assert parse_options(["--model.base.name", "./SD"]).settings.model.base.name == str(tmp_path / "SD")
    assert parse_options(["--base", "somebody/model"]).settings.model.base.name == "somebody/model"
    assert parse_options([]).settings.model.base.name == "small"
    without = parse_options(["--base", "none"])
    assert (without.settings.model.base.name, without.run_path.name) == (None, "cartpole-none-seed0")


def test_another_family_leaves_the_presets_base_aside():
    options = parse_options(["--family", "pixel"])
    assert (options.settings.model.base.name, options.run_path.name) == (None, "cartpole-pixel-seed0")
    with pytest.raises(UserError, match="leave out one of the two"):
        parse_options(["--family", "pixel", "--base", "small"])


def test_what_is_no_base_is_refused_before_anything_starts(tmp_path):
    with pytest.raises(UserError, match="no folder"):
        parse_options(["--base", str(tmp_path / "nowhere")])
    with pytest.raises(UserError, match="no unet/"):
        parse_options(["--base", str(tmp_path)])


def test_guidance_that_is_not_trained_for_is_refused():
    with pytest.raises(UserError, match="context-dropout"):
        parse_options(["--model.guidance", "1.5"])
    assert parse_options(["--model.guidance", "1.5", "--model.context-dropout", "0.1"]).settings.model.guidance == 1.5


def test_env_is_the_games_id():
    assert parse_options(["--env", "mine:Game-v0"]).settings.game.id == "mine:Game-v0"
    assert parse_options(["--env", "mine:Game-v0"]).run_path.name == "mine-game-v0-seed0"


def test_keywords_of_the_game():
    options = parse_options(["--game.kwargs", "size=9", "wind=true", "name=hello", "--rounds", "1"])
    assert options.game.kwargs == {"size": 9, "wind": True, "name": "hello"}
    assert options.rounds == 1


def test_keywords_in_a_config(tmp_path):
    (tmp_path / "mine.toml").write_text("[game.kwargs]\nsize = 9\n[model]\nframe_size = [96, 64]\n")
    settings = parse_options(["--config", str(tmp_path / "mine.toml"), "--base", "none"]).settings
    assert (settings.game.kwargs, settings.model.frame_size) == ({"size": 9}, (96, 64))


def test_a_keyword_without_a_value_is_refused(capsys):
    with pytest.raises(SystemExit):
        parse_options(["--game.kwargs", "size"])
    assert "NAME=VALUE" in "".join(capsys.readouterr())


def test_a_frame_is_as_high_and_as_wide_as_one_says():
    of_any_size = ["--base", "none", "--model.frame-size"]
    assert parse_options([*of_any_size, "96"]).model.frame_shape == (96, 96, 3)
    assert parse_options([*of_any_size, "96", "64"]).model.frame_shape == (96, 64, 3)
    with pytest.raises(UserError, match=r"base small was trained with 64 x 64: .*--base none"):
        parse_options(["--model.frame-size", "96"])
    with pytest.raises(UserError, match=r"210 x 160 pixels.* multiples of 8: the nearest is 208 160"):
        parse_options([*of_any_size, "210", "160"])


@pytest.mark.parametrize(("option", "value"), [("sticky", "1.5"), ("frame-skip", "0"), ("noop-max", "-1")])
def test_an_atari_option_out_of_range_is_refused(option, value):
    with pytest.raises(UserError, match=f"game.atari.{option.replace('-', '_')} must"):
        parse_options([f"--game.atari.{option}", value])


def test_a_user_error_is_one_sentence_and_status_2(capsys):
    def fails(arguments):
        raise UserError(f"Mend {arguments[0]}.")

    assert run_main(fails, ["[this]"]) == 2
    assert capsys.readouterr().err == "error: Mend [this].\n"


def test_an_error_from_an_actor_is_shown_without_its_traceback(capsys):
    class WrappedError(UserError):
        cause = UserError("Mend this.")

    def fails(arguments):
        raise WrappedError("Traceback: many lines")

    run_main(fails, [])
    assert capsys.readouterr().err == "error: Mend this.\n"


def run_script(*arguments: str) -> subprocess.CompletedProcess[str]:
    root = str(SCRIPT.parents[1])
    return subprocess.run(
        [sys.executable, str(SCRIPT), *arguments],
        capture_output=True, text=True, timeout=60, check=False, env={"PYTHONPATH": root, "PATH": "/usr/bin:/bin"},
    )  # fmt: skip


def test_the_script_shows_its_help():
    done = run_script("--preset", "atari", "--help")
    assert done.returncode == 0
    for shown in ("--smoke", "--config FILE", "--runs-dir FOLDER", "--fit.steps INT", "ALE/Pong-v5"):
        assert shown in done.stdout


def test_the_script_shows_an_error_as_one_sentence():
    done = run_script("--rounds", "0")
    assert done.returncode == 2
    assert done.stderr == "error: rounds must be more than 0, not 0.\n"
    assert done.stdout == ""


def test_a_full_disk_is_a_sentence_wherever_it_strikes(capsys):
    def fails(arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    assert run_main(fails, []) == 2
    assert capsys.readouterr().err.startswith("error: a disk is full")
    with pytest.raises(FileNotFoundError):
        run_main(lambda arguments: Path("/nowhere").read_text(), [])
