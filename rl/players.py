"""Policies with eyes: what a policy sees of the real games it plays."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from envs.encoded import Encode
from envs.stack import stack_push, stack_start
from rl.policies import ModulePolicy, Policy, PolicySnapshot, RandomPolicy
from worldmodel.errors import UserError
from worldmodel.spaces import ActionSpec


@dataclass(frozen=True, eq=False)
class Glimpse:
    """The newest frames of all games, uint8 (num_envs, height, width, 3), and which games begin with them."""

    frames: NDArray[np.uint8]
    restarted: NDArray[np.bool_]


class View:
    """The stacked observations that a policy sees: newest frames, or their latents if there is an encoder."""

    def __init__(self, stack: int = 1, encode: Encode | None = None) -> None:
        self._stack = stack
        self._encode = encode
        self._stacked: NDArray[Any] = np.empty(0)

    def start(self, recent: Sequence[Glimpse]) -> None:
        """Look at the games that are under way: `recent` glimpses, newest last."""
        oldest, *later = recent[-self._stack :]
        self._stacked = stack_start(self._see(oldest.frames), self._stack)
        for glimpse in later:
            self.look(glimpse, np.arange(len(glimpse.frames)))

    def look(self, glimpse: Glimpse, rows: NDArray[np.int64]) -> None:
        """See the newest frames of the games `rows`."""
        if len(rows):
            seen = self._see(glimpse.frames[rows])
            self._stacked[rows] = stack_push(self._stacked[rows], seen, glimpse.restarted[rows])

    def of(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """The observations of the games `rows`, (len(rows), h, w, channels * stack)."""
        return self._stacked[rows]

    def _see(self, frames: NDArray[np.uint8]) -> NDArray[Any]:
        return self._encode(frames) if self._encode else frames


@dataclass(frozen=True, eq=False)
class Player:
    """A policy, and what it sees."""

    policy: Policy
    view: View


class Players:
    """Makes players; keeps the encoder from one time to the next, as it is frozen once a policy has begun."""

    def __init__(self, spec: ActionSpec, threads: int | None = None) -> None:
        """Players of a game with actions `spec`; their networks use so many torch threads (None: as they are)."""
        self._spec, self._threads = spec, threads
        self._encoder: _Encoder | None = None

    def random(self, hold: int = 1) -> Player:
        """Plays at random, every action for `hold` steps at most."""
        return Player(RandomPolicy(self._spec, hold), View())

    def trained(self, snapshot: PolicySnapshot, world_model: Path | None, greedy: bool = False) -> Player:
        """Plays by the network of `snapshot`.

        Args:
            snapshot: The policy.
            world_model: Folder of the world model through whose encoder it sees; None if it sees frames.
            greedy: Take the likeliest action, not a sampled one.

        Raises:
            UserError: If it has other actions than the game, or sees through another encoder.
        """
        self._set_threads()
        spec = snapshot.spec
        if not spec.actions.fits(self._spec):
            raise UserError(
                f"the policy chooses from {spec.actions}, the game has {self._spec}:"
                " give a policy that was trained in this game."
            )
        if spec.network == "recurrent":
            # RLlib is loaded only where a network is built.
            from rl.recurrent import recurrent_player

            return recurrent_player(snapshot, greedy)
        encode = None if spec.observation == "frames" else self._encode(spec.encoder_hash, world_model)
        return Player(ModulePolicy(snapshot, greedy), View(spec.stack, encode))

    def _set_threads(self) -> None:
        if self._threads:
            # Torch is loaded only where a network plays.
            import torch

            torch.set_num_threads(self._threads)

    def _encode(self, wanted: str | None, world_model: Path | None) -> Encode:
        if self._encoder is None or self._encoder.hash != wanted:
            if world_model is None:
                raise UserError("the policy sees latents: give the world model that it was trained in.")
            self._encoder = _Encoder(world_model)
        if self._encoder.hash != wanted:
            raise UserError(f"the policy was trained with another encoder than that of {world_model}: train it anew.")
        return self._encoder


class _Encoder:
    """A world model's encoder: frames to latents, in NumPy."""

    def __init__(self, folder: Path) -> None:
        # Torch is loaded only where somebody sees latents.
        from worldmodel.families import load_world_model

        self._model = load_world_model(folder).eval()
        self.hash = self._model.encoder_hash()

    def __call__(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        import torch

        with torch.inference_mode():
            return self._model.encode(torch.from_numpy(frames)).numpy()
