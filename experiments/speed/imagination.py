"""Imagined steps a second: world model, agent and all that is between them."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from ray.rllib.core.rl_module.rl_module import RLModuleSpec

from envs.pool import fill_pool
from experiments.speed.plain_dreams import PlainDreams, Setting
from experiments.speed.real import ACTIONS
from experiments.speed.roofline import Roofline, Work, count
from experiments.speed.timing import Rate, in_turns, memory_mb, seconds_of
from rl.imagination import ImaginationPPOConfig
from rl.imagination_runner import ImaginationEnvRunner
from rl.module import PixelModule
from worldmodel.base import WorldModel
from worldmodel.data.starts import Starts
from worldmodel.families import Family
from worldmodel.latent.config import LatentConfig, SamplerConfig
from worldmodel.latent.model import LatentWorldModel
from worldmodel.pixel.config import EulerConfig, PixelConfig
from worldmodel.pixel.model import PixelWorldModel
from worldmodel.spaces import ActionSpec, Observation

SEES: dict[Family, Observation] = {"latent": "latents", "pixel": "frames"}
"""What the agent is shown."""
NETWORKS = ("denoising", "reward and end")
"""what a family's networks are for, in their order"""
_STACK, _HORIZON, _STARTS = 4, 48, 64
_ROLLOUT: dict[Family, int] = {"latent": 4, "pixel": 1}
"""steps of every dream in a turn"""
_GPU_ROLLOUT = 16
"""the same on a GPU, whose steps are so short that a turn's beginning and end would count"""


@dataclass(frozen=True)
class Imagined:
    """How fast a family dreams, in imagined steps a second.

    Attributes:
        family: The family of world models.
        calls: Network calls a frame.
        dreams: Dreams at a time.
        rates: By way: "plain", "plain, compiled" (the two functions that DIAMOND compiles), "ours".
        milliseconds: Of one step of all dreams, ours: "denoising", "reward and end", "policy", "copies".
        memory_mb: What the process, which has both models, held while ours dreamed.
        roofline: Imagined steps a second that the device could do at most.
    """

    family: Family
    calls: int
    dreams: int
    rates: dict[str, Rate]
    milliseconds: dict[str, float]
    memory_mb: float
    roofline: float

    def ratio(self, way: str) -> float:
        """How many times as fast as that way ours is."""
        return self.rates["ours"].per_second / self.rates[way].per_second


@dataclass(frozen=True)
class ImaginationSettings:
    """Which dreams are measured."""

    dreams: tuple[int, ...] = (1, 4, 16, 64, 256, 1024)
    """numbers of dreams at a time; more than `patience` allows are left out"""
    latent_calls: tuple[int, ...] = (1, 2, 4)
    """network calls a frame of the latent family"""
    pixel_calls: tuple[int, ...] = (3,)
    """the same of the pixel family"""
    beside_compiled: tuple[int, ...] = (32, 64)
    """numbers of dreams at which the plain way is measured with its two functions compiled, too"""
    steps_ahead: int = 1_000_000
    """imagined steps that are to come, by which ours decides whether faster ways are worth trying"""
    patience: float = 12.0
    """seconds that the plain way may take for one step of all dreams"""

    @property
    def numbers(self) -> list[int]:
        """All numbers of dreams, fewest first."""
        return sorted({*self.dreams, *self.beside_compiled})


def measure_imagination(
    settings: ImaginationSettings, family: Family, seconds: float, device: str, roofline: Roofline
) -> Iterator[Imagined]:
    """How fast one family dreams, for every number of network calls and of dreams."""
    calls = settings.latent_calls if family == "latent" else settings.pixel_calls
    for of_a_frame in calls:
        model = build_model(family, of_a_frame).to(device).eval()
        each = 0.0
        for dreams in settings.numbers:
            if each * dreams > settings.patience:
                break
            bench = DreamBench(model, family, dreams, settings.steps_ahead // dreams, device)
            each = bench.plain_seconds / dreams
            yield bench.measured(of_a_frame, seconds, roofline, dreams in settings.beside_compiled)


def build_model(family: Family, calls: int) -> WorldModel:
    """A world model as it is by default, and as it is after its first round: the latent one wears an adapter."""
    spec = ActionSpec.discrete(ACTIONS)
    torch.manual_seed(0)
    if family == "pixel":
        return PixelWorldModel(PixelConfig(sampler=EulerConfig(steps=calls)), spec)
    model = LatentWorldModel(LatentConfig(sampler=SamplerConfig(steps=calls)), spec)
    model.adapt()
    return model


class DreamBench:
    """The same dreams, by the same agent, in the ways that there are."""

    def __init__(self, model: WorldModel, family: Family, dreams: int, steps_ahead: int, device: str) -> None:
        """Make ready; ours takes the fastest way for so many steps of all dreams."""
        self._family, self._model, self._dreams, self._device = family, model, dreams, device
        self._length = rollout_of(family, device)
        observation = SEES[family]
        self.ours = make_runner(fused(model), dreams, observation, steps_ahead, device)
        self.ours.imagine(self._length)
        pool = fill_pool(model, random_starts(model), observation, _STACK, torch.device(device))
        self._setting = Setting(model, self.ours.module, pool, dreams, _HORIZON, observation)
        self.plain = PlainDreams(self._setting, seed=0)

    @property
    def plain_seconds(self) -> float:
        """What a step of all dreams takes the plain way."""
        return seconds_of(lambda: self.plain.imagine(1), self._device)

    def measured(self, calls: int, seconds: float, roofline: Roofline, compiled: bool) -> Imagined:
        """Every way, each for some seconds; `compiled`: the plain one with its networks compiled, too."""
        imagines: dict[str, Callable[[int], object]] = {"plain": self.plain.imagine}
        if compiled:
            imagines["plain, compiled"] = PlainDreams(self._setting, 0, _compiled(self._model)).imagine
        imagines["ours"] = self.ours.imagine
        ways = {name: turn_of(imagine, self._length, self._dreams) for name, imagine in imagines.items()}
        rates = in_turns(ways, seconds, self._device)
        least = roofline.seconds(self._work())
        memory = memory_mb(ways["ours"], self._device)
        return Imagined(self._family, calls, self._dreams, rates, self._split(), memory, self._dreams / least)

    def _work(self) -> Work:
        """What a step of all dreams has to do; counted for one dream, since the work grows as their number does."""
        one = _OneDream(self._setting)
        weights = [weight for network in fused(self._model).networks for weight in network.parameters()]
        counted = count(one.step, [*weights, *self._setting.module.parameters()])
        return Work(self._dreams * counted.operations, counted.bytes)

    def _split(self) -> dict[str, float]:
        """Where the time of ours goes, milliseconds for a step of all dreams."""
        model, module = self.ours.dreams.world_model, self.ours.module
        spent: dict[str, float] = defaultdict(float)
        backends = [model.backend_of(network) for network in model.networks]
        named = zip(backends, NETWORKS, strict=True)
        model.use_backends([_timed(backend, spent, name, self._device) for backend, name in named])
        module.__dict__["act"] = _timed(module.act, spent, "policy", self._device)
        whole = seconds_of(lambda: self.ours.imagine(self._length), self._device)
        model.use_backends(backends)
        del module.__dict__["act"]
        parts = {name: spent[name] for name in (*NETWORKS, "policy")}
        parts["copies"] = whole - sum(parts.values())
        return {name: 1000 * seconds / self._length for name, seconds in parts.items()}


def rollout_of(family: Family, device: str) -> int:
    """Steps of every dream in a turn."""
    return _GPU_ROLLOUT if device == "cuda" else _ROLLOUT[family]


def turn_of(imagine: Callable[[int], object], length: int, dreams: int) -> Callable[[], int]:
    """A turn of `length` steps of all dreams, which tells how many those are; `imagine` moves so many `dreams` on."""

    def turn() -> int:
        imagine(length)
        return length * dreams

    return turn


class _OneDream:
    """One dream and its agent, plain."""

    def __init__(self, setting: Setting) -> None:
        model, self._module = setting.model, setting.module
        self._model = fused(model)
        begun = setting.pool.draw(1, torch.Generator(setting.pool.stacks.device).manual_seed(0))
        self._begun, self._seen = begun.dreams, begun.stacks
        self._actions = torch.from_numpy(model.action_spec.zeros(1)).to(self._seen.device)

    def step(self) -> None:
        """One step."""
        self._module.act(self._seen)
        self._model.step(self._begun, self._actions)


def make_runner(
    model: WorldModel, dreams: int, observation: Observation, steps_ahead: int, device: str
) -> ImaginationEnvRunner:
    """Who plays the default agent in these dreams."""
    face = {
        "world_model": model,
        "observation": observation,
        "stack": _STACK,
        "horizon": _HORIZON,
        "starts": random_starts(model),
        "steps_ahead": steps_ahead,
        "device": device,
    }
    config = (
        ImaginationPPOConfig()
        .environment("envs:NeuralEnv-v0", env_config=face)
        .imagination(dreams=dreams)
        .rl_module(rl_module_spec=RLModuleSpec(module_class=PixelModule, model_config={"stack": _STACK}))
        .debugging(seed=0)
    )
    return ImaginationEnvRunner(config=config)


def random_starts(model: WorldModel) -> Starts:
    """Contexts of noise."""
    rng, context, spec = np.random.default_rng(0), model.context, model.action_spec
    frames = rng.integers(256, size=(_STARTS, context, *model.frame_shape)).astype(np.uint8)
    return Starts.of(frames, spec.zeros(_STARTS, context - 1), np.ones((_STARTS, context), np.bool_))


def fused(model: WorldModel) -> WorldModel:
    """A copy, with its adapter worked in if it wears one."""
    copied = deepcopy(model)
    return copied.fuse() if isinstance(copied, LatentWorldModel) else copied


def _compiled(model: WorldModel) -> Callable[..., Any]:
    """The step of a copy whose networks are compiled, in float32."""
    copied = deepcopy(model)
    copied.use_backends([torch.compile(network, dynamic=False) for network in copied.networks])
    return copied.step


def _timed(call: Callable[..., Any], spent: dict[str, float], name: str, device: str) -> Callable[..., Any]:
    def timed(*arguments: Any) -> Any:
        said: list[Any] = []
        spent[name] += seconds_of(lambda: said.append(call(*arguments)), device)
        return said[0]

    return timed
