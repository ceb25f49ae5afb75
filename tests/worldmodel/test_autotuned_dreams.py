"""Each family's dreams in the fastest way that there is for them."""

import pytest
import tiny
import tiny_pixel
import torch

from worldmodel import autotune
from worldmodel.autotune import Bfloat16, Chunked

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

    monkeypatch.setattr(autotune, "_seconds", seconds)
    monkeypatch.setattr(autotune, "Compiled", Bfloat16)
    monkeypatch.setattr(autotune, "computes_bf16", lambda device: True)


@pytest.mark.usefixtures("ever_faster")
@pytest.mark.parametrize(("make", "begun"), [(tiny.tiny, tiny.begun), (tiny_pixel.tiny_pixel, tiny_pixel.begun)])
def test_tuned_dreams_are_nearly_the_same(make, begun):
    model = make()
    dream, actions = begun(model, count=DREAMS), torch.arange(DREAMS) % 3
    expected = one_step(model, dream, actions)
    model.autotune(dream, actions, times=1000)
    ways = [model.backend_of(network) for network in model.networks]
    assert isinstance(ways[0], Chunked)
    assert all(isinstance(way, Bfloat16) for way in ways[1:])
    assert (one_step(model, dream, actions) - expected).abs().mean() < 2
