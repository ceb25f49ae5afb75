"""Dreams and a policy that cost next to nothing, so that what is around them can be measured."""

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor, nn

from envs.actions import spec_of
from envs.tensors import StepTensors, TensorVectorEnv
from rl.module import PixelModule
from rl.policy_head import policy_head
from worldmodel.spaces import ActionSpec

PICTURES = 4
"""different batches of observations that the fake dreams show in turn"""
SIDE = 8
"""height and width, in pixels, of what the tiny policy looks at"""


class FakeDreams(TensorVectorEnv):
    """Noise in the shape of a game: all dreams run to the horizon."""

    def __init__(self, num_envs: int, *, shape: tuple[int, int, int], horizon: int = 48) -> None:
        """Make observations of `shape` (height, width, channels), uint8, once and for all."""
        super().__init__(num_envs, horizon, "cpu")
        self._set_spaces(ActionSpec.discrete(2), gym.spaces.Box(0, 255, shape, np.uint8))
        generator = torch.Generator().manual_seed(0)
        size = (PICTURES, num_envs, *shape)
        self._pictures = torch.randint(256, size, generator=generator, dtype=torch.uint8).unbind()
        self._rewards = torch.rand((num_envs,), generator=generator)
        self._alive = torch.zeros(num_envs, dtype=torch.bool)
        self._steps = 0

    def reset_tensors(self, seed: int | None = None) -> Tensor:
        """The first of the pictures."""
        self._forget()
        self._steps = 0
        return self._pictures[0]

    def step_tensors(self, actions: Tensor) -> StepTensors:
        """The next of the pictures; every action is paid the same."""
        self._steps += 1
        rewards = torch.where(self.needs_reset, 0.0, self._rewards)
        return self._pictures[self._steps % PICTURES], rewards, *self._finish(self._alive, self._alive)


class TinyModule(PixelModule):
    """A policy and value that look at 8 by 8 pixels through one narrow layer."""

    def setup(self) -> None:
        """Build the network; called by RLlib."""
        assert isinstance(self.observation_space, gym.spaces.Box)
        self.encoder = nn.Sequential(nn.Linear(SIDE * SIDE * self.observation_space.shape[2], 32), nn.ReLU())
        self.policy = policy_head(32, spec_of(self.action_space, "the fake game"))
        self.action_dist_cls = self.policy.distribution
        self.value = nn.Linear(32, 1)

    def embed(self, observations: Tensor) -> Tensor:
        """What policy and value are read from: float32, (batch, 32), of observations (batch, h, w, channels)."""
        height, width = (side // SIDE for side in observations.shape[1:3])
        return self.encoder(observations[:, ::height, ::width].flatten(1).float() / 255)


gym.register("FakeDreams-v0", vector_entry_point="experiments.fake_dreams:FakeDreams")
