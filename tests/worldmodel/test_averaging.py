"""Two processes learn together, as Ray Train's workers do; Ray Train itself only begins their process group."""

import pytest
import torch
from tiny import CONFIG, slides, sliding
from torch import multiprocessing
from workers import GAMES, UPDATES, WORKERS, work


@pytest.fixture(scope="module")
def workers(tmp_path_factory):
    """What each process saw."""
    folder = tmp_path_factory.mktemp("workers")
    for number, game in enumerate(GAMES):
        slides(folder / game, [sliding(10 * number + seed) for seed in range(4)])
    multiprocessing.spawn(work, (folder, CONFIG), nprocs=WORKERS)
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(WORKERS)]


@pytest.fixture(scope="module")
def layers(workers):
    return [worker["layers"] for worker in workers]


@pytest.fixture(scope="module")
def updates(workers):
    """What each process saw, by update."""
    return list(zip(*(worker["games"]["updates"] for worker in workers), strict=True))


def assert_averaged(seen):
    """Every gradient is the mean of both workers', where one that is missing counts as zero."""
    for name, after in seen[0]["after"].items():
        parts = [worker["before"][name] for worker in seen]
        mean = sum(torch.zeros_like(after) if part is None else part for part in parts) / WORKERS
        torch.testing.assert_close(after, mean)
        assert torch.equal(after, seen[1]["after"][name]), name


def on_one_alone(seen):
    """The parameters that one worker's batch alone has touched."""
    first, second = ({name for name, part in worker["before"].items() if part is not None} for worker in seen)
    return first ^ second


def test_every_workers_gradient_is_the_mean_of_all(layers):
    assert not torch.equal(layers[0]["before"]["both.weight"], layers[1]["before"]["both.weight"])
    assert_averaged(layers)


def test_a_parameter_that_one_batch_has_touched_has_the_same_gradient_everywhere(layers):
    assert on_one_alone(layers) == {"first.weight", "first.bias"}
    assert torch.equal(layers[1]["after"]["first.weight"], layers[0]["before"]["first.weight"] / WORKERS)
    assert not layers[0]["after"]["none.weight"].any()


def test_weights_are_the_same_after_an_update(layers):
    first, second = (worker["weights"] for worker in layers)
    assert all(torch.equal(weight, second[name]) for name, weight in first.items())


def test_workers_agree_on_how_far_they_are(layers):
    assert [worker["progress"] for worker in layers] == [0.5, 0.5]


def test_a_pretraining_averages_the_gradients_of_every_update(updates):
    assert len(updates) == UPDATES
    for seen in updates:
        assert_averaged(seen)


def test_the_workers_of_a_pretraining_learn_from_other_batches_and_other_games(updates):
    shared = "first.denoiser.unet.conv_in.weight"
    assert not any(torch.equal(one["before"][shared], other["before"][shared]) for one, other in updates)
    assert "second.head.members.0.out.weight" in set().union(*map(on_one_alone, updates))


def test_the_workers_of_a_pretraining_end_with_the_same_base(workers):
    first, second = (worker["games"]["weights"] for worker in workers)
    # What is measured of one game alone is not in a base.
    common = [name for name in first["first"] if not name.startswith("familiarity.") and name != "left_out"]
    assert {name.split(".")[0] for name in common} == {"autoencoder", "denoiser", "head"}
    assert all(torch.equal(first[game][name], second[game][name]) for game in GAMES for name in common)
