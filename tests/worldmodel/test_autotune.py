import copy
import time

import pytest
import torch
from torch import nn
from torch._dynamo.exc import TorchDynamoException

from worldmodel import autotune as module
from worldmodel.autotune import Bfloat16, ChannelsLast, Chunked, Compiled, autotune, autotune_chunks, autotune_training

TRIED, COMPILED = 2000, 100_000
"""how often work of 20 ms has to be done for faster ways to be tried, and compiled ones too"""


class Network(nn.Module):
    """A convolution."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, pictures):
        return self.conv(pictures)


class Stand:
    """In the place of a faster way: as fast as is said, or broken."""

    seconds = 0.0
    error = None

    def __call__(self, *arguments):
        if self.error:
            raise self.error
        time.sleep(self.seconds)
        return self.network(*arguments)


class StandLowered(Stand, Bfloat16):
    pass


class StandCompiled(Stand, Compiled):
    pass


PICTURES = torch.ones(2, 4, 8, 8)


def work(networks, pictures=PICTURES):
    (network,) = networks
    if isinstance(network, nn.Module):
        time.sleep(0.02)
    return network(pictures)


class StandLast(Stand, ChannelsLast):
    pass


@pytest.fixture
def bf16(monkeypatch):
    """A machine that is built for bfloat16."""
    monkeypatch.setattr(module, "computes_bf16", lambda device: True)


@pytest.fixture
def stand_ins(monkeypatch, bf16):
    for name, way, seconds in ("Bfloat16", StandLowered, 0.01), ("Compiled", StandCompiled, 0.0):
        monkeypatch.setattr(module, name, way)
        monkeypatch.setattr(way, "seconds", seconds)
        monkeypatch.setattr(way, "error", None, raising=False)


@pytest.fixture
def without_bf16(monkeypatch, stand_ins):
    """A machine that is not."""
    monkeypatch.setattr(module, "computes_bf16", lambda device: False)
    monkeypatch.setattr(module, "ChannelsLast", StandLast)
    monkeypatch.setattr(StandLast, "seconds", 0.01)
    monkeypatch.setattr(StandLowered, "error", AssertionError("bfloat16 was tried"))


def lies_as_before(network):
    return network.conv.weight.is_contiguous()


@pytest.mark.usefixtures("stand_ins")
@pytest.mark.parametrize(
    ("lowered", "compiled", "taken"),
    [(0.01, 0.0, StandCompiled), (0.0, 0.01, StandLowered), (0.03, 0.01, StandCompiled), (0.02, 0.02, Network)],
)
def test_the_fastest_way_is_taken(monkeypatch, lowered, compiled, taken):
    monkeypatch.setattr(StandLowered, "seconds", lowered)
    monkeypatch.setattr(StandCompiled, "seconds", compiled)
    network = Network()
    (way,) = autotune([network], work, COMPILED)
    assert type(way) is taken
    assert lies_as_before(network) is (taken is Network)


@pytest.mark.usefixtures("without_bf16")
@pytest.mark.parametrize(
    ("times", "last", "taken"),
    [(TRIED, 0.01, StandLast), (COMPILED, 0.01, StandCompiled), (TRIED, 0.03, Network), (100, 0.0, Network)],
)
def test_without_instructions_for_bfloat16_the_ways_of_float32_are_tried(monkeypatch, times, last, taken):
    """One try in bfloat16 takes minutes there."""
    monkeypatch.setattr(StandLast, "seconds", last)
    network = Network()
    (way,) = autotune([network], work, times)
    assert type(way) is taken
    assert lies_as_before(network) is (taken is Network)


@pytest.mark.usefixtures("without_bf16")
def test_what_is_taken_stays_laid_out_when_another_way_is_let_go(monkeypatch):
    monkeypatch.setattr(StandLast, "seconds", 0.0)
    monkeypatch.setattr(StandCompiled, "seconds", 0.03)
    network = Network()
    (way,) = autotune([network], work, COMPILED)
    assert type(way) is StandLast and not lies_as_before(network)


@pytest.mark.usefixtures("stand_ins")
def test_for_a_little_work_nothing_is_compiled_and_for_less_nothing_tried(monkeypatch):
    monkeypatch.setattr(StandCompiled, "error", AssertionError("tried"))
    network = Network()
    (way,) = autotune([network], work, TRIED)
    assert isinstance(way, StandLowered)
    monkeypatch.setattr(StandLowered, "error", AssertionError("tried"))
    assert autotune([network], work, 100) == [network]


@pytest.mark.usefixtures("stand_ins")
def test_where_nothing_can_be_compiled_it_is_said_and_the_work_goes_on(monkeypatch):
    monkeypatch.setattr(StandCompiled, "error", TorchDynamoException("no compiler found"))
    network = Network()
    with pytest.warns(UserWarning, match="no compiler found"):
        (way,) = autotune([network], work, COMPILED)
    assert isinstance(way, StandLowered)
    assert not lies_as_before(network)


@pytest.mark.usefixtures("stand_ins")
def test_a_way_that_cannot_be_launched_is_not_taken(monkeypatch):
    monkeypatch.setattr(StandCompiled, "error", RuntimeError("Triton Error [CUDA]: invalid argument"))
    with pytest.warns(UserWarning, match="a faster way failed, .* Triton Error"):
        (way,) = autotune([Network()], work, COMPILED)
    assert isinstance(way, StandLowered)


@pytest.mark.usefixtures("stand_ins")
def test_a_way_that_takes_more_memory_than_there_is_is_not_taken(monkeypatch):
    for way in (StandLowered, StandCompiled):
        monkeypatch.setattr(way, "error", torch.OutOfMemoryError("CUDA out of memory"))
    network = Network()
    assert autotune([network], work, COMPILED) == [network]
    assert lies_as_before(network)


@pytest.mark.usefixtures("stand_ins")
def test_to_learn_ways_are_tried_once_on_a_batch_that_counts_for_nothing():
    network, asked = Network(), []

    def losses(way, batch):
        asked.append((way, batch))
        yield {"error": work([way], batch).float().square().mean()}

    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    taken = autotune_training(network, None, lambda: torch.randn_like(PICTURES), losses, TRIED)
    assert torch.equal(torch.rand(3), expected)
    assert isinstance(taken, StandLowered)
    assert {type(way) for way, _ in asked} == {Network, StandLowered}
    assert all(batch is asked[0][1] for _, batch in asked)
    assert network.conv.weight.grad.any(), "an update is tried whole"
    assert autotune_training(network, taken, None, None, TRIED) is taken
    assert autotune_training(Network(), taken, lambda: torch.randn_like(PICTURES), losses, TRIED) is not taken


def asked_for(pictures, seconds, times):
    """Which ways are taken for a batch of pictures, of `seconds` by the pictures that are asked for at a time."""
    asked = []

    def slow(part):
        asked.append(len(part))
        time.sleep(seconds(len(part)))
        return part

    def work(ways):
        ways[0](pictures)

    ways = autotune_chunks([slow, "another"], len(pictures), work, times)
    asked.clear()
    ways[0](pictures)
    assert ways[1] == "another"
    return asked


@pytest.mark.parametrize(
    ("batch", "seconds", "taken"),
    [
        (64, lambda n: 1e-5 * n**2, [16, 16, 16, 16]),
        (48, lambda n: 1e-5 * n**2, [24, 24]),
        (64, lambda n: 1e-4 * n if n <= 32 else 3e-4 * n, [32, 32]),
        (64, lambda n: 1e-4 * n, [64]),
        (31, lambda n: 1e-5 * n**2, [31]),
    ],
)
def test_a_batch_is_taken_in_parts_as_long_as_that_is_faster(batch, seconds, taken):
    assert asked_for(torch.ones(batch, 4, 8, 8), seconds, COMPILED) == taken


def test_for_a_little_work_no_parts_are_tried():
    assert asked_for(torch.ones(64, 4, 8, 8), lambda n: 1e-5 * n**2, TRIED) == [64]


def test_in_parts_a_network_says_the_same():
    network, pictures = Network(), torch.randn(7, 4, 8, 8)
    torch.testing.assert_close(Chunked(network, 3)(pictures), network(pictures))


def learned_plainly():
    """A network, pictures, what it says of them, and a gradient of that."""
    torch.manual_seed(0)
    network, pictures = Network(), torch.randn(2, 4, 8, 8)
    expected = network(pictures)
    return network, pictures, expected, *torch.autograd.grad(expected.square().sum(), network.conv.weight)


@pytest.mark.parametrize("way", [ChannelsLast, Compiled])
def test_in_float32_a_faster_way_says_and_learns_the_same(monkeypatch, way):
    monkeypatch.setattr(module, "computes_bf16", lambda device: False)
    network, pictures, expected, plain = learned_plainly()
    fast = way(network)
    said = fast(pictures)
    (gradient,) = torch.autograd.grad(said.square().sum(), network.conv.weight)
    torch.testing.assert_close(said, expected, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(gradient, plain, atol=1e-4, rtol=1e-4)
    fast.restore_layout()
    assert lies_as_before(network)


def test_a_network_is_compiled_for_every_size_of_a_batch(monkeypatch):
    """By itself torch gives up silently after eight."""
    compiled, compile_ = [], torch.compile

    def backend(graph, inputs):
        compiled.append(len(inputs))
        return graph

    monkeypatch.setattr(torch, "compile", lambda network, **how: compile_(network, backend=backend, **how))
    torch._dynamo.reset()
    way = Compiled(Network())
    for size in range(1, 13):
        way(torch.ones(size, 4, 8, 8))
    assert len(compiled) == 12


@pytest.mark.usefixtures("bf16")
@pytest.mark.parametrize("way", [Bfloat16, Compiled])
def test_a_faster_way_says_nearly_the_same_and_learns_nearly_the_same(way):
    network, pictures, expected, plain = learned_plainly()
    fast = way(network)
    said = fast(pictures)
    assert said.dtype == torch.bfloat16
    (gradient,) = torch.autograd.grad(said.float().square().sum(), network.conv.weight)
    torch.testing.assert_close(said.float(), expected, atol=0.03, rtol=0.02)
    torch.testing.assert_close(gradient, plain, atol=0.02 * plain.abs().max().item(), rtol=0.05)
    assert torch.equal(copy.deepcopy(fast)(pictures), said)
    fast.restore_layout()
    assert lies_as_before(network)
