"""What a run needs of the cluster: asked for when it starts, since Ray waits in silence for what there is not."""

from dataclasses import dataclass
from typing import Self

import ray

from rl.settings import Settings
from worldmodel.errors import UserError

GPU_SHARE = 0.5


@dataclass(frozen=True)
class Resources:
    """CPUs and GPUs by part.

    The agent, the learner and the evaluator take turns on the agent's CPU; collectors play side by side on their own.
    """

    collectors: int
    agent_gpus: float
    learner_gpus: float

    @classmethod
    def of(cls, settings: Settings, cluster_gpus: float) -> Self:
        """What these settings need on a cluster with so many GPUs."""
        cluster = settings.cluster
        share = GPU_SHARE if cluster_gpus else 0.0
        return cls(
            collectors=settings.collect.collectors,
            agent_gpus=share if cluster.agent_gpus is None else cluster.agent_gpus,
            learner_gpus=share if cluster.learner_gpus is None else cluster.learner_gpus,
        )

    @property
    def bundles(self) -> list[dict[str, float]]:
        """For a Ray placement group: the agent's first, then the collectors', then the learner's if it has a GPU."""
        agent = {"CPU": 1.0, "GPU": self.agent_gpus} if self.agent_gpus else {"CPU": 1.0}
        learner = [{"GPU": self.learner_gpus}] if self.learner_gpus else []
        return [agent, *[{"CPU": 1.0}] * self.collectors, *learner]

    @property
    def cpus(self) -> int:
        """CPUs in all."""
        return 1 + self.collectors

    def check(self) -> None:
        """Refuse what the running cluster cannot give.

        Raises:
            UserError: If it has too few CPUs or GPUs in all.
        """
        there = ray.cluster_resources()
        for kind, setting in (
            ("CPU", "--collect.collectors"),
            ("GPU", "--cluster.agent-gpus and --cluster.learner-gpus"),
        ):
            needed, found = sum(bundle.get(kind, 0.0) for bundle in self.bundles), there.get(kind, 0.0)
            if needed > found:
                raise UserError(f"The run needs {needed:g} {kind}s, the cluster has {found:g}; lower {setting}.")


def cluster_gpus() -> float:
    """GPUs of the running cluster; 0 if Ray has not been started."""
    return ray.cluster_resources().get("GPU", 0.0) if ray.is_initialized() else 0.0
