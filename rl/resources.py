"""What a run needs of the cluster: asked for when it starts, since Ray waits in silence for what there is not."""

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import ray

from rl.settings import Settings
from rl.supervised import Say
from worldmodel.errors import UserError

GPU_SHARE = 0.5
_SECONDS_BETWEEN_WORDS = 10.0


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
            ("CPU", "--collect.collectors if it is above 1, else raise --cluster.num-cpus"),
            ("GPU", "--cluster.agent-gpus and --cluster.learner-gpus"),
        ):
            needed, found = sum(bundle.get(kind, 0.0) for bundle in self.bundles), there.get(kind, 0.0)
            if needed > found:
                raise UserError(f"The run needs {needed:g} {kind}s, the cluster has {found:g}; lower {setting}.")

    def wait(self, patience: float, say: Say) -> None:
        """Wait at most `patience` seconds until the cluster has so much free, and say so.

        Raises:
            UserError: If it has not.
        """
        until = time.monotonic() + patience
        while lacking := self._lacking(ray.available_resources()):
            if time.monotonic() >= until:
                raise UserError(
                    f"The cluster had no room within {patience:g} s ({lacking}): end other work there, lower"
                    " --collect.collectors, or raise --cluster.patience."
                )
            say(f"waiting for room in the cluster: {lacking}")
            time.sleep(min(_SECONDS_BETWEEN_WORDS, max(until - time.monotonic(), 0)))

    def _lacking(self, free: Mapping[str, float]) -> str:
        needed = {kind: sum(bundle.get(kind, 0.0) for bundle in self.bundles) for kind in ("CPU", "GPU")}
        # The agent itself runs in the driver, which Ray does not count.
        needed["CPU"] -= 1
        lacking = (f"{count:g} {kind}s are needed, {free.get(kind, 0.0):g} are free"
                   for kind, count in needed.items() if count > free.get(kind, 0.0))  # fmt: skip
        return ", ".join(lacking)


def usable_cores() -> int:
    """CPU cores that this process may use: under taskset or Slurm fewer than there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cluster_gpus() -> float:
    """GPUs of the running cluster; 0 if Ray has not been started."""
    return ray.cluster_resources().get("GPU", 0.0) if ray.is_initialized() else 0.0
