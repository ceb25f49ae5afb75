from dataclasses import replace

import pytest
import torch
from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTinyOutput
from diffusers.models.autoencoders.vae import DecoderOutput
from tiny import CHANNELS, CONFIG, LATENT, SIZE, noise_frames, stir, tiny

from worldmodel.latent.autoencoder import Autoencoder, build_vae, to_bytes, to_unit


def test_every_level_survives_the_round_trip():
    levels = torch.arange(256, dtype=torch.uint8).view(1, 16, 16, 1).expand(-1, -1, -1, 3)
    unit = to_unit(levels)
    assert unit.min() == -1
    assert unit.max() == 1
    assert torch.equal(to_bytes(unit), levels)


@pytest.mark.parametrize(("level", "shown"), [(7.4, 7), (7.6, 8), (254.6, 255), (0.4, 0), (-30.0, 0), (300.0, 255)])
def test_quantisation_rounds_and_clips(level, shown):
    image = torch.full((1, 3, 1, 1), level / 127.5 - 1)
    assert to_bytes(image).flatten().tolist() == [shown] * 3


def test_frames_keep_their_rows_columns_and_colours():
    frames = torch.zeros(1, 4, 4, 3, dtype=torch.uint8)
    frames[0, 1, 2] = torch.tensor([255, 0, 128])
    assert to_unit(frames)[0, 0, 1, 2] == 1
    assert torch.equal(to_bytes(to_unit(frames)), frames)


@pytest.mark.parametrize("patch_size", [1, 2, 4])
def test_squares_of_pixels_are_taken_as_one_and_put_back_where_they_were(monkeypatch, patch_size):
    config = replace(CONFIG.autoencoder, patch_size=patch_size)
    autoencoder = Autoencoder(build_vae(config))
    assert autoencoder.patch_size == patch_size
    assert autoencoder.scale == config.scale == 4 * patch_size
    frames = noise_frames(2)
    assert autoencoder.encode(frames).shape == (2, CHANNELS, SIZE // autoencoder.scale, SIZE // autoencoder.scale)
    assert autoencoder.decode(autoencoder.encode(frames)).shape == frames.shape
    taken = []

    def encode(images):
        taken.append(images)
        return AutoencoderTinyOutput(images)

    monkeypatch.setattr(autoencoder.vae, "encode", encode)
    monkeypatch.setattr(autoencoder.vae, "decode", DecoderOutput)
    assert torch.equal(to_bytes(autoencoder._decoded(autoencoder.raw(frames))), frames)
    assert taken[0].shape == (2, 3 * patch_size**2, SIZE // patch_size, SIZE // patch_size)
    # All that one place is given is of one square.
    square = to_unit(frames)[0, :, patch_size : 2 * patch_size, :patch_size]
    assert torch.equal(taken[0][0, :, 1, 0].sort().values, square.flatten().sort().values)


def test_latents_have_no_mean_and_unit_spread_once_measured():
    torch.manual_seed(0)
    autoencoder = Autoencoder(build_vae(CONFIG.autoencoder))
    frames = noise_frames(64)
    raw = autoencoder.raw(frames)
    autoencoder.standardise(raw, raw + 2 * raw.std((0, 2, 3), keepdim=True))
    latents = autoencoder.encode(frames)
    assert latents.shape == (64, *LATENT)
    torch.testing.assert_close(latents.mean((0, 2, 3)), torch.zeros(4), atol=1e-4, rtol=0)
    torch.testing.assert_close(latents.std((0, 2, 3)), torch.ones(4), atol=1e-4, rtol=0)
    torch.testing.assert_close(autoencoder.change.flatten(), torch.full((4,), 2.0), atol=1e-3, rtol=0)


def test_standardising_changes_latents_but_no_picture():
    torch.manual_seed(0)
    autoencoder = Autoencoder(build_vae(CONFIG.autoencoder))
    frames = noise_frames(4)
    with torch.no_grad():
        before = autoencoder.encode(frames), autoencoder.decode(autoencoder.encode(frames))
        autoencoder.standardise(torch.randn(8, *LATENT) * 3 + 1, torch.randn(8, *LATENT))
        after = autoencoder.encode(frames), autoencoder.decode(autoencoder.encode(frames))
    assert not torch.allclose(before[0], after[0])
    assert (before[1].int() - after[1].int()).abs().max() <= 1


def test_a_still_game_does_not_divide_by_zero():
    autoencoder = Autoencoder(build_vae(CONFIG.autoencoder))
    raw = torch.ones(8, *LATENT)
    autoencoder.standardise(raw, raw)
    assert autoencoder.encode(noise_frames(2)).isfinite().all()
    assert (autoencoder.change > 0).all()


def test_the_fingerprint_names_the_weights_and_the_statistics():
    marks = [tiny().encoder_hash(), tiny().encoder_hash(), tiny(seed=1).encoder_hash()]
    assert marks[0] == marks[1] != marks[2]
    model = tiny()
    model.autoencoder.mean += 1
    assert model.encoder_hash() != marks[0]
    other_denoiser = tiny()
    stir(other_denoiser.denoiser, 9)
    assert other_denoiser.encoder_hash() == marks[0]


def test_the_reconstruction_loss_looks_where_the_weight_is():
    torch.manual_seed(0)
    autoencoder = Autoencoder(build_vae(CONFIG.autoencoder))
    frames = noise_frames(2)
    upper = torch.zeros(2, 1, 16, 16)
    upper[:, :, :8] = 2.0

    def loss(weight):
        torch.manual_seed(1)
        return autoencoder.reconstruction_loss(frames, weight)

    assert loss(torch.zeros_like(upper)) == 0
    torch.testing.assert_close((loss(upper) + loss(2 - upper)) / 2, loss(torch.ones_like(upper)))


def far(times=1e4):
    """An autoencoder whose raw latents lie far beyond what its decoder tells apart."""
    torch.manual_seed(0)
    autoencoder = Autoencoder(build_vae(CONFIG.autoencoder))
    with torch.no_grad():
        for parameter in list(autoencoder.vae.encoder.parameters())[-2:]:
            parameter.mul_(times)
    return autoencoder


def test_latents_that_run_away_are_called_back():
    autoencoder, frames = far(), noise_frames(2)
    before = autoencoder.raw(frames).abs().max()
    assert before > 10
    optimizer = torch.optim.SGD(autoencoder.vae.encoder.parameters(), 1e-4)
    # No pixel counts: the reconstruction has nothing to say.
    loss = autoencoder.reconstruction_loss(frames, torch.zeros(2, 1, 16, 16))
    loss.backward()
    torch.nn.utils.clip_grad_norm_(autoencoder.vae.encoder.parameters(), 1.0)
    optimizer.step()
    assert loss > 1
    assert autoencoder.raw(frames).abs().max() < before


def test_latents_of_a_base_may_reach_as_far_as_they_do():
    autoencoder, frames = far(), noise_frames(2)
    autoencoder.let_reach(frames)
    assert autoencoder.reach == autoencoder.raw(frames).abs().max() > 10
    assert autoencoder.reconstruction_loss(frames, torch.zeros(2, 1, 16, 16)) < 1e-3
    fresh = far(times=1)
    fresh.let_reach(frames)
    assert fresh.reach == 3
