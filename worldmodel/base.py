"""The contract every family of world models keeps."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from math import inf
from pathlib import Path
from typing import Self

import torch
from torch import Tensor, nn

from worldmodel.autotune import Network, autotune, autotune_chunks
from worldmodel.data.segment import Segment
from worldmodel.spaces import ActionSpec, Observation


@dataclass(frozen=True)
class Dream:
    """The state of a batch of imagined games: batch-first tensors and nothing else.

    Subclasses add the tensors their family needs. Whatever a dream remembers is in here, so that a finished dream is
    replaced by index, on the device, without a Python loop.
    """

    def __getitem__(self, index: Tensor | slice) -> Self:
        """The dreams at `index`: a slice, or int64 (n,)."""
        return replace(self, **{f.name: getattr(self, f.name)[index] for f in fields(self)})

    def __len__(self) -> int:
        return len(getattr(self, fields(self)[0].name))

    def where(self, finished: Tensor, fresh: Self) -> Self:
        """These dreams, with those that are `finished` (bool, (batch,)) replaced by the `fresh` ones beside them."""
        return replace(self, **{f.name: choose(finished, getattr(fresh, f.name), getattr(self, f.name))
                                for f in fields(self)})  # fmt: skip


def choose(condition: Tensor, yes: Tensor, no: Tensor) -> Tensor:
    """`yes` in the rows where `condition` (bool, (batch,)) holds, elsewhere `no`; both (batch, ...)."""
    return torch.where(condition.view(-1, *[1] * (no.ndim - 1)), yes, no)


@dataclass(frozen=True)
class Step:
    """What one imagined step brings besides the picture.

    Attributes:
        rewards: float32, (batch,).
        terminated: bool, (batch,), sampled from the predicted probability.
        doubt: float32, (batch,), how strange what is seen is, against real play; 0 where nobody can tell.
        end_probability: float32, (batch,), what `terminated` was drawn from.
        sign_probabilities: float32, (batch, 3), of a reward below, at and above 0, where rewards are drawn by their
            sign; None where they are expected values.
    """

    rewards: Tensor
    terminated: Tensor
    doubt: Tensor
    end_probability: Tensor
    sign_probabilities: Tensor | None = None


class WorldModel(nn.Module, ABC):
    """A learned game.

    Same seed, same number of dreams, same device: same dream, given the same `generator`.
    Nothing is decoded until somebody looks: `step` moves the dream on, `observe` shows it.

    Attributes:
        action_spec: The game's actions.
        frame_shape: (height, width, 3) of a frame.
        context: How many frames the model is shown.
    """

    action_spec: ActionSpec
    frame_shape: tuple[int, int, int]
    context: int

    def __init__(self) -> None:
        super().__init__()
        self._backends: dict[nn.Module, Network] = {}

    @property
    def networks(self) -> tuple[nn.Module, ...]:
        """Those that a step of a dream goes through, where another backend may be faster.

        The first one predicts pictures: it takes and gives tensors, the batch first.
        """
        return ()

    def backend_of(self, network: nn.Module) -> Network:
        """What computes `network`: itself, or the backend that `use_backends` or `autotune` chose."""
        return self._backends.get(network, network)

    def use_backends(self, backends: Sequence[Network]) -> None:
        """Compute the `networks`, in their order, by these from here on."""
        self._backends = dict(zip(self.networks, backends, strict=True))

    @torch.no_grad()
    def autotune(self, dream: Dream, actions: Tensor, times: int) -> None:
        """Dream by the fastest backends from here on, if steps like this one are to be taken so many times.

        They are tried; see `worldmodel.autotune`. They stay when other weights are loaded.

        Args:
            dream: Dreams like those to come.
            actions: As in `step`.
            times: How many steps are to come. Where they do not take long, all stays as it is.
        """
        if not self.networks:
            return
        generator = torch.Generator(actions.device)

        def step(backends: Sequence[Network]) -> None:
            self.use_backends(backends)
            self.step(dream, actions, generator)

        backends = autotune(self.networks, step, times)
        if actions.device.type == "cpu":
            # Its caches are small; a GPU is the faster the more it is given at a time.
            backends = autotune_chunks(backends, len(actions), step, times)
        self.use_backends(backends)

    @property
    def doubt_limit(self) -> Tensor | float:
        """A dream that is doubted more than this has drifted; a number, or float32 () on the model's device."""
        return inf

    @abstractmethod
    def begin(self, frames: Tensor, actions: Tensor, mask: Tensor, latents: Tensor | None = None) -> Dream:
        """Dreams that go on from real play.

        Args:
            frames: uint8, (batch, context, height, width, 3), newest last.
            actions: (batch, context - 1, *action_spec.shape): `actions[:, i]` led from `frames[:, i]` to
                `frames[:, i + 1]`.
            mask: bool, (batch, context): False where a frame only pads the start of a game.
            latents: float32, (batch, context, h, w, channels), what `encode` makes of the frames; None: not known.
        """

    @abstractmethod
    def step(self, dream: Dream, actions: Tensor, generator: torch.Generator | None = None) -> tuple[Dream, Step]:
        """The dreams after `actions` (batch, *action_spec.shape), and what came of them; one batched forward."""

    @abstractmethod
    def read(self, frames: Tensor, actions: Tensor, mask: Tensor, generator: torch.Generator | None = None) -> Step:
        """What the newest of real frames brought: reward and end, read off real play instead of a dream.

        Args:
            frames: uint8, (batch, context + 1, height, width, 3), newest last.
            actions: (batch, context, *action_spec.shape): `actions[:, i]` led from `frames[:, i]` to
                `frames[:, i + 1]`.
            mask: bool, (batch, context + 1): False where a frame only pads the start of a game.
            generator: What rewards and ends are drawn with.
        """

    @abstractmethod
    def observe(self, dream: Dream, observation: Observation = "frames") -> Tensor:
        """The newest picture of each dream.

        Returns:
            For "frames", uint8, (batch, height, width, 3); for "latents", float32, (batch, h, w, channels).
        """

    @abstractmethod
    def encode(self, frames: Tensor) -> Tensor:
        """Real frames (uint8, (batch, height, width, 3)) as the "latents" observation, float32 (batch, h, w, c)."""

    @abstractmethod
    def reconstruct(self, frames: Tensor) -> Tensor:
        """What the model can show of real frames (uint8, (batch, height, width, 3)): the ceiling of its pictures."""

    @abstractmethod
    def observation_shape(self, observation: Observation = "frames") -> tuple[int, int, int]:
        """The shape of one unstacked observation, channels last."""

    @abstractmethod
    def encoder_hash(self) -> str:
        """Names the encoder; a policy on latents keeps it and refuses any other."""

    def fuse(self) -> Self:
        """Work what was trained apart into the weights, for faster dreams; nothing, where nothing was."""
        return self

    def fused_state(self) -> dict[str, Tensor]:
        """The weights of such a model, this one left as it is."""
        return self.state_dict()

    @abstractmethod
    def losses(self, segment: Segment) -> dict[str, Tensor]:
        """Scalars to add up and descend, by name. Padding counts in none of them."""

    @abstractmethod
    def save_pretrained(self, folder: str | Path) -> None:
        """Write the whole model to `folder`: safetensors and JSON."""
