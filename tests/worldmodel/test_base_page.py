"""The code on the page about bases, as it is printed there."""

import re
from pathlib import Path

import torch
from diffusers import DPMSolverMultistepScheduler

from worldmodel.latent.bases import check_base
from worldmodel.latent.config import BaseConfig, LatentConfig

PAGE = Path(__file__).parents[2] / "docs" / "my_own_base.md"


def test_the_code_on_the_page_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make, *blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    names = {}
    exec(make, names)
    check_base(LatentConfig(base=BaseConfig("bases/tiny")))
    exec(blocks[0], names)
    assert names["model"].denoiser.get_base_model().dtype == torch.bfloat16
    assert isinstance(names["model"].scheduler, DPMSolverMultistepScheduler)
    exec(blocks[1], names)
    assert names["other"].adapted
    assert len(blocks) == 2
