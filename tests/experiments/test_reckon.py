import json

import pytest
import torch
from torch import nn

from experiments import reckon
from experiments.cli import run_main
from experiments.layouts import LAYOUTS
from experiments.peak_memory import PeakMemory
from experiments.reckon import WAYS, ReckonSettings, activation_bytes, main, optimizer_bytes
from worldmodel.optimizers import build_optimizer

SETTINGS = ReckonSettings(batch_size=1)
PUBLISHED = {"sd1.5": 859_520_964, "sd2.1": 865_910_724}
"""Numbers in the U-Net, as its weights on the hub have them."""


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_layouts_have_the_published_size(name):
    with torch.device("meta"):
        base = LAYOUTS[name].build()
    assert sum(parameter.numel() for parameter in base.unet.parameters()) == PUBLISHED[name]
    assert sum(parameter.numel() for parameter in base.vae.parameters()) == 83_653_863


def test_peak_memory_counts_what_is_there_at_a_time():
    there = torch.zeros(100)
    with PeakMemory([there]) as memory:
        first = torch.zeros(1000) + 1  # two at a time
        assert memory.live == first.nbytes
        view = first.view(10, 100)[2:]
        assert memory.live == first.nbytes
        del first, view
        assert memory.live == 0
        there.view(10, 10)
        torch.zeros(500)
    assert memory.live == 0
    assert memory.peak == 8000


def test_peak_memory_counts_what_a_backward_pass_keeps():
    layers = nn.Sequential(*(nn.Sequential(nn.Linear(64, 64), nn.Sigmoid()) for _ in range(6))).to("meta")
    inputs = torch.zeros(256, 64, device="meta")
    with PeakMemory([*layers.parameters(), inputs]) as memory:
        kept = layers(inputs)
        assert memory.live == 6 * inputs.nbytes
        kept.sum().backward()
        del kept
    assert memory.live == sum(parameter.nbytes for parameter in layers.parameters())


@pytest.mark.parametrize("optimizer", ["adamw", "adafactor", "adamw8bit"])
@pytest.mark.parametrize("shape", [(96, 80), (40, 30, 3, 3), (64,), (5000,)])
def test_optimisers_keep_what_is_reckoned(optimizer, shape):
    parameter = nn.Parameter(torch.zeros(shape))
    chosen = build_optimizer(optimizer, [parameter], 0.01, 0.0)
    parameter.grad = torch.ones(shape)
    chosen.step()
    kept = {name: value for name, value in chosen.state[parameter].items() if isinstance(value, torch.Tensor)}
    shared = ("step", "qmap1", "qmap2")  # one number, and tables that all parameters share
    assert optimizer_bytes(optimizer, shape) == sum(value.nbytes for name, value in kept.items() if name not in shared)


def test_checkpointing_keeps_far_less():
    kept, recomputed = (activation_bytes(way, SETTINGS) for way in WAYS[:2])
    assert recomputed < kept / 3


def test_the_table_and_the_record_hold_every_way(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(reckon, "WAYS", WAYS[2:4])
    assert main(["--batch-size", "1", "--record", str(tmp_path / "record.json")]) == 0
    assert "LoRA, checkpointing" in capsys.readouterr().out
    lora, full = json.loads((tmp_path / "record.json").read_text())["bytes"]
    assert lora["frozen"] > PUBLISHED["sd2.1"] > 10 * lora["trained"]
    assert full["trained"] > PUBLISHED["sd2.1"]
    assert full["gradients"] == full["average"] == full["optimizer"] / 2 == 4 * full["trained"]
    for way in (lora, full):
        parts = ("weights", "average", "optimizer", "gradients", "activations")
        assert way["total"] == sum(way[part] for part in parts)
    assert lora["weights"] < 2.2e9 < full["weights"]


def test_a_row_that_there_is_not_is_refused(capsys):
    assert run_main(main, ["--measure", "9"]) == 2
    assert "1 to 6" in capsys.readouterr().err
