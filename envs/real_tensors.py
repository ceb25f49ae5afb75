"""Real games with the face of dreams: what an agent sees of them, as frames or through a world model's encoder."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from envs.encoded import stacked_space
from envs.models import ModelSource, open_model
from envs.pool import look
from envs.tensors import TensorVectorEnv
from worldmodel.base import WorldModel
from worldmodel.errors import UserError
from worldmodel.spaces import ActionSpec, FrameSize, Observation, shape_of


class RealTensorEnv(TensorVectorEnv):
    """N real games, seen as `NeuralVectorEnv` shows its dreams.

    Attributes:
        world_model: The model through whose encoder the games are seen; None for frames.
    """

    world_model: WorldModel | None

    def __init__(
        self,
        num_envs: int,
        horizon: int | None,
        device: str | torch.device,
        world_model: ModelSource | None,
        observation: Observation,
        stack: int,
    ) -> None:
        """Begin with no game at all; for the arguments see `RealDreams`.

        Raises:
            UserError: If latents are asked for without a world model.
        """
        if observation == "latents" and world_model is None:
            raise UserError("latents of the real game need an encoder: give the world model.")
        super().__init__(num_envs, horizon, device)
        self.world_model = None if world_model is None else open_model(world_model, self.device)
        self._observation, self._stack = observation, stack

    def _show(self, action_spec: ActionSpec, frame_size: FrameSize) -> None:
        """Tell the spaces of games that have these actions and are seen in this size."""
        dtype = np.uint8 if self._observation == "frames" else np.float32
        shape = self._look(np.zeros((1, *shape_of(frame_size)), np.uint8)).shape[1:]
        self._set_spaces(action_spec, stacked_space(shape, dtype, self._stack))

    @torch.no_grad()
    def _look(self, frames: NDArray[np.uint8]) -> Tensor:
        return look(self.world_model, torch.from_numpy(frames).to(self.device), self._observation)
