from dataclasses import replace

import numpy as np
import torch
from playing import SIZE, buffer_of, counted, writer_at
from torch import nn

from worldmodel.latent.latent_cache import LatentCache


class Encoder(nn.Module):
    """Counts what it encodes."""

    def __init__(self):
        super().__init__()
        self.encoded = 0
        self.offset = 0.0
        self.batches = []

    def encode(self, frames):
        self.encoded += len(frames)
        self.batches.append(len(frames))
        return frames[:, :1, :1].permute(0, 3, 1, 2).float() + self.offset


def check(cache, reader):
    ids = torch.arange(reader.first_frame_id, reader.end_frame_id)
    expected = torch.from_numpy(reader.frames(ids.numpy()))[:, 0, 0].float()
    assert torch.equal(cache[ids].flatten(1), expected)


def test_every_frame_is_encoded_once(tmp_path):
    reader = buffer_of(tmp_path, [counted(tag) for tag in range(24)])
    assert reader.num_frames > 256
    encoder = Encoder()
    cache = LatentCache(reader, encoder, torch.device("cpu"))
    cache.extend()
    cache.extend()
    check(cache, reader)
    writer_at(tmp_path).append([counted(40)])
    reader.refresh()
    cache.extend()
    check(cache, reader)
    assert encoder.encoded == reader.num_frames


def test_frames_keep_their_ids_when_others_are_evicted(tmp_path):
    writer = writer_at(tmp_path, capacity=100)
    writer.append([counted(tag) for tag in range(4)])
    reader = buffer_of(tmp_path)
    encoder = Encoder()
    cache = LatentCache(reader, encoder, torch.device("cpu"))
    cache.extend()
    for tags in (range(4, 8), range(8, 12), range(12, 16)):
        writer.append([counted(tag) for tag in tags])
        reader.refresh()
        cache.extend()
        check(cache, reader)
    assert reader.first_frame_id > 0
    assert encoder.encoded == reader.end_frame_id
    writer.append([counted(24) for _ in range(5)])
    writer.append([counted(23) for _ in range(5)])
    reader.refresh()
    cache.extend()
    check(cache, reader)


class Copy(nn.Module):
    """An encoder whose latents are the frames."""

    def encode(self, frames):
        return frames.permute(0, 3, 1, 2).float()


def test_a_game_is_shifted_as_a_whole_by_an_offset_of_its_own(tmp_path):
    rng, game = np.random.default_rng(0), counted(8)
    pictures = [rng.integers(256, size=(len(counted(8).frames), SIZE, SIZE, 3), dtype=np.uint8) for _ in range(60)]
    writer = writer_at(tmp_path, capacity=400)

    def played(seeds):
        infos = {seed: replace(game.info, seed=seed) for seed in seeds}
        return [replace(game, frames=pictures[seed], info=info) for seed, info in infos.items()]

    writer.append(played(range(40)))
    reader = buffer_of(tmp_path)
    beside = LatentCache(reader, Copy(), torch.device("cpu"), reach=2)
    beside.extend()
    writer.append(played(range(40, 60)))
    reader.refresh()
    beside.extend()
    late = LatentCache(reader, Copy(), torch.device("cpu"), reach=2)
    late.extend()
    seen = set()
    for index, episode in enumerate(reader.episodes):
        ids = torch.from_numpy(reader.table.frame_ids(np.array(index), np.arange(episode.length + 1)))
        shown = beside[ids].permute(0, 2, 3, 1).numpy()
        assert torch.equal(beside[ids], late[ids]), "an offset is the same whenever the game is read"
        padded = np.pad(reader.frames(ids.numpy()), ((0, 0), (2, 2), (2, 2), (0, 0)), mode="edge")
        places = [(down, right) for down in range(5) for right in range(5)]
        fits = [(d, r) for d, r in places if np.array_equal(shown, padded[:, d : d + SIZE, r : r + SIZE])]
        assert len(fits) == 1
        seen.update(fits)
    assert len(seen) > 10


def test_a_cleared_cache_encodes_anew(tmp_path):
    reader = buffer_of(tmp_path, [counted(3)])
    encoder = Encoder()
    cache = LatentCache(reader, encoder, torch.device("cpu"))
    cache.extend()
    encoder.offset = 5.0
    cache.clear()
    cache.extend()
    assert (cache[torch.tensor([[0, 1], [2, 2]])][:, :, 0, 0, 0] == torch.tensor([[5.0, 6], [7, 7]])).all()
    assert reader.frame_shape == (SIZE, SIZE, 3)


def test_frames_are_encoded_in_the_same_batches_whenever_they_came(tmp_path):
    reader, encoders = buffer_of(tmp_path, [counted(tag) for tag in range(24)]), (Encoder(), Encoder())
    early, late = (LatentCache(reader, encoder, torch.device("cpu")) for encoder in encoders)
    early.extend()
    writer_at(tmp_path).append([counted(tag) for tag in range(30)])
    reader.refresh()
    early.extend()
    late.extend()
    assert encoders[0].batches == encoders[1].batches
