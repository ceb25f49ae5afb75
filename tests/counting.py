"""A game that counts, and a world model that knows it: any off-by-one between them shows.

Every frame says how many steps were played, which action led to it, and which game it belongs to. `Counting-v0` is
registered on import, so `counting:Counting-v0` names it wherever a Gymnasium id is asked for; `Counting-box-v0` and the
like are the same game with actions of another kind.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from envs.actions import space_of
from worldmodel.base import Dream, Step, WorldModel
from worldmodel.data.segment import Segment
from worldmodel.spaces import ActionSpec, Observation

NUM_ACTIONS = 3
SPECS = {
    "discrete": ActionSpec.discrete(NUM_ACTIONS, ("none", "left", "right")),
    "multi_discrete": ActionSpec.multi_discrete((3, 2)),
    "multi_binary": ActionSpec.multi_binary(3),
    "box": ActionSpec.box((-2.0, 0.0), (1.0, 5.0)),
}
_GRID = 7
"""values between its bounds, both included, that a number is rounded to when it is told"""
NO_ACTION = -1
"""what the first frame of a game shows in place of the action that led to it"""


def code_of(spec: ActionSpec, actions: Any) -> Any:
    """One number, int64 (*shape,), that tells actions (*shape, *spec.shape), array or tensor; of numbers, roughly."""
    if spec.kind == "discrete":
        return actions
    sizes = spec.sizes or (_GRID,) * len(spec)
    code = 0
    for index, size in enumerate(sizes):
        code = size * code + _alternative(spec, actions[..., index], index)
    return code


def _alternative(spec: ActionSpec, component: Any, index: int) -> Any:
    if spec.kind != "box":
        return component
    low, high = spec.low[index], spec.high[index]
    told = ((component - low) / (high - low) * (_GRID - 1)).round()
    return told.long() if isinstance(told, Tensor) else np.asarray(told).astype(np.int64)


def length_of(tag: Any) -> Any:
    """How many steps the game `tag` (0 to 255; a number, array or tensor) lasts: 8 to 32."""
    return 8 + tag % 25


def reward_of(count: Any, action: Any) -> Any:
    """What the action with the code `action` earns on the frame that shows `count`."""
    return 10.0 * count + action


def paint(count: Any, action: Any, tag: Any, size: int = 64) -> np.ndarray:
    """The frames of some games, uint8 (*shape, size, size, 3): the upper half tells, the lower half is black."""
    colours = np.stack(np.broadcast_arrays(count, 5 * (np.asarray(action) + 1), tag), axis=-1).astype(np.uint8)
    frames = np.zeros((*colours.shape[:-1], size, size, 3), np.uint8)
    frames[..., : size // 2, :, :] = colours[..., None, None, :]
    return frames


@dataclass(frozen=True)
class Reading:
    """What frames say, int64, of the frames' leading shape."""

    count: Any
    action: Any
    tag: Any


def read(frames: Any) -> Reading:
    """Read frames: uint8 (*shape, height, width, 3), array or tensor."""
    told = frames[..., 0, 0, :]
    told = told.long() if isinstance(told, Tensor) else told.astype(np.int64)
    return Reading(told[..., 0], told[..., 1] // 5 - 1, told[..., 2])


class CountingEnv(gym.Env[np.ndarray, Any]):
    """Counts its steps; the seed names the game, and with it the length."""

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"], "render_fps": 10}

    def __init__(self, render_mode: str | None = None, size: int = 64, kind: str = "discrete") -> None:
        self.render_mode = render_mode
        self.size = size
        self.spec_of_actions = SPECS[kind]
        self.action_space = self._actions = space_of(SPECS[kind])
        self.observation_space = gym.spaces.Box(-1, 255, (3,), np.int64)
        self.renders = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.count, self.action, self.tag = 0, NO_ACTION, int(self.np_random.integers(256))
        return self._observation(), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict]:
        assert self._actions.contains(action), f"{action!r} is no action of {self._actions}"
        code = int(code_of(self.spec_of_actions, action))
        reward = reward_of(self.count, code)
        self.count, self.action = self.count + 1, code
        return self._observation(), reward, self.count >= length_of(self.tag), False, {}

    def render(self) -> np.ndarray:
        self.renders += 1
        return paint(self.count, self.action, self.tag, self.size)

    def _observation(self) -> np.ndarray:
        return np.array([self.count, self.action, self.tag])


gym.register("Counting-v0", entry_point="counting:CountingEnv")
for _kind in SPECS:
    gym.register(f"Counting-{_kind}-v0", entry_point="counting:CountingEnv", kwargs={"kind": _kind})


@dataclass(frozen=True)
class CountingDream(Dream):
    """What the newest frame says: int64, (batch,) each."""

    count: Tensor
    action: Tensor
    tag: Tensor


class CountingWorldModel(WorldModel):
    """The counting game, with nothing to learn.

    Its doubt is a hundredth of the count. `bonus`, the only tensor of its state, is added to every reward.
    """

    def __init__(self, context: int = 4, frame_size: int = 64, kind: str = "discrete") -> None:
        super().__init__()
        self.action_spec = SPECS[kind]
        self.frame_shape = (frame_size, frame_size, 3)
        self.context = context
        self.register_buffer("bonus", torch.zeros(()))

    def begin(self, frames: Tensor, actions: Tensor, mask: Tensor, latents: Tensor | None = None) -> CountingDream:
        """As every world model; fails where frames, actions and mask do not tell one and the same game."""
        seen = read(frames)
        moved = mask[:, :-1]
        assert frames.shape == (len(mask), self.context, *self.frame_shape) and mask.shape[1] == self.context
        assert mask[:, -1].all() and torch.equal(mask.long().cummax(1).values, mask.long()), "padding follows play"
        led = self._code(actions)[moved]
        assert torch.equal(seen.action[:, 1:][moved], led), "the actions did not lead to these frames"
        assert torch.equal(seen.count.diff(dim=1), moved.long()), "the frames do not follow each other"
        assert (seen.tag == seen.tag[:, :1]).all(), "the frames are of several games"
        return CountingDream(seen.count[:, -1], seen.action[:, -1], seen.tag[:, -1])

    def step(
        self, dream: Dream, actions: Tensor, generator: torch.Generator | None = None
    ) -> tuple[CountingDream, Step]:
        assert isinstance(dream, CountingDream)
        count, code = dream.count + 1, self._code(actions)
        rewards, over = reward_of(dream.count, code).float() + self.bonus, count >= length_of(dream.tag)
        return CountingDream(count, code, dream.tag), Step(rewards, over, count / 100, over.float())

    def read(self, frames: Tensor, actions: Tensor, mask: Tensor, generator: torch.Generator | None = None) -> Step:
        self.begin(frames[:, 1:], actions[:, 1:], mask[:, 1:])  # the newest frame belongs to them
        return self.step(self.begin(frames[:, :-1], actions[:, :-1], mask[:, :-1]), actions[:, -1])[1]

    def observe(self, dream: Dream, observation: Observation = "frames") -> Tensor:
        assert isinstance(dream, CountingDream)
        told = (dream.count.cpu().numpy(), dream.action.cpu().numpy(), dream.tag.cpu().numpy())
        frames = torch.from_numpy(paint(*told, self.frame_shape[0])).to(dream.count.device)
        return frames if observation == "frames" else self.encode(frames)

    def encode(self, frames: Tensor) -> Tensor:
        """Every 16th pixel, 0 to 1."""
        return frames[:, ::16, ::16].float() / 255

    def reconstruct(self, frames: Tensor) -> Tensor:
        return frames.clone()

    def observation_shape(self, observation: Observation = "frames") -> tuple[int, int, int]:
        height, width, channels = self.frame_shape
        return self.frame_shape if observation == "frames" else (height // 16, width // 16, channels)

    def encoder_hash(self) -> str:
        return "counting"

    def losses(self, segment: Segment) -> dict[str, Tensor]:
        """Squared errors over the segment's targets: all 0 exactly where the data keep the convention for time."""
        seen = read(segment.frames)
        count, action, tag = seen.count[:, :-1], self._code(segment.actions), seen.tag[:, :-1]
        valid = segment.mask[:, 1:] & segment.mask[:, :-1]
        valid[:, : segment.context - 1] = False
        errors = {
            "count": seen.count[:, 1:] - (count + 1),
            "action": seen.action[:, 1:] - action,
            "tag": seen.tag[:, 1:] - tag,
            "reward": segment.rewards - reward_of(count, action),
            "terminated": segment.terminated.long() - (count + 1 >= length_of(tag)).long(),
        }
        return {name: error[valid].float().square().sum() for name, error in errors.items()}

    def _code(self, actions: Tensor) -> Tensor:
        return code_of(self.action_spec, actions)

    def save_pretrained(self, folder: str | Path) -> None:
        Path(folder).mkdir(parents=True, exist_ok=True)
        save_file(self.state_dict(), Path(folder) / "counting.safetensors")
