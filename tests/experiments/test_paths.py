import pytest
from test_plain_ways import small_model

from experiments.speed import paths
from experiments.speed.paths import ALL, Ablated, measure_without
from experiments.speed.timing import Rate
from worldmodel.autotune import ChannelsLast, Chunked

DREAMS = 4


def chosen(self, dream, actions, times):
    """As if that had been found to be fastest."""
    self.use_backends([Chunked(ChannelsLast(self.networks[0]), 2), ChannelsLast(self.networks[1])])


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(paths, "build_model", lambda family, calls: small_model(family))
    for family in ("latent", "pixel"):
        monkeypatch.setattr(type(small_model(family)), "autotune", chosen)


@pytest.mark.parametrize(
    ("family", "left_out"),
    [
        ("latent", {"backends", "chunks", "adapter worked in", "agent on latents"}),
        ("pixel", {"backends", "chunks"}),
    ],
)
def test_every_path_that_is_taken_is_left_out_in_turn(small, monkeypatch, family, left_out):
    seen = {}

    def one_turn(ways, seconds, device):
        for name, way in ways.items():
            assert way() > 0, name
        return {name: Rate(2.0 if name == ALL else 1.0, 1.0, 1.0, 1) for name in ways}

    def remembered(*arguments):
        for name, runner in without(*arguments):
            seen[name] = runner.dreams.world_model
            yield name, runner

    without = paths._without
    monkeypatch.setattr(paths, "in_turns", one_turn)
    monkeypatch.setattr(paths, "_without", remembered)
    ablated = measure_without(family, 1, DREAMS, 0.0, "cpu", 1000)
    assert ablated.rates.keys() == {ALL, *left_out}
    assert all(ablated.worth(path) == 2 for path in left_out)
    bare = seen["backends"]
    assert all(bare.backend_of(network) is network for network in bare.networks)
    whole = seen["chunks"]
    assert all(isinstance(whole.backend_of(network), ChannelsLast) for network in whole.networks)
    for name in left_out - {"backends", "chunks"}:
        model = seen[name]
        first = model.backend_of(model.networks[0])
        assert isinstance(first, Chunked) and first.backend.network is model.networks[0], "of its own weights"


def test_where_nothing_was_faster_nothing_is_left_out(small, monkeypatch):
    monkeypatch.setattr(type(small_model("pixel")), "autotune", lambda *_: None)
    assert measure_without("pixel", 1, DREAMS, 0.0, "cpu", 1000).rates.keys() == {ALL}


def test_what_a_path_is_worth_is_told_by_those_without_it():
    rates = {ALL: Rate(30.0, 29.0, 31.0, 3), "chunks": Rate(20.0, 19.0, 21.0, 3)}
    assert Ablated("pixel", 3, 32, rates).worth("chunks") == 1.5
