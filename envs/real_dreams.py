"""The real game in the dream's place: what an agent could learn from a perfect model."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from envs.atari_config import AtariConfig
from envs.catalogue import open_game
from envs.game import NOTHING, Game
from envs.models import ModelSource, WeightSource, renew_model
from envs.real_tensors import RealTensorEnv
from envs.replay import Replay, play_to
from envs.stack import stack_context, stack_push
from envs.tensors import StepTensors, as_array
from worldmodel.errors import UserError
from worldmodel.spaces import FrameSize, Observation, shape_of


class RealDreams(RealTensorEnv):
    """N real games that begin where dreams do and are cut at the same horizon, with the face of `NeuralVectorEnv`.

    A game gets to its start by being played again: its seed, then the actions that were stored.
    """

    _games: Sequence[Game] = ()

    def __init__(
        self,
        game: str,
        num_envs: int = 1,
        *,
        world_model: ModelSource | None = None,
        observation: Observation = "frames",
        frame_size: FrameSize = 64,
        stack: int = 4,
        horizon: int | None = 48,
        starts: Sequence[Replay] = (),
        max_steps: int | None = None,
        kwargs: Mapping[str, Any] | None = None,
        atari: AtariConfig | None = None,
        patience: float | None = None,
        device: str | torch.device = "cpu",
        seed: int | None = None,
    ) -> None:
        """Open the games.

        Args:
            game: Gymnasium id of the game, as for `envs.make_real`.
            num_envs: Games at a time.
            world_model: Whose encoder makes the latents; not needed for frames.
            observation: As in `NeuralVectorEnv`.
            frame_size: As for `envs.make_real`.
            stack: Newest observations that are shown at once, newest last.
            horizon: A game is truncated this many steps after its start; None: never.
            starts: The moments from which to play on.
            max_steps: Truncate a game after this many steps in all, or at the game's own limit if that comes first.
            kwargs: As for `envs.make_real`.
            atari: As for `envs.make_real`, but that `life_loss_ends` does end a game here.
            patience: As for `envs.make_real`.
            device: Where the tensors are wanted.
            seed: Seeds the choice of starts until `reset` is given a seed; None: by chance.

        Raises:
            UserError: If the game can't be opened, or latents are asked for without a world model.
        """
        super().__init__(num_envs, horizon, device, world_model, observation, stack)
        self._games = [
            open_game(game, frame_size=frame_size, max_steps=max_steps, kwargs=kwargs, atari=atari, patience=patience)
            for _ in range(num_envs)
        ]
        self._lives_end = atari is not None and atari.life_loss_ends
        self._blank = np.zeros(shape_of(frame_size), np.uint8)
        self._show(self._games[0].action_spec, frame_size)
        self._starts = list(starts)
        self._rng = np.random.default_rng(seed)

    def set_starts(self, starts: Sequence[Replay]) -> None:
        """Begin from other moments; games under way go on."""
        self._starts = list(starts)

    def load_world_model(self, world_model: WeightSource) -> None:
        """Look through another encoder; as `NeuralVectorEnv.load_world_model`."""
        self.world_model = renew_model(self.world_model, world_model, self.device)

    def reset_tensors(self, seed: int | None = None) -> Tensor:
        """Begin every game at a start drawn at random; see `TensorVectorEnv`.

        Raises:
            UserError: If there are no starts.
        """
        if not self._starts:
            raise UserError("no real game can begin: give `starts`, found by `envs.find_replays`.")
        if seed is not None:
            self._rng = np.random.default_rng(seed)
        self._forget()
        self._stacked = self._begin(range(self.num_envs))
        return self._stacked

    def step_tensors(self, actions: Tensor) -> StepTensors:
        """Play on; see `TensorVectorEnv`."""
        begun = self.needs_reset.tolist()
        played = list(zip(self._games, as_array(actions), begun, strict=True))
        outcomes = [NOTHING if new else game.step(action) for game, action, new in played]
        frames = np.stack([self._blank if new else game.frame() for game, _, new in played])
        self._stacked = stack_push(self._stacked, self._look(frames))
        if any(begun):
            self._stacked[self.needs_reset] = self._begin(np.flatnonzero(begun).tolist())
        rewards, terminated, truncated, life_lost = (
            torch.tensor(told, device=self.device) for told in zip(*outcomes, strict=True)
        )
        return self._stacked, rewards, *self._finish(terminated | (self._lives_end & life_lost), truncated)

    def close_extras(self, **kwargs: object) -> None:
        """Close the games; called by `close`."""
        for game in self._games:
            game.close()

    def _begin(self, indices: Sequence[int]) -> Tensor:
        """Bring some games to a start each; the stacks that are seen there."""
        drawn = self._rng.integers(len(self._starts), size=len(indices)).tolist()
        replays = [self._starts[start] for start in drawn]
        contexts = [play_to(self._games[i], replay, self._stack) for i, replay in zip(indices, replays, strict=True)]
        frames, mask = (np.stack(arrays) for arrays in zip(*contexts, strict=True))
        return stack_context(self._look(frames), torch.from_numpy(mask).to(self.device), self._stack)
