"""Who plays: a random policy, or a network that was trained.

Torch and RLlib are imported only where a network is built: a collector of random play does without them.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, cast

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from envs.actions import space_of
from envs.encoded import stacked_space
from worldmodel.data.episode import Source
from worldmodel.errors import UserError, in_short
from worldmodel.files import write_json, write_whole, writing
from worldmodel.plain import from_plain, to_plain
from worldmodel.spaces import ActionSpec, Observation

if TYPE_CHECKING:
    import torch

    from rl.module import PixelModule
    from rl.policy_head import PolicyHead

_WEIGHTS, _SPEC = "policy.safetensors", "policy.json"
_HOLD_POWER = 1.5
"""How fast the chance of holding an action for so many steps falls with their number. With 1.5 and 128 steps at most,
Freeway's road is crossed as often as with geometric durations of 32 on average, with four times as many changes."""


class Policy(Protocol):
    """Chooses actions.

    Attributes:
        version: Which policy of its source it is; 0 for random play.
        world_model_version: Which world model it was trained in; 0 for none.
        source: What its episodes are marked with.
    """

    version: int
    world_model_version: int
    source: Source

    def act(self, observations: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
        """Actions, (batch, ...), on seeing stacked observations, (batch, h, w, channels)."""


class RandomPolicy:
    """Takes every action equally often, each component by itself, and perhaps for a while.

    Where much has to be done in a row, random actions that are held get further. For how long is drawn from a power law
    (Dabney et al., 2021): most are short, so that play also shows what comes of changing one's mind, but some are long.
    """

    version = 0
    world_model_version = 0
    source: Source = "random"

    def __init__(self, spec: ActionSpec, hold: int = 1) -> None:
        """Play a game with the actions of `spec`; an action is held for `hold` steps at most."""
        self._spec = spec
        weights = np.arange(1, hold + 1) ** -_HOLD_POWER
        self._durations = weights.cumsum() / weights.sum()
        self._held = spec.draw(np.random.default_rng(0), 0)
        self._left = np.zeros(0, np.int64)

    def act(self, observations: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
        """Draw actions, or go on with the last ones; the observations are not looked at."""
        actions = self._spec.draw(rng, len(observations))
        if len(self._durations) > 1:
            # Where games came or went, everybody draws anew.
            left = self._left - 1 if len(self._left) == len(actions) else np.zeros(len(actions), np.int64)
            held = left > 0
            actions[held] = self._held[np.flatnonzero(held)]
            self._left = np.where(held, left, 1 + self._durations.searchsorted(rng.random(len(actions))))
            self._held = actions.copy()
        return actions


class ExploringPolicy:
    """Another policy, but every now and then a random action: epsilon-greedy (Sutton and Barto, 2018, 2.2)."""

    def __init__(self, policy: Policy, spec: ActionSpec, epsilon: float) -> None:
        """Play `policy` in a game with the actions of `spec`, and at random with probability `epsilon`."""
        self.version, self.world_model_version, self.source = policy.version, policy.world_model_version, policy.source
        self._policy, self._spec, self._epsilon = policy, spec, epsilon

    def act(self, observations: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
        """Actions, (batch, ...), on seeing stacked observations, (batch, h, w, channels)."""
        actions = self._policy.act(observations, rng)
        at_random = rng.random(len(actions)) < self._epsilon
        actions[at_random] = self._spec.draw(rng, int(at_random.sum()))
        return actions


@dataclass(frozen=True)
class PolicySpec:
    """What is needed to build a policy's network.

    Attributes:
        observation: Whether it sees frames or latents.
        observation_shape: (h, w, channels) of one observation, unstacked.
        stack: Newest observations that it sees at once.
        actions: What it chooses from.
        model_config: The fields of `rl.module.PixelModuleConfig` by name.
        encoder_hash: The encoder that its latents come from; None if it sees frames.
        network: A `PixelModule`, or one that remembers, whose `model_config` is an `rl.recurrent.RecurrentConfig`.
    """

    observation: Observation
    observation_shape: tuple[int, int, int]
    stack: int
    actions: ActionSpec
    model_config: dict[str, Any] = field(default_factory=dict)
    encoder_hash: str | None = None
    network: Literal["convolutional", "recurrent"] = "convolutional"

    @property
    def observation_space(self) -> gym.spaces.Box:
        """The space of stacked observations."""
        return stacked_space(
            self.observation_shape, np.uint8 if self.observation == "frames" else np.float32, self.stack
        )

    def build(self) -> "PixelModule":
        """The network, with fresh weights, if it is a `PixelModule`."""
        from ray.rllib.core.rl_module import RLModuleSpec

        from rl.module import PixelModule

        spec = RLModuleSpec(
            module_class=PixelModule,
            observation_space=self.observation_space,
            action_space=space_of(self.actions),
            model_config=self.model_config,
        )
        return cast(PixelModule, spec.build())


@dataclass(frozen=True, eq=False)
class PolicySnapshot:
    """A policy as it travels and as it is saved: how to build its network, and the weights, as in `get_state()`.

    Attributes:
        spec: How to build it.
        weights: The network's parameters by name.
        version: Which policy it is.
        world_model_version: Which world model it was trained in; 0 for none.
        source: What its episodes are marked with.
        real_steps: Real steps that its training took; 0 for one that was trained in dreams.
    """

    spec: PolicySpec
    weights: Mapping[str, NDArray[Any]]
    version: int = 0
    world_model_version: int = 0
    source: Source = "policy"
    real_steps: int = 0


class ModulePolicy:
    """A network that plays, on the CPU."""

    def __init__(self, snapshot: PolicySnapshot, greedy: bool) -> None:
        """Build the network of `snapshot`; `greedy` takes the likeliest action, else it is sampled.

        Raises:
            UserError: If its weights are not those of its network.
        """
        self.version = snapshot.version
        self.world_model_version = snapshot.world_model_version
        self.source: Source = snapshot.source
        self._greedy = greedy
        self._module = snapshot.spec.build()
        check_weights(self._module.get_state(inference_only=False), snapshot.weights)
        self._module.set_state(dict(snapshot.weights))

    def act(self, observations: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
        """Actions, (batch, ...), on seeing stacked observations, (batch, h, w, channels)."""
        import torch

        with torch.inference_mode():
            dist_inputs, _ = self._module.act(torch.from_numpy(observations))
            return chosen(self._module.policy, dist_inputs, self._greedy, rng)


def chosen(policy: "PolicyHead", dist_inputs: "torch.Tensor", greedy: bool, rng: np.random.Generator) -> NDArray[Any]:
    """The actions that a game is given, (batch, ...), by what the policy says, (batch, dist_inputs)."""
    actions = policy.mode(dist_inputs) if greedy else policy.draw(dist_inputs, _generator(rng))[0]
    return policy.executed(actions).numpy()


def _generator(rng: np.random.Generator) -> "torch.Generator":
    import torch

    return torch.Generator().manual_seed(int(rng.integers(2**63)))


def check_weights(own: Mapping[str, NDArray[Any]], given: Mapping[str, NDArray[Any]]) -> None:
    """Refuse the `given` weights where a network's `own` have other names or shapes.

    Raises:
        UserError: Naming one that is odd.
    """
    # RLlib leaves a weight that is missing as it was drawn.
    wanted, found = ({name: np.shape(array) for name, array in weights.items()} for weights in (own, given))
    if odd := {name for name, _ in wanted.items() ^ found.items()}:
        raise UserError(f"the policy's weights do not fit its network ({min(odd)}): give a policy as it was saved.")


def check_suits(policy: PolicySnapshot, agent: PolicySnapshot, folder: Path) -> None:
    """Refuse the `policy` in `folder` if `agent` cannot go on from it.

    Raises:
        UserError: If it has other actions, sees something else or through another encoder, or is another network.
    """
    given, own = policy.spec, agent.spec
    if not given.actions.fits(own.actions):
        raise UserError(
            f"the policy in {folder} has {given.actions}, the game has {own.actions}:"
            " give one that was trained in this game."
        )
    if _sight(given) != _sight(own):
        raise UserError(
            f"the policy in {folder} sees {_sight(given)}, the agent {_sight(own)}: choose the same"
            " (imagine.observation, imagine.stack, the size of a frame), or give another policy."
        )
    if not _same_network(given, own):
        raise UserError(
            f"the policy in {folder} is another network than the agent's: choose the same (imagine.normalized), or give"
            " another policy."
        )
    if given.encoder_hash != own.encoder_hash:
        raise UserError(
            f"the policy in {folder} sees the latents of another encoder: it suits runs that begin from the"
            " same base of ours and leave its encoder as it is (fit.base_autoencoder_steps 0); one on frames suits any."
        )
    check_weights(agent.weights, policy.weights)


def _sight(spec: PolicySpec) -> str:
    return f"{spec.stack} {spec.observation} of {' x '.join(map(str, spec.observation_shape))}"


def _same_network(given: PolicySpec, own: PolicySpec) -> bool:
    from rl.module import PixelModuleConfig  # imports torch

    configs = [PixelModuleConfig.from_model_config(spec.model_config) for spec in (given, own)]
    return given.network == own.network and configs[0] == configs[1]


def save_policy(folder: str | Path, snapshot: PolicySnapshot) -> None:
    """Write a policy to `folder`: `policy.safetensors` and `policy.json`."""
    folder = Path(folder)
    weights = save({name: np.ascontiguousarray(w) for name, w in snapshot.weights.items()})
    checksum = hashlib.sha256(weights).hexdigest()
    card = _Card(snapshot.spec, snapshot.version, snapshot.world_model_version, snapshot.real_steps, checksum)
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / _WEIGHTS, weights)
    write_json(folder / _SPEC, to_plain(card))


def load_policy(folder: str | Path, source: Source = "policy") -> PolicySnapshot:
    """Read what `save_policy` wrote; its episodes will be marked with `source`.

    Raises:
        UserError: If there is no policy in `folder`, or it is damaged.
    """
    folder = Path(folder)
    try:
        card = from_plain(_Card, json.loads((folder / _SPEC).read_text()), str(folder / _SPEC))
        weights = (folder / _WEIGHTS).read_bytes()
        if card.sha256 not in (None, hashlib.sha256(weights).hexdigest()):
            raise ValueError(f"the checksum of {_WEIGHTS} differs")
        arrays = load(weights)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UserError(f"{folder} holds no policy ({error.filename} is missing): train one there first.") from error
    except (OSError, ValueError, SafetensorError) as error:
        raise UserError(f"{folder} is damaged ({in_short(error)}): restore it from a copy, or train anew.") from error
    return PolicySnapshot(card.spec, arrays, card.version, card.world_model_version, source, card.real_steps)


@dataclass(frozen=True)
class _Card:
    """What `policy.json` says."""

    spec: PolicySpec
    version: int
    world_model_version: int
    real_steps: int
    sha256: str | None = None
