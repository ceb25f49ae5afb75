"""Each family's dreams in the fastest way that there is for them."""

import pytest
import tiny
import tiny_pixel
import torch

from worldmodel import fastest
from worldmodel.fastest import InParts, Lowered

DREAMS = 32


def one_step(model, dream, actions):
    return model.observe(model.step(dream, actions, torch.Generator().manual_seed(0))[0]).float()


@pytest.fixture
def ever_faster(monkeypatch):
    """Every way that is tried takes half as long as the one before; nothing is compiled."""
    tried = []

    def seconds(work, ways, tries):
        work(ways)
        tried.append(ways)
        return 1000 / 2 ** len(tried)

    monkeypatch.setattr(fastest, "_seconds", seconds)
    monkeypatch.setattr(fastest, "Compiled", Lowered)
    monkeypatch.setattr(fastest, "computes_bf16", lambda device: True)


@pytest.mark.usefixtures("ever_faster")
@pytest.mark.parametrize(("make", "begun"), [(tiny.tiny, tiny.begun), (tiny_pixel.tiny_pixel, tiny_pixel.begun)])
def test_hastened_dreams_are_nearly_the_same(make, begun):
    model = make()
    dream, actions = begun(model, count=DREAMS), torch.arange(DREAMS) % 3
    expected = one_step(model, dream, actions)
    model.hasten(dream, actions, times=1000)
    ways = [model.by(network) for network in model.networks]
    assert isinstance(ways[0], InParts)
    assert all(isinstance(way, Lowered) for way in ways[1:])
    assert (one_step(model, dream, actions) - expected).abs().mean() < 2
