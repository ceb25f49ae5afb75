"""RLlib's PPO learner, which also remembers how its updates went."""

from typing import Any, cast

import torch
from ray.rllib.algorithms.ppo.ppo import LEARNER_RESULTS_VF_EXPLAINED_VAR_KEY
from ray.rllib.algorithms.ppo.torch.ppo_torch_learner import PPOTorchLearner
from ray.rllib.core.columns import Columns
from ray.rllib.core.learner.learner import ENTROPY_KEY, POLICY_LOSS_KEY, VF_LOSS_KEY
from torch import Tensor

_LOGGED = {
    "entropy": ENTROPY_KEY,
    "policy_loss": POLICY_LOSS_KEY,
    "value_loss": VF_LOSS_KEY,
    "explained_variance": LEARNER_RESULTS_VF_EXPLAINED_VAR_KEY,
}
"""Our names of what RLlib's loss logs; it keeps the newest update's alone."""
AGENT_FIGURES = (*_LOGGED, "kl")
"""what an `AgentLearner` remembers"""


class AgentLearner(PPOTorchLearner):
    """Adds up what every update says, on the device: nothing waits for it until somebody asks."""

    def build(self) -> None:
        """Build the learner; called by RLlib."""
        super().build()
        self._sums: Tensor | None = None
        self._updates = 0

    def compute_loss_for_module(
        self, *, module_id: str, config: Any, batch: dict[str, Any], fwd_out: dict[str, Any]
    ) -> Tensor:
        """PPO's loss; called by RLlib for every update."""
        loss = super().compute_loss_for_module(module_id=module_id, config=config, batch=batch, fwd_out=fwd_out)
        self._add(module_id, batch, fwd_out)
        return cast(Tensor, loss)

    def take_figures(self) -> dict[str, float]:
        """The mean of each of `AGENT_FIGURES` over the updates since this was asked last; nothing without any."""
        if self._sums is None:
            return {}
        means = (self._sums / self._updates).tolist()
        self._sums, self._updates = None, 0
        return dict(zip(AGENT_FIGURES, means, strict=True))

    def configure_optimizers_for_module(self, module_id: str, config: Any = None) -> None:
        """Choose the optimizer; called by RLlib."""
        parameters = self.get_parameters(self.module[module_id])
        self.register_optimizer(
            module_id=module_id,
            # In one operation; not fused, it waits for a GPU to tell its steps once they were read from a checkpoint.
            optimizer=torch.optim.Adam(parameters, fused=True),
            params=parameters,
            lr_or_lr_schedule=config.lr,
        )

    def apply_gradients(self, gradients_dict: dict[Any, Any]) -> None:
        """Take a step; called by RLlib.

        What is not finite is 0 or the largest number, as with RLlib; but RLlib asks twice of every gradient whether
        that is so, and a GPU would be waited for each time. Whatever else may be asked of a step, RLlib does itself.
        """
        if self.config.torch_skip_nan_gradients or self._grad_scalers is not None or self._lr_scheduler_classes:
            super().apply_gradients(gradients_dict)
            return
        for name, gradient in gradients_dict.items():
            self._params[name].grad = gradient.nan_to_num_()
        for module_id, names in self._module_optimizers.items():
            for name in names:
                self.get_optimizer(module_id, name).step()

    @torch.no_grad()
    def _add(self, module_id: str, batch: dict[str, Any], fwd_out: dict[str, Any]) -> None:
        logged = [self.metrics.peek((module_id, key)) for key in _LOGGED.values()]
        figures = torch.stack([*logged, self._moved(module_id, batch, fwd_out)])
        self._sums = figures if self._sums is None else self._sums + figures
        self._updates += 1

    def _moved(self, module_id: str, batch: dict[str, Any], fwd_out: dict[str, Any]) -> Tensor:
        """How far the policy is from the one that played; RLlib tells 0 where it does not punish that."""
        distribution = self.module[module_id].unwrapped().get_train_action_dist_cls()
        learned: Any = distribution.from_logits(fwd_out[Columns.ACTION_DIST_INPUTS])
        return divergence(batch[Columns.ACTION_LOGP], learned.logp(batch[Columns.ACTIONS]))


def divergence(before: Tensor, now: Tensor) -> Tensor:
    """KL divergence of what a policy was from what it is, estimated from the actions that it took before.

    Unbiased and never negative (Schulman, 2020: "Approximating KL divergence"); torch's own would wait for the device.

    Args:
        before: Their log probabilities then, (batch,).
        now: Their log probabilities now, (batch,).
    """
    change = now - before
    return (change.expm1() - change).mean()
