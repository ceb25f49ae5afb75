"""A pool of moments at which dreams begin, encoded once and drawn from by index, on the device."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from envs.stack import stack_context
from worldmodel.base import Dream, WorldModel
from worldmodel.data.starts import Starts
from worldmodel.errors import UserError
from worldmodel.spaces import Observation

_BATCH = 64
"""contexts encoded at a time"""


@dataclass(frozen=True)
class StartPool:
    """Beginnings of dreams, as many as there are starts.

    Attributes:
        dreams: The dreams.
        stacks: What an agent sees in each, (starts, height, width, channels * stack).
    """

    dreams: Dream
    stacks: Tensor

    def draw(self, count: int, generator: torch.Generator) -> Self:
        """Any `count` of them, with replacement."""
        index = torch.randint(len(self.stacks), (count,), generator=generator, device=self.stacks.device)
        return replace(self, dreams=self.dreams[index], stacks=self.stacks.index_select(0, index))


@torch.no_grad()
def fill_pool(
    model: WorldModel, starts: Starts, observation: Observation, stack: int, device: torch.device
) -> StartPool:
    """Begin dreams from `starts`, which `check_starts` has let pass; frames are encoded where nobody has yet."""
    parts = []
    for first in range(0, len(starts.mask), _BATCH):
        rows = slice(first, first + _BATCH)
        arrays = (starts.frames[rows], starts.actions[rows], starts.mask[rows])
        frames, actions, mask = (torch.from_numpy(array).to(device) for array in arrays)
        seen, latents = frames, None if starts.latents is None else torch.from_numpy(starts.latents[rows]).to(device)
        if observation == "latents":
            seen = latents = look(model, frames, observation) if latents is None else latents
        stacks = stack_context(seen[:, -stack:], mask[:, -stack:], stack)
        parts.append(StartPool(model.begin(frames, actions, mask, latents), stacks))
    return StartPool(_join([part.dreams for part in parts]), torch.cat([part.stacks for part in parts]))


def look(model: WorldModel | None, frames: Tensor, observation: Observation) -> Tensor:
    """Real frames as an agent sees them: uint8, (..., height, width, 3), or the model's latents (..., h, w, c)."""
    if observation == "frames" or model is None:
        return frames
    return model.encode(frames.flatten(end_dim=-4)).unflatten(0, frames.shape[:-3])


def chosen_start(model: WorldModel, frames: NDArray[np.uint8], actions: NDArray[Any] | None) -> Starts:
    """One start of one's choice.

    Args:
        model: The world model that will dream on.
        frames: uint8, (n, height, width, 3) or (height, width, 3), newest last; at most the model's context.
        actions: (n - 1, *action_spec.shape), those between the frames; None: 0 each time.

    Raises:
        UserError: If the frames do not suit the model.
    """
    frames = np.asarray(frames)
    frames = frames[None] if frames.ndim == 3 else frames
    missing = model.context - len(frames)
    if frames.dtype != np.uint8 or frames.shape[1:] != model.frame_shape or not 0 <= missing < model.context:
        raise UserError(
            f"start frames are {frames.dtype} {frames.shape}: give 1 to {model.context} uint8 frames of the shape"
            f" {model.frame_shape}."
        )
    spec = model.action_spec
    nothing = spec.zeros(len(frames) - 1)
    between = nothing if actions is None else np.asarray(actions, spec.dtype)
    if between.shape != nothing.shape:
        raise UserError(
            f"the actions between {len(frames)} start frames are {between.shape}: give one fewer than frames, that is"
            f" {nothing.shape}."
        )
    return Starts.of(
        np.concatenate([frames[:1]] * missing + [frames])[None],
        np.concatenate([spec.zeros(missing), between])[None],
        (np.arange(model.context) >= missing)[None],
    )


def check_starts(model: WorldModel, starts: Starts) -> None:
    """Refuse starts that dreams cannot begin from.

    Raises:
        UserError: If there are none, or they do not suit the model.
    """
    shape, spec = starts.frames.shape, model.action_spec
    wanted = (model.context, *model.frame_shape)
    if not len(starts.mask) or shape[1:] != wanted:
        raise UserError(
            f"the starts are {shape[0]} contexts of the shape {shape[1:]}: this world model begins from at least one"
            f" of the shape {wanted}."
        )
    encoded = (*shape[:2], *model.observation_shape("latents"))
    if starts.latents is not None and starts.latents.shape != encoded:
        raise UserError(
            f"the starts' latents are {starts.latents.shape}: of these frames this world model makes {encoded}; leave"
            " them out, and it encodes them itself."
        )
    if (starts.actions.shape[1:], starts.actions.dtype) != ((model.context - 1, *spec.shape), spec.dtype):
        raise UserError(
            f"the starts' actions are {starts.actions.dtype} {starts.actions.shape[1:]}: this world model's game has"
            f" {spec}, give starts from it."
        )


def _join(dreams: Sequence[Dream]) -> Dream:
    joined: dict[str, Any] = {f.name: torch.cat([getattr(d, f.name) for d in dreams]) for f in fields(dreams[0])}
    return replace(dreams[0], **joined)
