"""A latent world model that plays the counting game by heart: its networks spy on what they are given.

A latent tells what the frame tells: its channels are the count, the action that led to it and the game, each constant
over the picture. The denoiser works out the next latent from its context and the causing action, and answers with the
exact velocity; so a denoising loss of 0 says that context, action and target belong together.
"""

import torch
from counting import NUM_ACTIONS, length_of, read, reward_of
from torch import Tensor, nn

from worldmodel.data.outcomes import Balance
from worldmodel.latent.config import AutoencoderConfig, DenoiserConfig, LatentConfig
from worldmodel.latent.model import LatentWorldModel
from worldmodel.spaces import ActionSpec

UNKNOWN = NUM_ACTIONS
_SCALE = torch.tensor([10.0, 1.0, 100.0]).view(3, 1, 1)


class Encoder(nn.Module):
    """Frames of the counting game to latents."""

    scale = 1

    def __init__(self) -> None:
        super().__init__()
        self.change = torch.tensor(2.0)

    def encode(self, frames: Tensor) -> Tensor:
        """Latents, float32 (n, 3, 2, 2)."""
        seen = read(frames)
        told = torch.stack([seen.count, seen.action, seen.tag], -1).float()
        return told[..., None, None].expand(-1, -1, 2, 2) / _SCALE


def told(latents: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Count, action and game that latents (..., 3, h, w) tell, int64 (...)."""
    return (latents * _SCALE).mean((-1, -2)).round().long().unbind(-1)  # type: ignore[return-value]


class Denoiser(nn.Module):
    """Knows the rules, and keeps what it was given."""

    def __init__(self, model: LatentWorldModel) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        self.sampler = model.sampler
        self.residual = model.config.residual
        self.change = model.autoencoder.change
        self.contexts: list[Tensor] = []
        self.histories: list[Tensor] = []

    def forward(self, noisy: Tensor, timesteps: Tensor, context: Tensor, actions: Tensor, level: Tensor) -> Tensor:
        context = self._latents(context)
        self.contexts.append(context)
        self.histories.append(actions)
        count, _, tag = told(context[:, -1])
        clean = torch.stack([count + 1, actions[:, -1], tag], -1).float()[..., None, None] / _SCALE
        if self.residual:
            clean = (clean - context[:, -1]) / self.change
        alpha = self.sampler.alphas_cumprod[timesteps].view(-1, 1, 1, 1)
        noise = (noisy - alpha.sqrt() * clean) / (1 - alpha).sqrt()
        return alpha.sqrt() * noise - (1 - alpha).sqrt() * clean + 0 * self.weight

    def _latents(self, context: Tensor) -> Tensor:
        """The latents of which it is told the newest and the changes that led to it."""
        changes, newest = self.change * context[:, :-1], context[:, -1:]
        return torch.cat([newest - changes.flip(1).cumsum(1).flip(1), newest], dim=1)


class Head(nn.Module):
    """Holds what a step is said to bring against the rules: squared errors in place of cross entropies."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))

    def forward(self, pictures: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        return pictures, actions

    def losses(
        self,
        outcome: tuple[Tensor, Tensor],
        rewards: Tensor,
        terminated: Tensor,
        valid: Tensor,
        count: Tensor | None = None,
        balance: Balance | None = None,
    ) -> dict[str, Tensor]:
        pictures, actions = outcome
        now, led, tag = told(pictures)
        errors = {
            "sequence": (now[:, 2] - now[:, 1] - 1).abs() + (tag[:, 2] - tag[:, 1]).abs(),
            "before": (now[:, 1] - now[:, 0] - (now[:, 1] > 0).long()).abs(),
            "action": (led[:, 2] - actions).abs(),
            "reward": (reward_of(now[:, 1], actions) - rewards).abs().nan_to_num(),
            "termination": ((now[:, 2] >= length_of(tag[:, 2])) ^ terminated).long(),
        }
        return {name: (error * valid).float().sum() + 0 * self.weight for name, error in errors.items()}


def knowing(frame_size: int, context: int = 4, residual: bool = False) -> LatentWorldModel:
    """The model that knows the counting game."""
    config = LatentConfig(
        frame_size=frame_size,
        context=context,
        residual=residual,
        shift=0.0,
        max_context_noise=0.0,
        autoencoder=AutoencoderConfig(channels=(16, 16, 16), latent_channels=3),
        denoiser=DenoiserConfig(channels=(32, 64)),
    )
    model = LatentWorldModel(config, ActionSpec.discrete(NUM_ACTIONS))
    model.autoencoder = Encoder()  # type: ignore[assignment]
    model.denoiser, model.head = Denoiser(model), Head()  # type: ignore[assignment]
    return model
