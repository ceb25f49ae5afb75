"""The PPO of `experiments.ppo` on tensors: what a training loop costs without a framework."""

from typing import cast

from torch import Tensor, nn

from envs.tensors import TensorVectorEnv
from experiments.ppo import PPO
from rl.module import PixelModule


class ModuleAgent(nn.Module):
    """RLlib's module, as `experiments.ppo` wants its agents."""

    def __init__(self, module: PixelModule) -> None:
        super().__init__()
        self.module = module

    def forward(self, observations: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and values of observations."""
        embeddings = self.module.embed(observations)
        return self.module.policy(embeddings), self.module.value(embeddings).squeeze(-1)


class BarePPO(PPO):
    """PPO that passes by the dreams' NumPy face, as imagination does."""

    def imagine(self) -> int:
        """One rollout and the update on it; returns the steps taken."""
        self.train()
        return int((~self.skipped).sum())

    def reset(self, seed: int) -> Tensor:
        """Begin all dreams."""
        return cast(TensorVectorEnv, self.envs).reset_tensors(seed)

    def step(self, actions: Tensor) -> tuple[Tensor, ...]:
        """Dream on."""
        return cast(TensorVectorEnv, self.envs).step_tensors(actions)
