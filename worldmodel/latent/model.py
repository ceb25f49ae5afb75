"""The `latent` family: a diffusion model of the next latent (GameNGen, Valevski et al., 2024), for a CPU too."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import torch
from diffusers import SchedulerMixin
from peft import PeftModel
from torch import Tensor, nn

from worldmodel.actions import where_known
from worldmodel.base import Dream, Step, WorldModel
from worldmodel.data.segment import Segment
from worldmodel.errors import UserError
from worldmodel.familiarity import Familiarity
from worldmodel.head import Head
from worldmodel.latent.adapter import attach, check_adapter, fused_weights, is_attached
from worldmodel.latent.autoencoder import Autoencoder
from worldmodel.latent.bases import Base, make_base
from worldmodel.latent.conditioning import Conditioning, classifier_free_guidance
from worldmodel.latent.config import LatentConfig, latent_size
from worldmodel.latent.denoiser import condition, plain_denoiser
from worldmodel.latent.origin import Origin
from worldmodel.latent.own_base import adopt
from worldmodel.latent.sampler import Sampler, build_sampler
from worldmodel.latent.scatter import scattered
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
    """Latent diffusion of the next frame: autoencoder, denoiser, head, and what is familiar to them.

    The next frame of a game by diffusion: GameNGen (Valevski et al., 2024); in latents: Rombach et al. (2022).

    Attributes:
        denoiser: Predicts the next latent from its noise.
        left_out: float32, (1, channels, 1, 1): see `worldmodel.latent.scatter`; 0 until it was measured.
    """

    denoiser: nn.Module
    unknown: Tensor
    left_out: Tensor

    def __init__(self, config: LatentConfig, action_spec: ActionSpec, base: Base | None = None) -> None:
        """A model that knows no game yet.

        Args:
            config: What defines it.
            action_spec: The game's actions.
            base: What `config.base` names, where it has been read already.

        Raises:
            UserError: If the base, the adapter, or the size of a frame, does not suit.
        """
        super().__init__()
        base = base or make_base(config)
        self.config = config
        self.action_spec = action_spec
        self.frame_shape = config.frame_shape
        self.context = config.context
        self.origin: Origin | None = None
        if base.marks:
            self.origin = Origin(base.marks, base.marks, widened=base.learned is None)
        # What a base from elsewhere takes for a picture is not ours to round.
        self.autoencoder = Autoencoder(base.vae, bf16=not self.knows_raw)
        self.denoiser = condition(base.unet, config, action_spec)
        check_adapter(self.denoiser, config.adapter)
        self.sampler = build_sampler(config.sampler, base.schedule)
        self.head = Head(config.head, *self.latent_shape, action_spec)
        self.familiarity = Familiarity(*self.latent_shape)
        if base.learned:
            adopt(self, base.learned)
        self.register_buffer("left_out", torch.zeros(1, self.autoencoder.channels, 1, 1))
        self.register_buffer("unknown", torch.from_numpy(action_spec.unknown), persistent=False)
        if config.base.dtype != "float32":
            self.cast(getattr(torch, config.base.dtype))

    @property
    def networks(self) -> tuple[nn.Module, ...]:
        """See `WorldModel.networks`."""
        return self.denoiser, self.head

    @property
    def has_base(self) -> bool:
        """Whether it began from a trained diffusion model, so that only an adapter has to be trained."""
        return self.origin is not None

    @property
    def knows_raw(self) -> bool:
        """Whether it began from a diffusion model from elsewhere, which knows its autoencoder's latents as they are."""
        return self.origin is not None and self.origin.widened

    @property
    def predicts_change(self) -> bool:
        """Whether the denoiser predicts the change from the newest latent."""
        return not self.knows_raw if self.config.residual is None else self.config.residual

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """(channels, h, w) of a frame's latents."""
        return self.autoencoder.channels, *latent_size(self.config.frame_size, self.autoencoder.scale)

    @property
    def doubt_limit(self) -> Tensor:
        """See `WorldModel.doubt_limit`; measured on held-out play after every fit."""
        return self.familiarity.limit

    @property
    def guidance(self) -> float:
        """How far predictions are led by the context; 1: not further than they were trained to go.

        Raises:
            UserError: On setting another than 1 where no context was ever withheld in training.
        """
        return self.config.guidance

    @guidance.setter
    def guidance(self, guidance: float) -> None:
        self.config = replace(self.config, guidance=guidance)

    @property
    def scheduler(self) -> SchedulerMixin:
        """The scheduler from diffusers that takes the steps.

        Swapped as in diffusers: `model.scheduler = EulerDiscreteScheduler.from_config(model.scheduler.config)`.

        Raises:
            UserError: On setting one whose noise is not what the denoiser was trained on.
        """
        return self.sampler.scheduler

    @scheduler.setter
    def scheduler(self, scheduler: SchedulerMixin) -> None:
        sampler = Sampler(scheduler, self.sampler.steps)
        if not sampler.same_as(self.sampler):
            raise UserError(
                f"This {type(scheduler).__name__} has other noise or another prediction than the network was trained"
                " with: make it by `from_config(model.scheduler.config)`."
            )
        self.sampler = sampler

    def cast(self, dtype: torch.dtype) -> None:
        """Keep denoiser and autoencoder in `dtype` and compute with it; the head stays in float32."""
        own = self.own_networks()
        plain_denoiser(self.denoiser).cast(dtype)
        self.autoencoder.vae.to(dtype)
        if self.origin:
            self.origin.rounded(own, self.denoiser, self.autoencoder.vae)

    def own_networks(self) -> tuple[str, ...]:
        """Those of "unet" and "vae" that are not, or no more, those of a base from elsewhere."""
        return self.origin.own(self.denoiser, self.autoencoder.vae) if self.origin else ("unet", "vae")

    @torch.no_grad()
    def begin(self, frames: Tensor, actions: Tensor, mask: Tensor, latents: Tensor | None = None) -> LatentDream:
        """See `WorldModel.begin`."""
        if latents is None:
            latents = self.encode(frames.flatten(0, 1)).unflatten(0, frames.shape[:2])
        return LatentDream(latents=latents.movedim(-1, -3).contiguous(), actions=self.known(actions, mask))

    @torch.no_grad()
    def step(self, dream: Dream, actions: Tensor, generator: torch.Generator | None = None) -> tuple[LatentDream, Step]:
        """See `WorldModel.step`."""
        assert isinstance(dream, LatentDream)
        history = torch.cat([dream.actions, actions[:, None]], dim=1)
        latents = self.imagine(dream.latents, history, generator)
        outcome = self._outcome(torch.cat([dream.latents[:, -2:], latents[:, None]], dim=1), actions, generator)
        after = LatentDream(torch.cat([dream.latents[:, 1:], latents[:, None]], dim=1), history[:, 1:])
        return after, outcome

    @torch.no_grad()
    def read(self, frames: Tensor, actions: Tensor, mask: Tensor, generator: torch.Generator | None = None) -> Step:
        """See `WorldModel.read`."""
        latents = self.autoencoder.encode(frames[:, -3:].flatten(0, 1)).unflatten(0, (len(frames), -1))
        return self._outcome(latents, actions[:, -1], generator)

    @torch.no_grad()
    def imagine(self, context: Tensor, history: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """The next latents (batch, channels, h, w), sampled, and scattered if `config.scatter` says so."""
        drawn = self.draw(context, history, generator)
        if not self.config.scatter:
            return drawn
        return scattered(drawn, context[:, -1], self.config.scatter * self.left_out, generator)

    @torch.no_grad()
    def draw(self, context: Tensor, history: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """The next latents (batch, channels, h, w), as the sampler draws them."""
        strength = torch.full((len(context),), self.config.context_noise, device=context.device)
        noise = torch.randn(context.shape, generator=generator, device=context.device)
        seen, level = self.add_context_noise(context, strength, noise)
        newest = seen[:, -1]
        start = torch.randn(newest.shape, generator=generator, device=context.device)
        # The likeliest next picture is the newest one again.
        drawn = self.sampler.sample(self._predictor(seen, history, level), start, self.to_prediction(newest, newest))
        return self.from_prediction(drawn, newest)

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
        channels, height, width = self.latent_shape
        return height, width, channels

    def encoder_hash(self) -> str:
        """See `WorldModel.encoder_hash`."""
        return self.autoencoder.fingerprint()

    def losses(self, segment: Segment) -> dict[str, Tensor]:
        """Denoising, reward and termination losses of a window; see `LatentLosses.of_windows`."""
        from worldmodel.latent.losses import LatentLosses

        return LatentLosses(self).of_windows(segment)

    def adapt(self) -> None:
        """Freeze the denoiser as a base and train an adapter from here on; without effect if there is one already."""
        if not is_attached(self.denoiser):
            self.wear(attach(self.denoiser, self.config.adapter))  # type: ignore[arg-type]

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
        fused = own | {f"denoiser.{name}": tensor for name, tensor in fused_weights(self.denoiser).items()}
        # numpy, in which they travel, knows no bfloat16.
        return {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in fused.items()}

    def fuse(self) -> Self:
        """Work the adapter into the weights, for faster dreams; it can't be trained or saved apart any more."""
        if is_attached(self.denoiser):
            self.denoiser = self.denoiser.merge_and_unload().requires_grad_(True)  # type: ignore[operator]
        return self

    def save_pretrained(self, folder: str | Path, variant: str | None = None) -> None:
        """See `WorldModel.save_pretrained`; `worldmodel.latent.storage` draws the layout.

        Args:
            folder: Where to.
            variant: Put this into the names of U-Net's and autoencoder's files, as diffusers does ("fp16").
        """
        from worldmodel.latent import storage

        storage.save(self, Path(folder), variant)

    @classmethod
    def from_pretrained(
        cls,
        folder: str | Path,
        *,
        torch_dtype: torch.dtype | None = None,
        variant: str | None = None,
        revision: str | None = None,
        base: str | None = None,
        local_files_only: bool = False,
    ) -> "LatentWorldModel":
        """The model that `save_pretrained` wrote, its adapter still apart.

        Args:
            folder: Where it lies.
            torch_dtype: Keep denoiser and autoencoder in this, and compute with it; None: in float32, as trained.
            variant: Read the U-Net's and autoencoder's files of this variant, here and in the base.
            revision: Branch, tag or commit of a base that is on the hub.
            base: Where the base is now, if it is not where it was.
            local_files_only: Take a base that is on the hub from the local cache alone.

        Raises:
            UserError: If a file is missing or damaged, or the base is not there or another one.
        """
        from worldmodel.latent import storage

        return storage.load(Path(folder), storage.Loading(torch_dtype, variant, revision, base, local_files_only))

    def load_adapter(self, folder: str | Path) -> None:
        """Wear the adapter that peft saved in `folder` for this denoiser.

        Raises:
            UserError: If there is one already, or it cannot be read or belongs to another base.
        """
        from worldmodel.latent import storage

        if self.adapted:
            raise UserError(f"The adapter of {folder} finds another one there: load it into a model without.")
        storage.load_adapter(self, Path(folder))

    def wear(self, denoiser: PeftModel) -> None:
        """Dream through this, the denoiser with an adapter; whatever is trained is kept in float32."""
        for parameter in denoiser.parameters():
            if parameter.requires_grad:
                parameter.data = parameter.data.float()
        self.denoiser = denoiser

    def known(self, actions: Tensor, mask: Tensor) -> Tensor:
        """The actions, with those from or to a frame that only pads replaced by "not known"."""
        return where_known(mask[:, :-1] & mask[:, 1:], actions, self.unknown)

    def add_context_noise(self, context: Tensor, strength: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Noise added to the context, in spreads of the change, and its level, which conditions the denoiser.

        As in GameNGen, but there in spreads of a latent: in games that move little, motion would drown in it.
        """
        levels = self.config.noise_levels
        top = max(self.config.max_context_noise, 1e-6)
        level = (strength / top * levels).floor().long().clamp(0, levels - 1)
        return context + strength.view(-1, 1, 1, 1, 1) * self.autoencoder.change * noise, level

    def conditioning(self, seen: Tensor, actions: Tensor, level: Tensor) -> Conditioning:
        """What conditions the denoiser: a context as it is seen (see `add_context_noise`) and the actions so far.

        Of the context it gets the newest latent, and the changes that led to it in units of their spread: one frame
        differs from the next by so little that the motion would be lost in whole pictures.
        """
        changes = seen.diff(dim=1) / self.autoencoder.change
        return Conditioning(torch.cat([changes, self._as_known(seen[:, -1:])], dim=1), actions, level)

    def null(self, conditioning: Conditioning) -> Conditioning:
        """As much conditioning, with nothing in it."""
        return conditioning.null(self.unknown, self.config.noise_levels - 1)

    def to_prediction(self, latents: Tensor, newest: Tensor) -> Tensor:
        """What is denoised to predict these latents: the change from the newest ones, or the latents themselves."""
        if self.predicts_change:
            return (latents - newest) / self.autoencoder.change
        return self._as_known(latents)

    def from_prediction(self, clean: Tensor, newest: Tensor) -> Tensor:
        """The latents that a denoised prediction stands for: the inverse of `to_prediction`."""
        if self.predicts_change:
            return newest + clean * self.autoencoder.change
        return self.autoencoder.standard(clean) if self.knows_raw else clean

    def _outcome(self, latents: Tensor, actions: Tensor, generator: torch.Generator | None) -> Step:
        head = self.head
        outcome = self.backend_of(head)(latents, actions)
        rewards, terminated = head.draw(outcome, generator)
        doubt = self.familiarity(latents[:, -2:])
        return Step(rewards, terminated, doubt, head.end_probability(outcome), head.sign_probabilities(outcome))

    def _predictor(self, seen: Tensor, actions: Tensor, level: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
        conditioning, denoise = self.conditioning(seen, actions, level), self.backend_of(self.denoiser)
        if self.guidance != 1:
            return classifier_free_guidance(denoise, conditioning, self.null(conditioning), self.guidance)
        return lambda noisy, timesteps: denoise(noisy, timesteps, *conditioning)

    def _as_known(self, latents: Tensor) -> Tensor:
        """Latents in the scale that the denoiser knows: one from elsewhere its own, ours unit variance."""
        return self.autoencoder.unstandard(latents) if self.knows_raw else latents
