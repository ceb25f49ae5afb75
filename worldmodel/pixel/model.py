"""The `pixel` family: DIAMOND (Alonso et al., 2024)."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from worldmodel.actions import where_known
from worldmodel.base import Dream, Step, WorldModel
from worldmodel.data.segment import Segment
from worldmodel.pixel.config import PixelConfig
from worldmodel.pixel.denoiser import Denoiser
from worldmodel.pixel.outcomes import Memory, OutcomeNetwork, drawn
from worldmodel.pixel.sampler import sample, sigmas
from worldmodel.spaces import ActionSpec, Observation

_ENCODER = "pixels from -1 to 1"


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
    """The world model of DIAMOND (Alonso et al., 2024): denoiser and outcome network.

    It has no encoder: what it calls latents are the pixels themselves, from -1 to 1.
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
        self.register_buffer("unknown", torch.from_numpy(action_spec.unknown), persistent=False)
        self.register_buffer("sigmas", sigmas(config.sampler), persistent=False)

    @property
    def networks(self) -> tuple[nn.Module, ...]:
        """See `WorldModel.networks`."""
        return self.denoiser, self.outcomes

    @torch.no_grad()
    def begin(self, frames: Tensor, actions: Tensor, mask: Tensor) -> PixelDream:
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
        return after, drawn(outcome, generator)

    @torch.no_grad()
    def read(self, frames: Tensor, actions: Tensor, mask: Tensor, generator: torch.Generator | None = None) -> Step:
        """See `WorldModel.read`; the steps before the newest fill the outcome network's memory."""
        outcome, _ = self.outcomes(self.seen(frames, mask), self.known(actions, mask))
        return drawn(outcome, generator)

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
