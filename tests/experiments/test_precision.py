import pytest
import torch
from pixel_dreams import world_model

from envs.neural_vector import STARTS_FILE
from experiments.speed import precision
from experiments.speed.precision import STEPS, dreamed, measure_precision
from worldmodel.autotune import Bfloat16
from worldmodel.errors import UserError
from worldmodel.families import load_world_model


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A tiny world model; nothing is compiled for it."""
    monkeypatch.setattr(precision, "backends", lambda device: {"bfloat16": Bfloat16})
    return world_model(tmp_path / "model")


def test_dreams_in_bfloat16_stray_a_little_and_further_with_time(folder):
    strayed = measure_precision(folder, "cpu")
    (median,), (lowest,) = strayed.median.values(), strayed.lowest.values()
    assert len(median) == STEPS and all(low <= middle for low, middle in zip(lowest, median, strict=True))
    assert 20 < median[0] < 90


def test_the_same_arithmetic_dreams_the_same(folder, monkeypatch):
    class Plain(Bfloat16):
        def __call__(self, *arguments):
            return self.network(*arguments)

    monkeypatch.setattr(precision, "backends", lambda device: {"plain": Plain})
    strayed = measure_precision(folder, "cpu")
    # Half a level in one number of a frame: nothing differs.
    assert len(set(strayed.median["plain"])) == 1 and strayed.median["plain"][0] > 80


def test_nothing_of_a_dream_is_forgotten_between_its_steps(folder):
    model = load_world_model(folder).eval()
    starts = torch.zeros(3, 4, 16, 16, 3, dtype=torch.uint8)
    begun = model.begin(starts, torch.zeros(3, 3, dtype=torch.long), torch.ones(3, 4, dtype=torch.bool))
    frames = dreamed(model, begun)
    assert frames.shape == (STEPS, 3, 16, 16, 3) and not torch.equal(frames[0], frames[-1])
    assert torch.equal(frames, dreamed(model, begun))


def test_a_world_model_without_starts_is_refused(folder):
    (folder / STARTS_FILE).unlink()
    with pytest.raises(UserError, match="has no starts"):
        measure_precision(folder, "cpu")
