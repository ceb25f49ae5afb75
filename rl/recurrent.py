"""A policy that remembers: DIAMOND's actor and critic (Alonso et al., 2024), for its published weights to play."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from rl.players import Glimpse, Player, View
from rl.policies import PolicySnapshot, PolicySpec, check_weights, chosen
from rl.policy_head import policy_head
from worldmodel.pixel.blocks import Norm, conv3x3
from worldmodel.plain import from_plain
from worldmodel.spaces import ActionSpec, FrameShape

_THEIRS = {"actor_linear.": "policy.", "critic_linear.": "value.", "encoder.encoder.": "encoder."}
"""How names in published files begin, and ours."""


@dataclass(frozen=True)
class RecurrentConfig:
    """What defines a recurrent policy's network."""

    channels: tuple[int, ...] = (32, 32, 64, 64)
    """width at each resolution; the picture is halved after every one"""
    hidden: int = 512
    """width of its LSTM"""


class RecurrentNetwork(nn.Module):
    """Convolutions, an LSTM that remembers the game, and a policy and a value read from its memory."""

    def __init__(self, config: RecurrentConfig, frame_shape: FrameShape, actions: ActionSpec) -> None:
        """A network for frames of one size, unstacked."""
        super().__init__()
        height, width, channels = frame_shape
        layers: list[nn.Module] = [conv3x3(channels, config.channels[0])]
        for entering, filters in pairwise([config.channels[0], *config.channels]):
            layers += [_Block(entering, filters), nn.MaxPool2d(2)]
        shrunk = 2 ** len(config.channels)
        self.hidden = config.hidden
        self.encoder = nn.Sequential(*layers, nn.Flatten())
        self.lstm = nn.LSTMCell(config.channels[-1] * (height // shrunk) * (width // shrunk), config.hidden)
        self.policy = policy_head(config.hidden, actions)
        self.value = nn.Linear(config.hidden, 1)

    def remember(self, frames: Tensor, memory: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """What is remembered after frames uint8 (batch, height, width, channels): hidden and cell, (batch, hidden)."""
        return self.lstm(self.encoder(frames.permute(0, 3, 1, 2) / 255 * 2 - 1), memory)


class _Block(nn.Module):
    """One convolution beside a shortcut; parts are named as in published files."""

    def __init__(self, channels: int, filters: int) -> None:
        super().__init__()
        self.f = nn.Sequential(Norm(channels), nn.SiLU(), conv3x3(channels, filters))
        self.skip_projection = nn.Identity() if channels == filters else nn.Conv2d(channels, filters, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.skip_projection(x) + self.f(x)


class RecurrentPolicy:
    """Chooses actions by what is remembered of a game: its observations are the network's hidden state."""

    def __init__(self, snapshot: PolicySnapshot, greedy: bool) -> None:
        """Build the network of `snapshot`; `greedy` takes the likeliest action, else it is sampled.

        Raises:
            UserError: If its weights are not those of its network.
        """
        self.version = snapshot.version
        self.world_model_version = snapshot.world_model_version
        self.source = snapshot.source
        self.network = _network(snapshot.spec)
        self._greedy = greedy
        check_weights(_arrays(self.network.state_dict()), snapshot.weights)
        self.network.load_state_dict({name: torch.from_numpy(array) for name, array in snapshot.weights.items()})

    @torch.no_grad()
    def act(self, observations: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
        """Actions, (batch, ...), of what is remembered, float32 (batch, hidden)."""
        policy = self.network.policy
        return chosen(policy, policy(torch.from_numpy(observations)), self._greedy, rng)


class Remembered(View):
    """What a recurrent network remembers of the games that it sees; a game that begins is remembered afresh."""

    def __init__(self, network: RecurrentNetwork) -> None:
        self._network = network
        self._memory = torch.zeros(2, 0, network.hidden)

    def start(self, recent: Sequence[Glimpse]) -> None:
        """Look at the games that are under way, as far as they are `recent`, newest last."""
        games = len(recent[0].frames)
        self._memory = torch.zeros(2, games, self._network.hidden)
        for glimpse in recent:
            self.look(glimpse, np.arange(games))

    @torch.no_grad()
    def look(self, glimpse: Glimpse, rows: NDArray[np.int64]) -> None:
        """See the newest frames of the games `rows`."""
        if len(rows):
            games = torch.from_numpy(rows)
            hidden, cell = self._memory[:, games] * torch.from_numpy(~glimpse.restarted[rows])[:, None]
            after = self._network.remember(torch.from_numpy(glimpse.frames[rows]), (hidden, cell))
            self._memory[:, games] = torch.stack(after)

    def of(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """What is remembered of the games `rows`: hidden states, float32 (len(rows), hidden)."""
        return self._memory[0, torch.from_numpy(rows)].numpy()


def recurrent_player(snapshot: PolicySnapshot, greedy: bool) -> Player:
    """The policy, and its memory."""
    policy = RecurrentPolicy(snapshot, greedy)
    return Player(policy, Remembered(policy.network))


def published_policy(weights: Mapping[str, Tensor], actions: ActionSpec) -> PolicySnapshot:
    """The policy that a file of DIAMOND's holds; see `worldmodel.pixel.published.Published`.

    Raises:
        UserError: If the weights are not those of its network.
    """
    spec = PolicySpec("frames", (64, 64, 3), 1, actions, asdict(RecurrentConfig()), network="recurrent")
    snapshot = PolicySnapshot(spec, {_renamed(name): array for name, array in _arrays(weights).items()})
    check_weights(_arrays(_network(spec).state_dict()), snapshot.weights)
    return snapshot


def _network(spec: PolicySpec) -> RecurrentNetwork:
    config = from_plain(RecurrentConfig, spec.model_config, "the policy's model_config")
    return RecurrentNetwork(config, spec.observation_shape, spec.actions)


def _renamed(name: str) -> str:
    for theirs, ours in _THEIRS.items():
        if name.startswith(theirs):
            return ours + name.removeprefix(theirs)
    return name


def _arrays(weights: Mapping[str, Tensor]) -> dict[str, NDArray[Any]]:
    return {name: tensor.numpy() for name, tensor in weights.items()}
