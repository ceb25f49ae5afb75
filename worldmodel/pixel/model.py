"""The `pixel` family: DIAMOND (Alonso et al., 2024)."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d

from worldmodel.actions import where_known
from worldmodel.base import Dream, Step, WorldModel
from worldmodel.data.segment import Segment
from worldmodel.familiarity import Familiarity
from worldmodel.pixel.config import PixelConfig
from worldmodel.pixel.denoiser import Denoiser
from worldmodel.pixel.outcomes import Memory, OutcomeNetwork, drawn
from worldmodel.pixel.sampler import sample, sigmas
from worldmodel.spaces import ActionSpec, Observation

_ENCODER = "pixels from -1 to 1"
_SMALL = 16
"""cells on a side of a frame whose familiarity is told"""


@dataclass(frozen=True)
class PixelDream(Dream):
    """What a dream of pixels remembers.

    Attributes:
        frames: float32, (batch, context, 3, height, width), from -1 to 1, oldest first; 0 where one only pads.
        actions: (batch, context - 1, *action_spec.shape): `actions[:, i]` led from frame i to i + 1; it may be
            "not known".
        hidden: float32, (batch, hidden), of the network that tells reward and end.
        cell: float32, (batch, hidden), of the same.
    """

    frames: Tensor
    actions: Tensor
    hidden: Tensor
    cell: Tensor


class PixelWorldModel(WorldModel):
    """The world model of DIAMOND (Alonso et al., 2024): denoiser and outcome network; and what is familiar to them.

    It has no encoder: what it calls latents are the pixels themselves, from -1 to 1. Doubt of its dreams is ours, not
    DIAMOND's: a published model has none.
    """

    unknown: Tensor
    sigmas: Tensor

    def __init__(self, config: PixelConfig, action_spec: ActionSpec) -> None:
        """A model that knows no game yet."""
        super().__init__()
        self.config = config
        self.action_spec = action_spec
        self.frame_shape = config.frame_shape
        self.context = config.context
        self.denoiser = Denoiser(config, action_spec)
        self.outcomes = OutcomeNetwork(config.outcomes, config.frame_shape, action_spec)
        self.familiarity = Familiarity(3, *(min(side, _SMALL) for side in config.frame_shape[:2]))
        self.register_buffer("unknown", torch.from_numpy(action_spec.unknown), persistent=False)
        self.register_buffer("sigmas", sigmas(config.sampler), persistent=False)

    @property
    def networks(self) -> tuple[nn.Module, ...]:
        """See `WorldModel.networks`."""
        return self.denoiser, self.outcomes

    @property
    def doubt_limit(self) -> Tensor:
        """See `WorldModel.doubt_limit`; measured on held-out play after every fit."""
        return self.familiarity.limit

    @torch.no_grad()
    def begin(self, frames: Tensor, actions: Tensor, mask: Tensor, latents: Tensor | None = None) -> PixelDream:
        """See `WorldModel.begin`; the outcome network sees the whole context before the first step."""
        seen, known = self.seen(frames, mask), self.known(actions, mask)
        _, memory = self.outcomes(seen, known)
        return PixelDream(seen, known, *memory)

    @torch.no_grad()
    def step(self, dream: Dream, actions: Tensor, generator: torch.Generator | None = None) -> tuple[PixelDream, Step]:
        """See `WorldModel.step`."""
        assert isinstance(dream, PixelDream)
        history = torch.cat([dream.actions, actions[:, None]], dim=1)
        following = self.imagine(dream.frames, history, generator)[:, None]
        newest = torch.cat([dream.frames[:, -1:], following], dim=1)
        outcome, memory = self.backend_of(self.outcomes)(newest, actions[:, None], Memory(dream.hidden, dream.cell))
        after = PixelDream(torch.cat([dream.frames[:, 1:], following], dim=1), history[:, 1:], *memory)
        return after, drawn(outcome, self.doubt(newest), generator)

    @torch.no_grad()
    def read(self, frames: Tensor, actions: Tensor, mask: Tensor, generator: torch.Generator | None = None) -> Step:
        """See `WorldModel.read`; the steps before the newest fill the outcome network's memory."""
        seen = self.seen(frames, mask)
        outcome, _ = self.outcomes(seen, self.known(actions, mask))
        return drawn(outcome, self.doubt(seen[:, -2:]), generator)

    @torch.no_grad()
    def imagine(self, context: Tensor, history: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """The next frames (batch, 3, height, width), from -1 to 1, sampled.

        Args:
            context: (batch, context, 3, height, width), from -1 to 1.
            history: (batch, context, *action_spec.shape), the causing action last.
            generator: Where the noise comes from.
        """
        noise = torch.randn(context[:, 0].shape, generator=generator, device=context.device)
        say = self.backend_of(self.denoiser)

        def denoise(noisy: Tensor, sigma: Tensor) -> Tensor:
            return self.denoiser.clean(noisy, say(noisy, sigma, context, history), sigma)

        return sample(denoise, noise, self.sigmas)

    def doubt(self, pairs: Tensor) -> Tensor:
        """How strange two frames in a row are, (batch,); (batch, 2, 3, height, width), from -1 to 1."""
        return self.familiarity(self.small(pairs))

    def small(self, pairs: Tensor) -> Tensor:
        """Such frames as their familiarity is told by: means of their cells."""
        height, width, _ = self.frame_shape
        cells = min(height, _SMALL), min(width, _SMALL)
        return adaptive_avg_pool2d(pairs.flatten(0, 1), cells).unflatten(0, pairs.shape[:2])

    def observe(self, dream: Dream, observation: Observation = "frames") -> Tensor:
        """See `WorldModel.observe`."""
        assert isinstance(dream, PixelDream)
        newest = dream.frames[:, -1].permute(0, 2, 3, 1)
        return newest.contiguous() if observation == "latents" else ((newest + 1) / 2 * 255).round().to(torch.uint8)

    def encode(self, frames: Tensor) -> Tensor:
        """See `WorldModel.encode`."""
        return frames / 255 * 2 - 1

    def reconstruct(self, frames: Tensor) -> Tensor:
        """See `WorldModel.reconstruct`: the frames as they are."""
        return frames.clone()

    def observation_shape(self, observation: Observation = "frames") -> tuple[int, int, int]:
        """See `WorldModel.observation_shape`."""
        return self.frame_shape

    def encoder_hash(self) -> str:
        """See `WorldModel.encoder_hash`."""
        return _ENCODER

    def losses(self, segment: Segment) -> dict[str, Tensor]:
        """Denoising, reward and termination losses of a window; see `PixelLosses`."""
        from worldmodel.pixel.losses import PixelLosses

        losses = PixelLosses(self)
        return next(losses.of_frames(segment)) | next(losses.of_outcomes(segment))

    def save_pretrained(self, folder: str | Path) -> None:
        """See `WorldModel.save_pretrained`; `worldmodel.pixel.storage` draws the layout."""
        from worldmodel.pixel import storage

        storage.save(self, Path(folder))

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> "PixelWorldModel":
        """The model that `save_pretrained` wrote.

        Raises:
            UserError: If a file is missing or damaged.
        """
        from worldmodel.pixel import storage

        return storage.load_model(Path(folder))

    def seen(self, frames: Tensor, mask: Tensor) -> Tensor:
        """Frames (batch, time, height, width, 3) as the networks see them, (batch, time, 3, height, width).

        Where `mask` (bool, (batch, time)) is False there is nothing to see: middle grey, as in DIAMOND.
        """
        return self.encode(frames).permute(0, 1, 4, 2, 3) * mask[..., None, None, None]

    def known(self, actions: Tensor, mask: Tensor) -> Tensor:
        """The actions, with those from or to a frame that only pads replaced by "not known"."""
        return where_known(mask[:, :-1] & mask[:, 1:], actions, self.unknown)
