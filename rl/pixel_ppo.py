"""RLlib's PPO as it is usually set for pixels."""

from ray.rllib.algorithms.ppo import PPO, PPOConfig
from ray.rllib.core.rl_module.rl_module import RLModuleSpec

from rl.module import PixelModule


class PixelPPOConfig(PPOConfig):
    """PPO with a `PixelModule`, in one process, on environments that are vectors already."""

    def __init__(self, algo_class: type[PPO] | None = None) -> None:
        """Set what RLlib's own defaults leave at values that do not suit pixels."""
        super().__init__(algo_class=algo_class or PPO)
        self.env_runners(num_env_runners=0, gym_env_vectorize_mode="vector_entry_point")
        self.environment(normalize_actions=True, clip_actions=False)
        self.training(
            lr=5e-4,
            lambda_=0.95,
            num_epochs=4,
            minibatch_size=256,
            clip_param=0.2,
            vf_clip_param=float("inf"),
            vf_loss_coeff=0.5,
            entropy_coeff=0.01,
            grad_clip=0.5,
            use_kl_loss=False,
        )

    def get_default_rl_module_spec(self) -> RLModuleSpec:
        """A `PixelModule`, unless the config names another module."""
        return RLModuleSpec(module_class=PixelModule)
