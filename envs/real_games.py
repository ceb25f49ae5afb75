"""Real games, played whole, with the face of dreams: what an agent learns from that has no world model."""

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor

from envs.atari_config import AtariConfig
from envs.models import ModelSource
from envs.real import RealVectorEnv, make_real
from envs.real_tensors import RealTensorEnv
from envs.stack import stack_push, stack_start
from envs.tensors import StepTensors, as_array
from worldmodel.spaces import FrameSize, Observation


class RealGames(RealTensorEnv):
    """N real games from their beginning to their end, with the face of `NeuralVectorEnv`."""

    def __init__(
        self,
        game: str,
        num_envs: int = 1,
        *,
        world_model: ModelSource | None = None,
        observation: Observation = "frames",
        frame_size: FrameSize = 64,
        stack: int = 4,
        max_steps: int | None = None,
        kwargs: Mapping[str, Any] | None = None,
        atari: AtariConfig | None = None,
        patience: float | None = None,
        sign_rewards: bool = False,
        device: str | torch.device = "cpu",
    ) -> None:
        """Open the games.

        Args:
            game: Gymnasium id of the game, as for `envs.make_real`.
            num_envs: Games at a time.
            world_model: Whose encoder makes the latents; not needed for frames.
            observation: As in `NeuralVectorEnv`.
            frame_size: As for `envs.make_real`.
            stack: Newest observations that are shown at once, newest last.
            max_steps: As for `envs.make_real`.
            kwargs: As for `envs.make_real`.
            atari: As for `envs.make_real`, but that with `life_loss_ends` a lost life is told as the game's end.
            patience: As for `envs.make_real`.
            sign_rewards: Pay the sign of every reward, as a world model does that learned no more than that.
            device: Where the tensors are wanted.

        Raises:
            UserError: If the game can't be opened, or latents are asked for without a world model.
        """
        super().__init__(num_envs, None, device, world_model, observation, stack)
        self._sign_rewards = sign_rewards
        lives_end = atari is not None and atari.life_loss_ends
        made = make_real(
            game, num_envs, frame_size=frame_size, max_steps=max_steps, kwargs=kwargs, atari=atari,
            lives_end=lives_end, patience=patience,
        )  # fmt: skip
        self._games = cast(RealVectorEnv, made)
        self._show(self._games.action_spec, frame_size)

    def reset_tensors(self, seed: int | None = None) -> Tensor:
        """Begin every game anew; see `TensorVectorEnv`."""
        self._forget()
        frames, _ = self._games.reset(seed=seed)
        self._stacked = stack_start(self._look(frames), self._stack)
        return self._stacked

    def step_tensors(self, actions: Tensor) -> StepTensors:
        """Play on; see `TensorVectorEnv`. With a step that only begins a game, no real step is taken."""
        frames, rewards, *ends, _ = self._games.step(as_array(actions))
        self._stacked = stack_push(self._stacked, self._look(frames), self.needs_reset)
        paid, terminated, truncated = (torch.from_numpy(told).to(self.device) for told in (rewards, *ends))
        return self._stacked, paid.sign() if self._sign_rewards else paid, *self._finish(terminated, truncated)

    def close_extras(self, **kwargs: object) -> None:
        """Close the games; called by `close`."""
        # Gymnasium also closes what could not be opened.
        if hasattr(self, "_games"):
            self._games.close()
