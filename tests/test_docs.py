"""What the documents promise: names, commands, links, and code that runs as it is printed."""

import re
import runpy
import shlex
import sys
from contextlib import nullcontext
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import ray
import torch
import tyro
from clusters import ray_on
from diamond import published_file
from miniature import MINIATURE
from pixel_dreams import world_model
from playing import SPEC, counted

from envs.neural_vector import STARTS_FILE
from rl import PolicySnapshot, PolicySpec, save_policy
from rl.buffer import BufferWriter
from worldmodel.data.starts import Starts, save_starts
from worldmodel.latent.model import LatentWorldModel

ROOT = Path(__file__).parents[1]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
COMMAND = re.compile(r"^ +(?:\.venv/bin/)?python (experiments/\w+\.py)(.*?(?<!\\))$", re.MULTILINE | re.DOTALL)
PLACEHOLDERS = {"SEED": "0", "$seed": "0"}


def name_of(page):
    return str(page.relative_to(ROOT))


def commands():
    """Every command of the pages that runs a script: page, script, arguments."""
    found = [(page, *match) for page in PAGES for match in COMMAND.findall(page.read_text())]
    return [pytest.param(script, words, id=f"{page.stem}: {script}{words}") for page, script, words in found]


class Understood(BaseException):
    """The options were read; nothing is to be run."""


@pytest.mark.parametrize(("script", "words"), commands())
def test_a_command_has_options_that_its_script_takes(monkeypatch, script, words):
    parse = tyro.cli

    def stop_after_parsing(*args, **settings):
        options = parse(*args, **settings)
        if settings.get("return_unknown_args"):
            return options
        raise Understood

    monkeypatch.setattr(tyro, "cli", stop_after_parsing)
    arguments = [PLACEHOLDERS.get(word, word) for word in shlex.split(words.replace("\\\n", " "), comments=True)]
    monkeypatch.setattr(sys, "argv", [script, *arguments])
    with pytest.raises(Understood):
        runpy.run_path(str(ROOT / script), run_name="__main__")


def test_there_are_commands_to_look_at():
    assert len(commands()) > 15


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_and_files_are_there(page):
    text = page.read_text()
    for link, anchor in re.findall(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", text):
        target = page.parent / link if link else page
        assert target.exists(), link
        assert not anchor or anchor in headings(target), f"{link}#{anchor}"
    for script in re.findall(r"(?<=python )(\S+\.py)", text):
        assert (ROOT / script).exists(), script


def headings(page):
    """The names by which a page's headings are linked to."""
    titles = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles}


def test_every_page_is_linked_to_from_the_readme():
    text = (ROOT / "README.md").read_text()
    assert not [page.name for page in PAGES[1:] if f"(docs/{page.name})" not in text]


@pytest.mark.parametrize("room", ["worldmodel", "envs", "rl"])
def test_every_public_name_is_explained(room):
    text = "".join(page.read_text() for page in PAGES)
    names = import_module(room).__all__
    assert "`tune.sweep.sweep`" in text
    assert not [name for name in names if not re.search(rf"\b{name}\b", text)]


@pytest.mark.parametrize("room", ["worldmodel", "envs", "rl", "tune", "experiments"])
def test_every_room_says_what_is_meant_to_be_used(room):
    names = {}
    exec(f"from {room} import *", names)
    assert set(import_module(room).__all__) <= names.keys()
    assert f"\n## `{room}`: " in (ROOT / "docs" / "python.md").read_text()


@pytest.mark.parametrize("room", ["worldmodel", "envs", "rl"])
def test_every_public_name_is_there(room):
    module = import_module(room)
    assert all(getattr(module, name).__name__ == name for name in module.__all__)


def blocks(page):
    """The Python code of a page, without what only the reader's patience would need."""
    found = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)
    return [re.sub(r"(total_timesteps|n_steps)=[\d_]+", r"\1=64", block) for block in found]


@pytest.fixture
def beside_a_run(tmp_path, monkeypatch):
    """A place where lies what the pages assume: world models and policies of finished runs, very small ones."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    torch.manual_seed(0)
    model = LatentWorldModel(replace(MINIATURE.model, frame_size=64), SPEC)
    for run in ("cartpole-seed0", "catch"):
        for kind in ("latest", "best"):
            save_playable(model, tmp_path / "runs" / run / "world_model" / kind)
    seen = PolicySpec("latents", model.observation_shape("latents"), 4, SPEC, encoder_hash=model.encoder_hash())
    weights = {name: np.asarray(weight) for name, weight in seen.build().get_state().items()}
    save_policy(tmp_path / "runs" / "catch" / "rounds" / "002" / "policy", PolicySnapshot(seen, weights, 2, 2))
    return tmp_path


def save_playable(model, folder):
    """A world model with a start beside it."""
    model.save_pretrained(folder)
    frames = np.zeros((1, model.context, *model.frame_shape), np.uint8)
    mask = np.ones((1, model.context), bool)
    save_starts(folder / STARTS_FILE, Starts.of(frames, np.zeros((1, model.context - 1), np.int64), mask))


def test_the_code_in_the_readme_runs(beside_a_run):
    names = {}
    with nullcontext() if ray.is_initialized() else ray_on(1):
        for block in blocks("README.md"):
            exec(block, names)
        trained = names["algorithm"].metrics.peek(("env_runners", "num_env_steps_sampled_lifetime"))
        names["algorithm"].stop()
    assert names["envs"].num_envs == 64
    assert trained >= 1024


def test_the_code_for_ones_own_game_runs(beside_a_run):
    game, film = blocks("docs/my_own_game.md")
    (beside_a_run / "my_game.py").write_text(game)
    exec(film, {})
    assert list((beside_a_run / "films").glob("*.mp4"))

    from envs import make_real

    games = make_real("my_game:Catch-v0", 2, kwargs={"width": 6})
    games.reset(seed=0)
    told = [games.step(np.array([1, 1]))[1:3] for _ in range(160)]
    assert {reward for rewards, _ in told for reward in rewards.tolist()} == {-1.0, 0.0, 1.0}
    assert sum(terminated.sum() for _, terminated in told) == 20


def test_the_code_for_ones_own_policy_runs(beside_a_run):
    names = {}
    with nullcontext() if ray.is_initialized() else ray_on(1):
        for block in blocks("docs/my_own_policy.md"):
            exec(block, names)
    assert names["model"].num_timesteps == 64
    assert (beside_a_run / "experts" / "mine" / "policy.json").exists()


def test_the_code_for_pixels_runs(beside_a_run):
    world_model(beside_a_run / "models" / "diamond-breakout")
    episodes = [replace(counted(tag, end=8), frames=np.zeros((9, 64, 64, 3), np.uint8)) for tag in range(2)]
    BufferWriter(beside_a_run / "runs" / "cartpole-seed0" / "buffer", (64, 64, 3), SPEC, 1000).append(episodes)
    published_file(beside_a_run)
    dream, file, fit = blocks("docs/pixel.md")
    exec(dream, {})
    exec(file, {"gym": gym, "frame": np.zeros((64, 64, 3), np.uint8)})
    exec(fit.replace("first_steps=2000, batch_size=32", "first_steps=1, batch_size=1").replace("=15", "=2"), {})
    assert (beside_a_run / "models" / "cartpole-pixels" / "config.json").exists()
