"""The `latent` family: a diffusion model of the next latent (GameNGen, Valevski et al., 2024), for a CPU too."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
from torch import Tensor, nn

from worldmodel.actions import where_known
from worldmodel.base import Dream, Step, WorldModel
from worldmodel.data.segment import Segment
from worldmodel.head import Head
from worldmodel.latent.adapter import attach, fused_weights, is_attached
from worldmodel.latent.autoencoder import Autoencoder
from worldmodel.latent.config import LatentConfig
from worldmodel.latent.denoiser import build_denoiser
from worldmodel.latent.sampler import Sampler
from worldmodel.latent.shift import shift
from worldmodel.spaces import ActionSpec, Observation


@dataclass(frozen=True)
class LatentDream(Dream):
    """What a latent dream remembers.

    Attributes:
        latents: float32, (batch, context, channels, h, w), oldest first.
        actions: (batch, context - 1, *action_spec.shape): `actions[:, i]` led from latent i to i + 1; it may be
            "not known".
    """

    latents: Tensor
    actions: Tensor


class LatentWorldModel(WorldModel):
    """Autoencoder, denoiser and head."""

    denoiser: nn.Module
    unknown: Tensor

    def __init__(self, config: LatentConfig, action_spec: ActionSpec) -> None:
        super().__init__()
        self.config = config
        self.action_spec = action_spec
        self.frame_shape = (config.frame_size, config.frame_size, 3)
        self.context = config.context
        self.autoencoder = Autoencoder(config.autoencoder)
        self.denoiser = build_denoiser(config, action_spec)
        self.sampler = Sampler(config.sampler)
        size = config.frame_size // self.autoencoder.scale
        self.head = Head(config.head, config.autoencoder.latent_channels, size, action_spec)
        self.register_buffer("unknown", torch.from_numpy(action_spec.unknown), persistent=False)

    @torch.no_grad()
    def begin(self, frames: Tensor, actions: Tensor, mask: Tensor) -> LatentDream:
        """See `WorldModel.begin`."""
        latents = self.autoencoder.encode(frames.flatten(0, 1)).unflatten(0, frames.shape[:2])
        return LatentDream(latents=latents, actions=self._known(actions, mask))

    @torch.no_grad()
    def step(self, dream: Dream, actions: Tensor, generator: torch.Generator | None = None) -> tuple[LatentDream, Step]:
        """See `WorldModel.step`."""
        assert isinstance(dream, LatentDream)
        history = torch.cat([dream.actions, actions[:, None]], dim=1)
        latents = self.imagine(dream.latents, history, generator)
        outcome = self.head(torch.cat([dream.latents[:, -2:], latents[:, None]], dim=1), actions)
        rewards, terminated = self.head.draw(outcome, generator)
        after = LatentDream(torch.cat([dream.latents[:, 1:], latents[:, None]], dim=1), history[:, 1:])
        return after, Step(rewards, terminated, self.head.doubt(outcome))

    @torch.no_grad()
    def imagine(self, context: Tensor, history: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """The next latents (batch, channels, h, w), sampled."""
        strength = torch.full((len(context),), self.config.context_noise, device=context.device)
        noise = torch.randn(context.shape, generator=generator, device=context.device)
        seen, level = self._shake(context, strength, noise)

        def predict(noisy: Tensor, timesteps: Tensor) -> Tensor:
            return self.denoiser(noisy, timesteps, seen, history, level)

        start = torch.randn(context[:, -1].shape, generator=generator, device=context.device)
        return self._restore(self.sampler.sample(predict, start), seen[:, -1])

    def observe(self, dream: Dream, observation: Observation = "frames") -> Tensor:
        """See `WorldModel.observe`."""
        assert isinstance(dream, LatentDream)
        newest = dream.latents[:, -1]
        if observation == "latents":
            return newest.permute(0, 2, 3, 1).contiguous()
        with torch.no_grad():
            return self.autoencoder.decode(newest)

    @torch.no_grad()
    def encode(self, frames: Tensor) -> Tensor:
        """See `WorldModel.encode`."""
        return self.autoencoder.encode(frames).permute(0, 2, 3, 1).contiguous()

    @torch.no_grad()
    def reconstruct(self, frames: Tensor) -> Tensor:
        """See `WorldModel.reconstruct`."""
        return self.autoencoder.decode(self.autoencoder.encode(frames))

    def observation_shape(self, observation: Observation = "frames") -> tuple[int, int, int]:
        """See `WorldModel.observation_shape`."""
        if observation == "frames":
            return self.frame_shape
        size = self.config.frame_size // self.autoencoder.scale
        return size, size, self.config.autoencoder.latent_channels

    def encoder_hash(self) -> str:
        """See `WorldModel.encoder_hash`."""
        return self.autoencoder.fingerprint()

    def losses(self, segment: Segment) -> dict[str, Tensor]:
        """Denoising, reward and termination losses of a window, unrolled over its own predictions.

        The first prediction sees real latents, the later ones what the model itself predicted (detached), with the
        real next latent as target: the drift of a dream is trained away where it begins.
        """
        latents, moved = shift(self._latents(segment), self.config.shift)
        history = self._known(segment.actions, segment.mask)
        context = latents[:, : self.context]
        terms: list[dict[str, Tensor]] = []
        for k in range(segment.horizon):
            now = self.context + k
            actions = history[:, k:now]
            loss, predicted = self._denoising(context, actions, latents[:, now], segment.mask[:, now])
            terms.append(loss | self._outcomes(segment, latents, predicted, context, now, ~moved))
            context = torch.cat([context[:, 1:], predicted[:, None]], dim=1)
        return {name: torch.stack([t[name] for t in terms]).mean() for name in terms[0]}

    def outcome_losses(self, segment: Segment) -> dict[str, Tensor]:
        """The head's losses along dreams that run free under the recorded actions, and along the real play beside them.

        The head is judged where it is used: on what the model dreams, several steps from anything real.
        """
        latents = self._latents(segment)
        dreamed = self._free_run(latents, self._known(segment.actions, segment.mask))
        steps = range(self.context, latents.shape[1])
        pictures = torch.cat([source[:, now - 2 : now + 1] for source in (dreamed, latents) for now in steps])
        there = segment.mask[:, 1:] & segment.mask[:, :-1]
        actions, rewards, terminated, valid = (
            torch.cat(2 * values[:, self.context - 1 :].unbind(1))
            for values in (segment.actions, segment.rewards, segment.terminated, there)
        )
        return self.head.losses(self.head(pictures, actions), rewards, terminated, valid)

    @torch.no_grad()
    def _free_run(self, latents: Tensor, history: Tensor) -> Tensor:
        """The window as dreamed on from its context; (batch, context + horizon, channels, h, w)."""
        dreamed = latents[:, : self.context]
        for now in range(self.context, latents.shape[1]):
            context = dreamed[:, -self.context :]
            dreamed = torch.cat([dreamed, self.imagine(context, history[:, now - self.context : now])[:, None]], dim=1)
        return dreamed

    def adapt(self) -> None:
        """Freeze the denoiser as a base and train an adapter from here on; without effect if there is one already."""
        if not is_attached(self.denoiser):
            self.denoiser = attach(self.denoiser, self.config.adapter)  # type: ignore[arg-type]

    @property
    def adapted(self) -> bool:
        """Whether there is an adapter beside the base."""
        return is_attached(self.denoiser)

    @contextmanager
    def adapter_off(self) -> Iterator[None]:
        """Within it the model dreams as its base would."""
        with self.denoiser.disable_adapter() if is_attached(self.denoiser) else nullcontext():  # type: ignore[operator]
            yield

    def fused_state(self) -> dict[str, Tensor]:
        """The whole model's weights with the adapter worked in, for a model that has none."""
        own = {name: tensor for name, tensor in self.state_dict().items() if not name.startswith("denoiser.")}
        return own | {f"denoiser.{name}": tensor for name, tensor in fused_weights(self.denoiser).items()}

    def fuse(self) -> Self:
        """Work the adapter into the weights, for faster dreams; it can't be trained or saved apart any more."""
        weights = fused_weights(self.denoiser)
        if is_attached(self.denoiser):
            plain = build_denoiser(self.config, self.action_spec).to(next(self.parameters()).device)
            plain.load_state_dict(weights)
            self.denoiser = plain.train(self.training)
        return self

    def save_pretrained(self, folder: str | Path) -> None:
        """See `WorldModel.save_pretrained`; `worldmodel.latent.storage` draws the layout."""
        from worldmodel.latent import storage

        storage.save(self, Path(folder))

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> "LatentWorldModel":
        """The model that `save_pretrained` wrote, its adapter still apart.

        Raises:
            UserError: If a file is missing or damaged.
        """
        from worldmodel.latent import storage

        return storage.load(Path(folder))

    def _denoising(
        self, context: Tensor, actions: Tensor, target: Tensor, valid: Tensor
    ) -> tuple[dict[str, Tensor], Tensor]:
        """The denoising loss on one frame, and the frame as predicted from that noise (detached)."""
        batch, device = len(target), target.device
        strength = self.config.max_context_noise * torch.rand(batch, device=device)
        strength = strength * (torch.rand(batch, device=device) < 0.5)
        seen, level = self._shake(context, strength, torch.randn_like(context))
        timesteps = self._draw_timesteps(batch, device)
        # From the shaken newest latent, so that the change to predict also takes back what is wrong with it.
        clean = self._reduce(target, seen[:, -1])
        noisy, velocity = self.sampler.add_noise(clean, torch.randn_like(clean), timesteps)
        predicted = self.denoiser(noisy, timesteps, seen, actions, level)
        error = (predicted - velocity).square().mean((1, 2, 3))
        loss = (error * valid).sum() / valid.sum().clamp_min(1)
        with torch.no_grad():
            guess = self._restore(self.sampler.clean(noisy, predicted.detach(), timesteps), seen[:, -1])
        return {"denoising": loss}, guess

    def _outcomes(
        self, segment: Segment, latents: Tensor, predicted: Tensor, context: Tensor, now: int, in_place: Tensor
    ) -> dict[str, Tensor]:
        """The head's losses on the real step and on the same step as the model dreamed it, half each.

        Only where the picture is `in_place` (bool, (batch,)): what ends a game may depend on where it happens.
        """
        real = latents[:, now - 2 : now + 1]
        dreamed = torch.cat([context[:, -2:], predicted[:, None]], dim=1)
        pictures = torch.cat([real, dreamed]).detach()
        done = torch.cat(2 * [segment.actions[:, now - 1]])
        valid = (segment.mask[:, now] & segment.mask[:, now - 1] & in_place).repeat(2)
        outcome = self.head(pictures, done)
        return self.head.losses(
            outcome, segment.rewards[:, now - 1].repeat(2), segment.terminated[:, now - 1].repeat(2), valid
        )

    def _draw_timesteps(self, batch: int, device: torch.device) -> Tensor:
        """Half of them those that the sampler uses, half uniform."""
        used = self.sampler.timesteps.to(device)[torch.randint(len(self.sampler.timesteps), (batch,), device=device)]
        uniform = torch.randint(self.sampler.noise.config.num_train_timesteps, (batch,), device=device)
        return torch.where(torch.rand(batch, device=device) < 0.5, used, uniform)

    def _latents(self, segment: Segment) -> Tensor:
        if segment.latents is not None:
            return segment.latents
        with torch.no_grad():
            return self.autoencoder.encode(segment.frames.flatten(0, 1)).unflatten(0, segment.mask.shape)

    def _known(self, actions: Tensor, mask: Tensor) -> Tensor:
        """The actions, with those from or to a frame that only pads replaced by "not known"."""
        return where_known(mask[:, :-1] & mask[:, 1:], actions, self.unknown)

    def _shake(self, context: Tensor, strength: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Noise added to the context, and the level that the denoiser is told; both as in GameNGen."""
        levels = self.config.noise_levels
        top = max(self.config.max_context_noise, 1e-6)
        level = (strength / top * levels).floor().long().clamp(0, levels - 1)
        return context + strength.view(-1, 1, 1, 1, 1) * noise, level

    def _reduce(self, target: Tensor, newest: Tensor) -> Tensor:
        return (target - newest) / self.autoencoder.change if self.config.residual else target

    def _restore(self, clean: Tensor, newest: Tensor) -> Tensor:
        return newest + clean * self.autoencoder.change if self.config.residual else clean
