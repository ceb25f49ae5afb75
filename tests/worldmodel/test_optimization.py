import sys

import pytest
import torch
from torch import nn

from worldmodel.errors import UserError
from worldmodel.fitting import FitConfig, check_optimizer
from worldmodel.optimization import Optimization
from worldmodel.optimizers import build_optimizer

OPTIMIZERS = ["adamw", "adafactor", "adamw8bit"]


def distance(optimizer, steps=1, rate=0.01, start=0.0):
    """How far every one of 8192 numbers goes under a steady gradient."""
    parameter = nn.Parameter(torch.full((64, 128), start))
    chosen = build_optimizer(optimizer, [parameter], rate, weight_decay=0.0)
    for _ in range(steps):
        parameter.grad = torch.full_like(parameter, 3.0)
        chosen.step()
    return (start - parameter.detach()).abs().mean().item()


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_the_rate_means_the_same_to_every_optimiser(optimizer):
    assert distance(optimizer) == pytest.approx(0.01, rel=0.02)
    assert distance(optimizer, steps=5) == pytest.approx(0.05, rel=0.05)
    assert distance(optimizer, start=0.5) == pytest.approx(0.01, rel=0.02)


def state_bytes(optimizer):
    parameter = nn.Parameter(torch.zeros(256, 256))
    chosen = build_optimizer(optimizer, [parameter], 0.01, weight_decay=0.0)
    parameter.grad = torch.ones_like(parameter)
    chosen.step()
    tensors = [tensor for tensor in chosen.state[parameter].values() if isinstance(tensor, torch.Tensor)]
    return sum(tensor.nbytes for tensor in tensors) / parameter.nbytes


def test_some_keep_less_beside_the_weights():
    assert state_bytes("adamw") == pytest.approx(2, abs=0.05)
    assert state_bytes("adamw8bit") == pytest.approx(0.5, abs=0.05)
    assert state_bytes("adafactor") < 0.02


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_it_arrives(optimizer, precision):
    parameter = nn.Parameter(torch.full((4, 4), 5.0))
    optimization = Optimization(
        [parameter], 0.5, 40, FitConfig(optimizer=optimizer, precision=precision), torch.device("cpu")
    )
    for _ in range(40):
        optimization.zero_grad()
        optimization.backward(parameter.square().mean())
        optimization.clip_grad_norm()
        optimization.step()
    assert parameter.abs().max() < 1


def test_gradients_add_up_and_are_clipped():
    parameter = nn.Parameter(torch.zeros(4))
    optimization = Optimization([parameter], 0.1, 5, FitConfig(max_grad_norm=1.0), torch.device("cpu"))
    for scale in (1.0, 2.0):
        optimization.backward(scale * parameter.sum())
    assert optimization.clip_grad_norm() == pytest.approx(6)
    assert parameter.grad.norm() == pytest.approx(1, rel=1e-4)
    optimization.zero_grad()
    assert parameter.grad is None


def test_a_step_that_overflows_in_float16_is_left_out():
    parameter = nn.Parameter(torch.ones(4))
    optimization = Optimization([parameter], 0.1, 5, FitConfig(precision="fp16"), torch.device("cpu"))
    optimization.backward((parameter * torch.inf).sum())
    assert optimization.clip_grad_norm() == 0
    optimization.step()
    assert torch.equal(parameter, torch.ones(4))


def test_there_may_be_nothing_to_train():
    optimization = Optimization([], 0.1, 0, FitConfig(), torch.device("cpu"))
    optimization.copy_ema()


def test_an_optimiser_that_is_not_installed_names_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    monkeypatch.setattr("worldmodel.fitting.find_spec", lambda _: None)
    with pytest.raises(UserError, match=r'pip install -e "\.\[8bit\]"'):
        check_optimizer("adamw8bit")
    check_optimizer("adafactor")
