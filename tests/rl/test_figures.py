import math
from types import SimpleNamespace
from typing import get_args

import pytest
import torch

from rl.dyna import Dyna
from rl.figures import buffer_figures, rates
from rl.gpu_memory import take_peak_mb
from rl.phases import Spent
from worldmodel.data.episode import Source
from worldmodel.data.sources import Played


def test_rates_are_of_what_was_done_in_the_time_of_its_phase():
    spent = {
        "collect": Spent(2.0, 1000),
        "fit autoencoder": Spent(10.0, 100),
        "fit dynamics": Spent(30.0, 60),
        "imagine": Spent(8.0, 40_000),
        "evaluate": Spent(5.0, 30),
    }
    assert rates(spent) == {
        "rate/real_steps": 500.0,
        "rate/updates": 4.0,
        "rate/fit autoencoder": 10.0,
        "rate/fit dynamics": 2.0,
        "rate/imagined_steps": 5000.0,
    }


def test_what_took_no_time_has_no_rate():
    assert rates({}) == rates({"collect": Spent(0.0, 0)}) == {}


def test_play_that_was_there_already_has_no_rate():
    assert rates({"collect": Spent(0.01, 0)}) == {}


def test_a_buffer_is_told_by_who_played_it():
    played = {"random": Played(600, 60.0, 30), "policy": Played(150, 90.0, 0)}
    told = buffer_figures(played, capacity=1000)
    assert math.isnan(told.pop("buffer/return_agent")), "no game has ended in its hands"
    assert told == {
        "buffer/fill": 0.75,
        "buffer/steps_random": 600,
        "buffer/return_random": 2.0,
        "buffer/steps_agent": 150,
    }


@pytest.mark.parametrize("source", get_args(Source))
def test_whoever_played_a_buffer_has_a_name(source):
    player = {"policy": "agent"}.get(source, source)
    told = buffer_figures({source: Played(6, 3.0, 2)}, capacity=10)
    assert told == {"buffer/fill": 0.6, f"buffer/steps_{player}": 6.0, f"buffer/return_{player}": 1.5}


def test_without_a_gpu_there_is_no_peak():
    assert take_peak_mb(torch.device("cpu")) is None
    assert Dyna._gpu_peaks(dyna_with(learner=None, device="cpu")) == {}


def test_the_peak_of_a_gpu_is_told_in_megabytes_and_begins_anew(monkeypatch):
    peaks = {torch.device("cuda"): 1_500_000}
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", peaks.__getitem__)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: peaks.update({device: 500_000}))
    agent = dyna_with(learner=250.0, device="cuda")
    assert Dyna._gpu_peaks(agent) == {"gpu_mb/learner": 250.0, "gpu_mb/agent": 1.5}
    assert Dyna._gpu_peaks(agent) == {"gpu_mb/learner": 250.0, "gpu_mb/agent": 0.5}


def dyna_with(learner, device):
    """As much of a `Dyna` as is asked for peaks."""
    world_model = SimpleNamespace(take_gpu_peak=lambda: learner)
    generator = SimpleNamespace(device=torch.device(device))
    return SimpleNamespace(_crew=SimpleNamespace(world_model=world_model), runner=SimpleNamespace(generator=generator))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_the_peak_of_a_real_gpu():
    device = torch.device("cuda")
    take_peak_mb(device)
    tensor = torch.empty(10_000_000, dtype=torch.uint8, device=device)
    del tensor
    assert take_peak_mb(device) >= 10
    assert take_peak_mb(device) < 10
