"""Ray for tests."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import ray

from experiments.cluster import require_token


@contextmanager
def ray_on(num_cpus: int) -> Iterator[None]:
    """A cluster of so many logical CPUs, whose actors can import what lies beside this file; it ends any other."""
    ray.shutdown()
    # For good: Ray keeps the token that a process began with.
    require_token()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        patch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)
        ray.init(
            "local",
            num_cpus=num_cpus,
            include_dashboard=False,
            object_store_memory=100_000_000,
            log_to_driver=False,
        )
        try:
            yield
        finally:
            ray.shutdown()
