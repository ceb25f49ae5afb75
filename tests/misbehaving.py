"""A game that misbehaves as its id says, in its third step; see `FAULTS`.

`misbehaving:Raises-v0` and its like are registered on import.
"""

import os
import tempfile
import time
from pathlib import Path
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np

BAD_STEP = 3
HUNG = Path(tempfile.gettempdir()) / f"misbehaving-hung-{os.environ.get('PYTEST_XDIST_WORKER', 'alone')}"


class Walk(gym.Env[np.ndarray, int]):
    """Goes on for ever and does nothing wrong."""

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"], "render_fps": 10}
    action_space = gym.spaces.Discrete(2)
    observation_space = gym.spaces.Box(0, 100, (2,), np.float32)

    def __init__(self, render_mode: str | None = None) -> None:
        self.render_mode = render_mode

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.count = 0
        return self.observe(), {}

    def step(self, action: int) -> tuple[Any, ...]:
        self.count += 1
        return (self.observe(), *self.outcome())

    def render(self) -> Any:
        return np.full((24, 32, 3), self.count, np.uint8)

    def observe(self) -> np.ndarray:
        return np.full(2, self.count, np.float32)

    def outcome(self) -> tuple[Any, ...]:
        return 1.0, False, False, {}

    @property
    def bad(self) -> bool:
        return self.count == BAD_STEP


class Opening(Walk):
    def __init__(self, render_mode: str | None = None) -> None:
        raise OSError("no such\nlevel")


class Resets(Walk):
    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        if seed:
            raise KeyError("level")
        return super().reset(seed=seed)


class Raises(Walk):
    def outcome(self) -> tuple[Any, ...]:
        if self.bad:
            raise RuntimeError("out of\nbounds")
        return super().outcome()


class Hangs(Walk):
    def outcome(self) -> tuple[Any, ...]:
        while self.bad:
            time.sleep(0.01)
        return super().outcome()


class Stubborn(Walk):
    """Hangs, and swallows what is raised to end that."""

    def outcome(self) -> tuple[Any, ...]:
        try:
            while self.bad:
                time.sleep(0.01)
        except TimeoutError:
            while self.bad:
                time.sleep(0.01)
        return super().outcome()


class HangsOnce(Walk):
    """Hangs, unless `HUNG` tells that another one did."""

    def outcome(self) -> tuple[Any, ...]:
        if self.bad and not HUNG.exists():
            HUNG.touch()
            time.sleep(3600)
        return super().outcome()


class Returns(Walk):
    """Returns `told` in its bad step."""

    told: ClassVar[tuple[Any, ...]] = ()

    def outcome(self) -> tuple[Any, ...]:
        return self.told if self.bad else super().outcome()


class NanReward(Returns):
    told = (float("nan"), False, False, {})


class HugeReward(Returns):
    told = (1e300, False, False, {})


class NoReward(Returns):
    told = (None, False, False, {})


class WrongFlag(Returns):
    told = (1.0, "no", False, {})


class OldStyle(Returns):
    told = (1.0, False, {})


class NanObservation(Walk):
    def observe(self) -> np.ndarray:
        return np.full(2, np.nan if self.bad else 0, np.float32)


class Grows(Walk):
    def render(self) -> np.ndarray:
        return np.zeros((48, 64, 3) if self.bad else (24, 32, 3), np.uint8)


class Floats(Walk):
    def render(self) -> np.ndarray:
        return np.zeros((24, 32, 3), np.float32 if self.bad else np.uint8)


class Blind(Walk):
    def render(self) -> Any:
        return None if self.bad else super().render()


class Drawing(Walk):
    def render(self) -> Any:
        if self.bad:
            raise MemoryError
        return super().render()


FAULTS = {
    "Resets": r"reset\(\) at step 0 .*KeyError: 'level'",
    "Raises": r"step\([01]\) at step 3 .*RuntimeError: out of bounds",
    "Hangs": r"step\([01]\) at step 3 .*no answer within 0.2 s",
    "Stubborn": r"step\([01]\) at step 3 .*no answer within 0.2 s",
    "NanReward": r"step\([01]\) at step 3 .*the reward is nan",
    "HugeReward": r"step\([01]\) at step 3 .*the reward is 1e\+300",
    "NoReward": r"step\([01]\) at step 3 .*TypeError",
    "WrongFlag": r"step\([01]\) at step 3 .*terminated is 'no', neither True nor False",
    "OldStyle": r"step\([01]\) at step 3 .*ValueError",
    "NanObservation": r"step\([01]\) at step 3 .*the observation is \[nan nan\]",
    "Grows": r"render\(\) at step 3 .*uint8 \(48, 64, 3\), at first uint8 \(24, 32, 3\)",
    "Floats": r"render\(\) at step 3 .*float32 \(24, 32, 3\)",
    "Blind": r"render\(\) at step 3 .*NoneType",
    "Drawing": r"render\(\) at step 3 .*MemoryError",
}
"""What each of them is told as."""

for name in ("Walk", "Opening", "HangsOnce", *FAULTS):
    gym.register(f"{name}-v0", entry_point=f"misbehaving:{name}")
