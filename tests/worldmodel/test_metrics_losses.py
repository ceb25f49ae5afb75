import pytest
import torch
from playing import SIZE, buffer_of, counted
from tiny import tiny
from tiny_pixel import tiny_pixel

from worldmodel.data.windows import WindowSampler
from worldmodel.metrics import losses
from worldmodel.metrics.losses import held_out_losses


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    return buffer_of(tmp_path_factory.mktemp("buffer"), [counted(tag) for tag in range(12)])


@pytest.mark.parametrize("make", [tiny, tiny_pixel])
def test_a_model_is_told_the_same_twice_and_left_as_it_is(reader, make):
    model = make(frame_size=SIZE).eval()
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    first, again = (held_out_losses(model, reader, 0) for _ in range(2))
    assert torch.equal(torch.rand(3), expected)
    assert first == again and all(value > 0 for value in first.values())
    assert held_out_losses(model, reader, 1) != first
    assert not any(parameter.grad is not None for parameter in model.parameters())


def test_only_held_out_play_counts(reader, monkeypatch):
    splits = []

    class Remembered(WindowSampler):
        def __init__(self, reader, context, horizon, split):
            splits.append(split)
            super().__init__(reader, context, horizon, split)

    monkeypatch.setattr(losses, "WindowSampler", Remembered)
    held_out_losses(tiny(frame_size=SIZE).eval(), reader, 0)
    assert splits == ["held_out"]


def test_where_nothing_is_held_out_nothing_is_told(tmp_path):
    assert held_out_losses(tiny(frame_size=SIZE).eval(), buffer_of(tmp_path, [counted(3)]), 0) == {}
