"""A tiny pixel world model in a folder, and tiny policies that play in it and in the counting game."""

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from counting import NUM_ACTIONS

from envs.neural_vector import STARTS_FILE
from rl.module import PixelModuleConfig
from rl.policies import PolicySnapshot, PolicySpec
from rl.recurrent import RecurrentConfig, RecurrentNetwork
from worldmodel.data.starts import Starts, save_starts
from worldmodel.pixel.config import EulerConfig, OutcomeConfig, PixelConfig, UNetConfig
from worldmodel.pixel.model import PixelWorldModel
from worldmodel.spaces import ActionSpec

SIZE = 16
SPEC = ActionSpec.discrete(NUM_ACTIONS)
CONFIG = PixelConfig(
    frame_size=SIZE,
    unet=UNetConfig(channels=(8, 8), layers=1, condition=16),
    outcomes=OutcomeConfig(channels=(8, 8), layers=1, condition=8, hidden=8),
    sampler=EulerConfig(steps=2),
)
REMEMBERING = RecurrentConfig(channels=(8, 16), hidden=12)
RECURRENT = PolicySpec("frames", (SIZE, SIZE, 3), 1, SPEC, asdict(REMEMBERING), network="recurrent")
FRAMES = PolicySpec("frames", (SIZE, SIZE, 3), 4, SPEC, asdict(PixelModuleConfig(hidden=8)))
LATENTS = replace(FRAMES, observation="latents", encoder_hash=PixelWorldModel(CONFIG, SPEC).encoder_hash())


def world_model(folder: Path, starts: int = 3) -> Path:
    """The folder of a model, with starts in it."""
    torch.manual_seed(0)
    model = PixelWorldModel(CONFIG, SPEC)
    model.save_pretrained(folder)
    frames = np.random.default_rng(0).integers(256, size=(starts, 4, SIZE, SIZE, 3)).astype(np.uint8)
    mask = np.ones((starts, 4), np.bool_)
    mask[0, :2] = False
    save_starts(folder / STARTS_FILE, Starts.of(frames, np.zeros((starts, 3), np.int64), mask))
    return folder


def policy(spec: PolicySpec) -> PolicySnapshot:
    """A policy that knows nothing."""
    torch.manual_seed(0)
    if spec.network == "convolutional":
        return PolicySnapshot(spec, spec.build().get_state())
    network = RecurrentNetwork(REMEMBERING, spec.observation_shape, spec.actions)
    for parameter in network.parameters():
        parameter.data += torch.randn_like(parameter) / 3
    return PolicySnapshot(spec, {name: tensor.numpy() for name, tensor in network.state_dict().items()}, 3)
