import copy
import time

import pytest
import torch
from torch import nn
from torch._dynamo.exc import TorchDynamoException

from worldmodel import fastest as module
from worldmodel.fastest import Compiled, fastest

TIMES = 100_000


class Network(nn.Module):
    """A convolution that takes a while, unless it is compiled."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, pictures):
        return self.conv(pictures)


class Stand(Compiled):
    """In the place of a compiled network: fast, slow or broken."""

    seconds = 0.0
    error = None

    def __call__(self, *arguments):
        if self.error:
            raise self.error
        time.sleep(self.seconds)
        return self.network(*arguments)


def work(networks):
    (network,) = networks
    if isinstance(network, nn.Module):
        time.sleep(0.02)
    return network(torch.ones(2, 4, 8, 8))


@pytest.fixture
def stand(monkeypatch):
    monkeypatch.setattr(module, "Compiled", Stand)
    monkeypatch.setattr(Stand, "seconds", 0.0)
    monkeypatch.setattr(Stand, "error", None)
    return Stand


def lies_as_before(network):
    return network.conv.weight.is_contiguous()


def test_the_faster_way_is_taken(stand):
    network = Network()
    (way,) = fastest([network], work, TIMES)
    assert isinstance(way, Stand)
    assert network.conv.weight.is_contiguous(memory_format=torch.channels_last)


def test_a_way_that_is_not_faster_is_not(stand):
    stand.seconds = 0.02
    network = Network()
    assert fastest([network], work, TIMES) == [network]
    assert lies_as_before(network)


def test_for_little_work_nothing_is_compiled(stand):
    stand.error = AssertionError("tried")
    network = Network()
    assert fastest([network], work, 100) == [network]


def test_where_nothing_can_be_compiled_it_is_said_and_the_work_goes_on(stand):
    stand.error = TorchDynamoException("no compiler found")
    network = Network()
    with pytest.warns(UserWarning, match="no compiler found"):
        assert fastest([network], work, TIMES) == [network]
    assert lies_as_before(network)


def test_a_compiled_network_says_nearly_the_same_and_learns_nearly_the_same():
    torch.manual_seed(0)
    network, pictures = Network(), torch.randn(2, 4, 8, 8)
    expected = network(pictures)
    (plain,) = torch.autograd.grad(expected.square().sum(), network.conv.weight)
    compiled = Compiled(network)
    said = compiled(pictures)
    (gradient,) = torch.autograd.grad(said.float().square().sum(), network.conv.weight)
    torch.testing.assert_close(said.float(), expected, atol=0.03, rtol=0.02)
    torch.testing.assert_close(gradient, plain, atol=0.02 * plain.abs().max().item(), rtol=0.05)
    assert torch.equal(copy.deepcopy(compiled)(pictures), said)
    compiled.release()
    assert lies_as_before(network)
