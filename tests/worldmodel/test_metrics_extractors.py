import pytest
import torch
from stand_ins import Apart, Map, Means, scripted

from worldmodel.errors import UserError
from worldmodel.metrics.extractors import distance_of, feature_extractor

CPU, SHAPE = torch.device("cpu"), (3, 8, 8)


def test_a_file_is_named_by_what_is_in_it(tmp_path):
    names = {feature_extractor(scripted(Means(), tmp_path / name), CPU, SHAPE).name for name in ("a.pt", "b.pt")}
    first, second = sorted(names)
    assert first.startswith("a.pt@")
    assert second.startswith("b.pt@")
    assert len(first) == len("a.pt@") + 8


@pytest.mark.parametrize("source", ["stand_ins:Means", "stand_ins:made"])
@pytest.mark.parametrize("shape", [SHAPE, (3, 4, 8, 8)])
def test_a_network_of_ones_own_module_is_taken(source, shape):
    extractor = feature_extractor(source, CPU, shape)
    assert extractor.name == source
    assert not extractor.network.training
    assert extractor.network(torch.ones(5, *shape)).tolist() == [[1.0] * 3] * 5


@pytest.mark.parametrize("given", ["file", "module"])
def test_a_distance_is_one_number_a_pair(given, tmp_path):
    source = scripted(Apart(), tmp_path / "apart.pt") if given == "file" else "stand_ins:Apart"
    name, distance = distance_of(source, CPU, SHAPE)
    assert name.startswith("apart.pt@" if given == "file" else "stand_ins:Apart")
    assert distance(torch.zeros(3, *SHAPE), torch.ones(3, *SHAPE)).tolist() == [1.0] * 3


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("nowhere.pt", "could not be read as TorchScript"),
        ("stand_ins:Nothing", "no network could be imported"),
        ("no_such_module:Means", "no network could be imported"),
        ("stand_ins:no_network", "no network could be imported"),
        ("stand_ins:dict_maker", "no network could be imported"),
        ("builtins:dict", "is no torch.nn.Module"),
        ("stand_ins:Map", "features must be"),
        ("stand_ins:Apart", "does not take 1 of"),
    ],
)
def test_what_makes_no_features_is_refused_at_once(source, sentence):
    with pytest.raises(UserError, match=sentence):
        feature_extractor(source, CPU, SHAPE)


def test_what_measures_no_distance_is_refused_at_once(tmp_path):
    with pytest.raises(UserError, match="does not take 2 of"):
        distance_of("stand_ins:Means", CPU, SHAPE)
    with pytest.raises(UserError, match="could not be read"):
        distance_of(str(_nonsense(tmp_path)), CPU, SHAPE)


def _nonsense(folder):
    (folder / "nonsense.pt").write_bytes(b"no network")
    return folder / "nonsense.pt"


def test_a_map_is_no_distance(tmp_path):
    class Both(Map):
        def forward(self, one, other):
            return one

    with pytest.raises(UserError, match="one distance a pair"):
        distance_of(_traced(Both(), tmp_path / "both.pt"), CPU, SHAPE)


def _traced(network, path):
    pair = (torch.zeros(2, *SHAPE), torch.zeros(2, *SHAPE))
    torch.jit.save(torch.jit.trace(network, pair), path)
    return str(path)
