import pytest
import torch
from fits import CONFIG, fitting, weights
from safetensors import safe_open
from safetensors.torch import load_file
from tiny import slides, sliding

from worldmodel.data.segment import Segment
from worldmodel.errors import UserError
from worldmodel.watch import LossWatch


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    return slides(tmp_path_factory.mktemp("buffer"), [sliding(seed) for seed in range(6)])


@torch.no_grad()
def spoil(model):
    for part in (model.autoencoder.vae.decoder, model.denoiser):
        next(part.parameters()).fill_(torch.nan)


@pytest.mark.parametrize(
    ("stage", "part"), [("autoencoder", "reconstruction"), ("decoder", "reconstruction"), ("dynamics", "denoising")]
)
def test_a_loss_that_is_no_number_stops_the_fit_and_keeps_its_batch(reader, stage, part, tmp_path):
    fitter = fitting(reader, stage, failures=tmp_path / "failures", seed=3)
    fitter.fit(2)
    spoil(fitter.model)
    before = weights(fitter.model)
    with pytest.raises(UserError, match=rf"the {stage}, {part} became nan in update 3 .*learning-rate") as raised:
        fitter.fit(2)
    (path,) = (tmp_path / "failures").iterdir()
    assert str(path) in str(raised.value)
    assert all(torch.equal(now.nan_to_num(), before[name].nan_to_num()) for name, now in weights(fitter.model).items())
    kept = load_file(path)
    if stage == "dynamics":
        dreamed = [kept.pop(f"dreamed_{step}") for step in range(CONFIG.unroll)]
        assert [tensor.shape[1] - fitter.model.context for tensor in dreamed] == list(range(CONFIG.unroll))
        replayed = Segment(**kept, context=fitter.model.context)
        assert torch.stack(list(fitter.model.losses(replayed).values())).isnan().any()
    else:
        assert kept["frames"].shape == (8, 16, 16, 3)
    with safe_open(path, "pt") as file:
        assert file.metadata() == {"stage": stage, "part": part, "value": "nan"}


def test_a_gradient_that_is_no_number_stops_the_fit_too(reader, tmp_path):
    fitter = fitting(reader, "dynamics", failures=tmp_path)
    parameter = fitter.model.denoiser.unet.conv_out.bias
    parameter.register_hook(lambda gradient: gradient * torch.inf)
    before = parameter.clone()
    with pytest.raises(UserError, match="gradient became inf in update 1"):
        fitter.fit(2)
    assert torch.equal(parameter, before)


def test_where_looking_is_dear_it_is_done_once_a_call(reader, tmp_path):
    fitter = fitting(reader, "dynamics", failures=tmp_path)
    fitter._watch = LossWatch("dynamics", 0, tmp_path, patient=True)
    fitter.fit(3)
    spoil(fitter.model)
    with pytest.raises(UserError, match="denoising became nan in update 4 "):
        fitter.fit(3)


def test_a_learning_rate_that_is_far_too_high_is_named(reader, tmp_path):
    fitter = fitting(reader, "dynamics", failures=tmp_path, learning_rate=1e12)
    with pytest.raises(UserError, match=r"--fit\.learning-rate"):
        fitter.fit(6)
