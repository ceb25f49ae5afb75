"""The agent's network: a policy and a value from pixels or latents, as RLlib's PPO wants it."""

import math
from dataclasses import asdict, dataclass, fields
from typing import Any, Self, TypeVar

import gymnasium as gym
import numpy as np
import torch
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.apis import ValueFunctionAPI
from ray.rllib.core.rl_module.torch import TorchRLModule
from torch import Tensor, nn

from envs.actions import spec_of
from rl.policy_head import policy_head
from rl.settings import ImagineSettings
from worldmodel.errors import UserError

Layer = TypeVar("Layer", nn.Linear, nn.Conv2d)


@dataclass(frozen=True)
class PixelModuleConfig:
    """What defines a `PixelModule`; `dataclasses.asdict` makes RLlib's `model_config` of it."""

    width: int = 16
    """channels that raw pixels become in the first convolution; each later one doubles them"""
    max_width: int = 64
    """most channels of a convolution"""
    hidden: int = 256
    """width of the layer that policy and value share"""
    stack: int = 1
    """observations that are stacked in the channels, newest last"""
    motion: float = 3.0
    """how much changes between stacked observations are magnified"""
    normalized: bool = False
    """normalise what comes out of every layer that policy and value share (layer normalisation: Ba et al., 2016), so
    that what matters is not drowned by what is large"""

    @classmethod
    def from_model_config(cls, model_config: Any) -> Self:
        """The config in RLlib's `model_config`, to which RLlib adds keys of its own."""
        return cls(**{f.name: model_config[f.name] for f in fields(cls) if f.name in model_config})


def agent_network(settings: ImagineSettings) -> dict[str, Any]:
    """RLlib's `model_config` of the agent that these settings ask for."""
    return asdict(PixelModuleConfig(stack=settings.stack, normalized=settings.normalized))


class PixelModule(TorchRLModule, ValueFunctionAPI):
    """A convolutional policy and value network that share all but their last layer.

    Takes uint8 frames (height, width, channels), cast to floats on the device, or float32 latents (h, w, channels);
    actions of any kind that an `ActionSpec` can tell. Of stacked observations it is shown the newest and, magnified,
    the changes that led to it: between two frames little else differs than what matters. Strided convolutions shrink
    the picture to at most 4x4, whatever its size.

    Attributes:
        policy: The last layer of the policy, which also draws actions.
    """

    VALUE_CHUNK = 1024
    """observations that are valued at a time where no gradient is asked for; bounds the memory"""

    def setup(self) -> None:
        """Build the network; called by RLlib.

        Raises:
            UserError: If the spaces are not ones that the module understands.
        """
        observations, actions = _checked(self.observation_space), spec_of(self.action_space, "the environment")
        config = PixelModuleConfig.from_model_config(self.model_config)
        self.stack, self.motion = config.stack, config.motion
        trunk, features = _trunk(observations, config)
        hidden = _orthogonal(nn.Linear(features, config.hidden))
        norm = (nn.LayerNorm(config.hidden),) if config.normalized else ()
        self.encoder = nn.Sequential(trunk, nn.Flatten(), hidden, *norm, nn.ReLU())
        self.policy = policy_head(config.hidden, actions)
        self.action_dist_cls = self.policy.distribution
        self.value = _orthogonal(nn.Linear(config.hidden, 1), gain=1.0)

    def embed(self, observations: Tensor) -> Tensor:
        """What policy and value are read from: float32, (batch, hidden), of observations (batch, h, w, channels)."""
        pixels = observations.permute(0, 3, 1, 2)
        return self.encoder(self._moving(pixels.float() / 255 if observations.dtype == torch.uint8 else pixels))

    def _moving(self, pixels: Tensor) -> Tensor:
        """The newest of the stacked pictures and the changes that led to it, (batch, channels, h, w) as they came."""
        stacked = pixels.unflatten(1, (self.stack, -1))
        return torch.cat([self.motion * stacked.diff(dim=1), stacked[:, -1:]], dim=1).flatten(1, 2)

    @torch.no_grad()
    def act(self, observations: Tensor) -> tuple[Tensor, Tensor]:
        """What the policy says, (batch, dist_inputs), and values, (batch,), of observations (batch, h, w, channels)."""
        embeddings = self.embed(observations)
        return self.policy(embeddings), self.value(embeddings).squeeze(-1)

    def compute_values(self, batch: dict[str, Any], embeddings: Tensor | None = None) -> Tensor:
        """Values, (batch,), of `batch["obs"]`; without `embeddings` no gradient is kept."""
        if embeddings is None:
            with torch.no_grad():
                return torch.cat([self._values(chunk) for chunk in batch[Columns.OBS].split(self.VALUE_CHUNK)])
        return self.value(embeddings).squeeze(-1)

    def _values(self, observations: Tensor) -> Tensor:
        return self.value(self.embed(observations)).squeeze(-1)

    def _forward(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        return {Columns.ACTION_DIST_INPUTS: self.policy(self.embed(batch[Columns.OBS]))}

    def _forward_train(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        embeddings = self.embed(batch[Columns.OBS])
        return {Columns.ACTION_DIST_INPUTS: self.policy(embeddings), Columns.EMBEDDINGS: embeddings}


def _checked(observations: Any) -> gym.spaces.Box:
    if not isinstance(observations, gym.spaces.Box) or len(observations.shape) != 3:
        raise UserError(
            f"PixelModule needs observations of shape (height, width, channels), not {observations};"
            " make the game with envs.make_real, or use another RLModule."
        )
    return observations


def _trunk(space: gym.spaces.Box, config: PixelModuleConfig) -> tuple[nn.Sequential, int]:
    """The convolutions, and how many features come out of them."""
    height, width, channels = space.shape
    layers: list[nn.Module] = []
    while not layers or max(height, width) > 4:
        raw = not layers and space.dtype == np.uint8
        stride = 4 if raw else 2
        filters = config.width if raw else min(2 * channels, config.max_width)
        # One group: a layer normalisation over channels and places.
        norm = (nn.GroupNorm(1, filters),) if config.normalized else ()
        layers += [_convolution(channels, filters, stride), *norm, nn.ReLU()]
        height, width, channels = math.ceil(height / stride), math.ceil(width / stride), filters
    return nn.Sequential(*layers), channels * height * width


def _convolution(channels: int, filters: int, stride: int) -> nn.Conv2d:
    """A convolution that divides the picture's sides by its stride, rounded up."""
    return _orthogonal(nn.Conv2d(channels, filters, kernel_size=2 * stride - 1, stride=stride, padding=stride - 1))


def _orthogonal(layer: Layer, gain: float = math.sqrt(2)) -> Layer:
    nn.init.orthogonal_(layer.weight, gain)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer
