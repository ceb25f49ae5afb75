"""RLlib's own way of playing and learning, as the reference for those that go another way."""

from typing import Any, ClassVar

import torch
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.env.single_agent_env_runner import SingleAgentEnvRunner
from ray.rllib.evaluation.postprocessing import Postprocessing
from torch import Tensor

from rl.module import PixelModule

COLUMNS = (
    Columns.OBS,
    Columns.ACTIONS,
    Columns.ACTION_DIST_INPUTS,
    Columns.ACTION_LOGP,
    Postprocessing.ADVANTAGES,
    Postprocessing.VALUE_TARGETS,
)
"""what PPO's loss takes"""


class Replay(PixelModule):
    """Repeats the actions of another player, in RLlib's own env runner."""

    actions: ClassVar[list[Tensor]] = []

    def _forward_exploration(self, batch, **kwargs):
        out, actions = self._forward(batch), Replay.actions.pop(0)
        distribution = self.get_exploration_action_dist_cls().from_logits(out[Columns.ACTION_DIST_INPUTS])
        return out | {Columns.ACTIONS: actions, Columns.ACTION_LOGP: distribution.logp(actions)}


class Stock:
    """RLlib's own env runner and learner in the corridor, with the weights of `module`."""

    def __init__(
        self, module: PixelModule, dreams: int, model: dict[str, Any], ppo: dict[str, float], **settings: Any
    ) -> None:
        """`model` is the module's config, `ppo` what RLlib's `training` takes, `settings` what the corridor takes."""
        self.config = (
            PPOConfig()
            .environment("Corridor-v0", env_config=settings)
            .env_runners(num_env_runners=0, num_envs_per_env_runner=dreams, gym_env_vectorize_mode="vector_entry_point")
            .training(use_kl_loss=False, vf_clip_param=float("inf"), **ppo)
            .rl_module(rl_module_spec=RLModuleSpec(module_class=Replay, model_config=model))
        )
        self.player = SingleAgentEnvRunner(config=self.config)
        self.player.module.load_state_dict(module.state_dict())
        self.learner = self.config.build_learner(spaces=self.player.get_spaces())
        self.learner.module[DEFAULT_MODULE_ID].load_state_dict(module.state_dict())

    def batch(self, actions: Tensor, steps: int) -> dict[str, Tensor]:
        """What the learner makes of `steps` steps with these actions, (time, dreams): its loss's inputs, unmasked."""
        Replay.actions = list(actions.clone())
        episodes = self.player.sample(num_timesteps=steps, explore=True)
        assert not Replay.actions, "RLlib took another number of steps"
        batch = self.learner._learner_connector(
            rl_module=self.learner.module, batch={}, episodes=episodes, shared_data={}, metrics=self.learner.metrics
        )[DEFAULT_MODULE_ID]
        mask = torch.as_tensor(batch[Columns.LOSS_MASK])
        return {name: torch.as_tensor(batch[name])[mask] for name in COLUMNS}

    def loss(self, batch: dict[str, Tensor]) -> Tensor:
        """The learner's loss on a batch."""
        outputs = self.learner.module[DEFAULT_MODULE_ID].forward_train(batch)
        config = self.config.get_config_for_module(DEFAULT_MODULE_ID)
        return self.learner.compute_loss_for_module(
            module_id=DEFAULT_MODULE_ID, config=config, batch=batch, fwd_out=outputs
        )
