"""The README's code, as it is printed there, in a small world model."""

import re
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import ray
import torch
from clusters import ray_on
from miniature import MINIATURE
from playing import SPEC

from envs.neural_vector import STARTS_FILE
from worldmodel.data.starts import Starts, save_starts
from worldmodel.latent.model import LatentWorldModel

ROOT = Path(__file__).parents[1]
MODEL = "runs/cartpole-seed0/world_model/best"


@pytest.fixture
def beside_a_model(tmp_path, monkeypatch):
    """A place where the README's world model is."""
    torch.manual_seed(0)
    model, folder = LatentWorldModel(MINIATURE.model, SPEC), tmp_path / MODEL
    model.save_pretrained(folder)
    frames = np.zeros((1, model.context, *model.frame_shape), np.uint8)
    mask = np.ones((1, model.context), bool)
    nothing = np.zeros(1, np.int64)
    save_starts(
        folder / STARTS_FILE, Starts(frames, np.zeros((1, model.context - 1), np.int64), mask, nothing, nothing)
    )
    monkeypatch.chdir(tmp_path)


def test_the_code_in_the_readme_runs(beside_a_model):
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert len(blocks) == 3
    names = {}
    with nullcontext() if ray.is_initialized() else ray_on(1):
        for block in blocks:
            assert MODEL in block
            exec(block, names)
        trained = names["algorithm"].metrics.peek(("env_runners", "num_env_steps_sampled_lifetime"))
        names["algorithm"].stop()
    assert names["envs"].num_envs == 64
    assert trained >= 1024


def test_every_file_and_link_that_the_documents_name_is_there():
    for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        text = page.read_text()
        links = re.findall(r"\]\(([^)#]+)", text)
        scripts = re.findall(r"(?<=python )(\S+\.py)", text)
        assert all((page.parent / link).exists() for link in links), page
        assert all((ROOT / script).exists() for script in scripts), page
