"""Ways to fit in less memory or less time: the same is learned."""

import numpy as np
import pytest
import torch
from fits import fitting, weights
from tiny import slides, sliding, tiny

from worldmodel.head_config import HeadConfig


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    return slides(tmp_path_factory.mktemp("buffer"), [sliding(seed) for seed in range(6)])


def gradients_of_an_update(reader, stage, **changes):
    """The gradients of the first update, with the same noise for every window whatever batch it comes in."""
    model = tiny(shift=0.0, head=HeadConfig(members=2, hidden=16, dropout=0.0))
    fitter = fitting(reader, stage, model, batch_size=7, **changes)
    fitter._optimization.step = lambda: None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "randn_like", lambda x: x.flip(-1))
        patch.setattr(torch, "rand", lambda *size, device: torch.full(size, 0.4))
        patch.setattr(torch, "randn", lambda size, **_: torch.full(size, 0.5))
        patch.setattr(torch, "randint", lambda *given, device: torch.full(given[-1], 1))
        losses = fitter.fit(1)
    return losses, {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}


@pytest.mark.parametrize("switch", [{"accumulate": 3}, {"accumulate": 7}, {"checkpointing": True}], ids=str)
@pytest.mark.parametrize("stage", ["dynamics", "adapter", "head"])
def test_a_memory_saver_leaves_the_gradients_of_the_whole_batch(reader, stage, switch):
    losses, whole = gradients_of_an_update(reader, stage)
    same, parts = gradients_of_an_update(reader, stage, **switch)
    assert losses == pytest.approx(same, abs=1e-5)
    assert whole.keys() == parts.keys()
    for name, gradient in whole.items():
        torch.testing.assert_close(parts[name], gradient, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("stage", ["dynamics", "adapter"])
def test_with_checkpointing_activations_are_computed_twice(reader, stage):
    counts = []
    for checkpointing in (False, True):
        fitter, calls = fitting(reader, stage, checkpointing=checkpointing), []
        for name, module in fitter.model.denoiser.named_modules():
            if name.endswith("mid_block.resnets.1"):
                module.register_forward_pre_hook(lambda *_, calls=calls: calls.append(1))
        fitter.fit(1)
        counts.append(len(calls))
    assert counts == [1, 2]


@pytest.mark.parametrize("stage", ["dynamics", "head"])
@pytest.mark.parametrize(("precision", "dtype"), [("bf16", torch.bfloat16), ("fp16", torch.float16)])
def test_in_low_precision_the_weights_stay_whole(reader, stage, precision, dtype):
    fitter, seen = fitting(reader, stage, precision=precision), set()
    for module in (fitter.model.denoiser.unet.conv_in, fitter.model.head.members[0].enter):
        module.register_forward_hook(lambda module, inputs, output: seen.add(output.dtype))
    losses = fitter.fit(2)
    assert seen == {dtype}
    assert np.isfinite(list(losses.values())).all()
    assert {tensor.dtype for tensor in weights(fitter.model).values()} == {torch.float32}


@pytest.mark.parametrize(("built", "dtype"), [(True, torch.bfloat16), (False, torch.float32)])
@pytest.mark.parametrize("stage", ["autoencoder", "head"])
def test_pictures_and_outcomes_are_learned_in_bfloat16_only_where_the_machine_is_built_for_it(
    reader, monkeypatch, stage, built, dtype
):
    """Elsewhere an update takes ten times as long so."""
    monkeypatch.setattr("worldmodel.latent.fitter.computes_bf16", lambda device: built)
    fitter, seen = fitting(reader, stage, bf16=True), set()
    for module in (fitter.model.autoencoder.vae.encoder.layers[0], fitter.model.head.members[0].enter):
        module.register_forward_hook(lambda module, inputs, output: seen.add(output.dtype))
    fitter.fit(1)
    assert seen == {dtype}


@pytest.mark.parametrize("stage", ["dynamics", "adapter"])
def test_trying_faster_ways_changes_nothing_that_training_draws(reader, stage):
    fitted = []
    for precision in ("fp32", "auto"):
        fitter = fitting(reader, stage, precision=precision)
        fitter.fit(2)
        fitter.finish()
        fitted.append(weights(fitter.model))
    plain, tried = fitted
    assert all(torch.equal(tried[name], tensor) for name, tensor in plain.items())
