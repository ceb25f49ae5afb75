"""Ray, for as long as a run lasts."""

import importlib.util
import logging
import os
import secrets
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from experiments.stopping import handlers_kept
from rl.settings import ClusterSettings
from worldmodel.errors import UserError

PACKAGES = ("rl", "worldmodel", "envs", "tune", "experiments")
ONE_PROCESS = ClusterSettings(num_cpus=1, object_store_mb=100)
"""for RLlib, which wants Ray to be there, where game, policy and learner share one process"""
_ENVIRONMENT = {
    # Workers do the main job here; Ray would give way to whatever else runs.
    "RAY_worker_niceness": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "PYTHONWARNINGS": "ignore",
}
_CHECK_SECONDS = 60
_ANSWER_SECONDS = 10
_LOOPBACK = "127.0.0.1"


class Addresses(NamedTuple):
    """Where a cluster can be watched.

    Attributes:
        metrics: Its Prometheus endpoint, if there is one.
        dashboard: Ray's dashboard, if it was asked for.
        token: What it asks for.
    """

    metrics: str | None
    dashboard: str | None
    token: str | None = None

    @property
    def lines(self) -> list[str]:
        """What there is, a line each."""
        metrics = [f"metrics at {self.metrics}"] if self.metrics else []
        asks = f", which asks for the token {self.token}" if self.token else ""
        return [*metrics, f"dashboard at {self.dashboard}{asks}"] if self.dashboard else metrics


@contextmanager
def ray_cluster(settings: ClusterSettings, game: str = "") -> Iterator[Addresses]:
    """Ray, joined or started here; yields where it can be watched.

    Every worker, on other nodes too, imports the five packages from a copy of this installation, and the module that
    the id of `game` names from this folder, if it is here.

    Raises:
        UserError: If the cluster cannot be reached or cannot be what it is asked to be, or our packages are mixed with
            others of the same names.
    """
    check_dashboard(settings)
    os.environ.update({name: value for name, value in _ENVIRONMENT.items() if name not in os.environ})
    root = packages_root()
    with tempfile.TemporaryDirectory(prefix="neuralenv-") as folder:
        _copy_packages(root, Path(folder))
        ray, dashboard = _connect(settings, {"working_dir": folder, "env_vars": _own_game(game)})
        try:
            _check_workers(ray)
            yield Addresses(_metrics_address(ray), dashboard, os.environ.get("RAY_AUTH_TOKEN"))
        finally:
            ray.shutdown()


def check_dashboard(settings: ClusterSettings) -> None:
    """See that a dashboard is asked for only where it can be given.

    Raises:
        UserError: If the cluster is one that runs already: whether it has a dashboard was settled when it was started.
    """
    if settings.dashboard and settings.address is not None:
        raise UserError(
            f"--cluster.dashboard is for a cluster that is started here; the one at {settings.address} was started with"
            " or without a dashboard: leave the option out."
        )


def packages_root() -> Path:
    """The folder that holds all five packages.

    Raises:
        UserError: If they don't come from one folder, so that one of them is somebody else's.
    """
    homes = _homes()
    if len(set(homes.values())) > 1:
        found = ", ".join(f"{name} from {home}" for name, home in homes.items())
        raise UserError(f"The packages come from different folders ({found}); start from a folder without those names.")
    return Path(homes["rl"])


def _homes() -> dict[str, str]:
    specs = {name: importlib.util.find_spec(name) for name in PACKAGES}
    return {name: str(Path(spec.origin).parent.parent) for name, spec in specs.items() if spec and spec.origin}


def _copy_packages(root: Path, folder: Path) -> None:
    for name in PACKAGES:
        shutil.copytree(root / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))


def _own_game(game: str) -> dict[str, str]:
    # Only for those who need it: whatever lies in this folder comes before installed packages.
    return {"PYTHONPATH": str(Path.cwd())} if ":" in game else {}


def _connect(settings: ClusterSettings, runtime_env: dict[str, Any]) -> tuple[Any, str | None]:
    """Ray, connected, and its dashboard's address if there is to be one."""
    if settings.address is None:
        require_token()
    else:
        check_answers(settings.address)
    import ray

    try:
        with handlers_kept():
            context = ray.init(
                **_where(settings),
                runtime_env=runtime_env,
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
    except Exception as error:  # Ray says no more than that when it takes too long to start
        raise UserError(_refusal(settings, str(error))) from error
    return ray, f"http://{context.dashboard_url}" if settings.dashboard else None


def require_token() -> None:
    """Let clusters that this process starts answer nobody without a secret token, unless its environment says else.

    Ray listens on every address of a machine: without one whoever reaches it could run code here. It asks for a token
    by itself where nothing is said, and would keep one in the user's home.
    """
    if "RAY_AUTH_MODE" not in os.environ:
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))


def check_answers(address: str) -> None:
    """See that something answers at the address of a cluster; Ray itself would try for minutes.

    Raises:
        UserError: If nothing does, or it is no address that a run can join.
    """
    from ray._private.services import canonicalize_bootstrap_address

    if "://" in address:
        raise UserError(
            f"--ray-address is {address}: give HOST:PORT of the cluster's head, or auto, on one of its machines."
        )
    try:
        found = canonicalize_bootstrap_address(address)
    except ValueError as error:
        raise UserError(f"--ray-address must be HOST:PORT or auto, not {address}.") from error
    if found is None:
        raise UserError("There is no Ray cluster on this machine: start one with `ray start`, or drop --ray-address.")
    host, _, port = found.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), _ANSWER_SECONDS).close()
    except (OSError, ValueError) as error:
        raise UserError(f"Nothing answers at {found} ({error}); check --ray-address.") from error


def _refusal(settings: ClusterSettings, reason: str) -> str:
    words = " ".join(reason.split())
    if settings.address is None and "timed out" in words:
        return f"Ray did not start in time, since this machine is busy ({words}); give the same command again."
    if settings.address is None:
        return f"Ray cannot start ({words}); see --cluster.num-cpus and --cluster.object-store-mb."
    if "ersion mismatch" in words:
        return f"The cluster at {settings.address} has another Ray or Python than this one ({words}): install the same."
    return f"There is no Ray cluster at {settings.address} ({words}); check --ray-address."


def _where(settings: ClusterSettings) -> dict[str, Any]:
    if settings.address is not None:
        return {"address": settings.address}
    import torch  # takes seconds, which a cluster that runs already does not ask for

    return {
        "address": "local",
        "num_cpus": settings.num_cpus,
        # Ray counts none where it cannot ask the driver's library, and a run would learn on the CPU.
        "num_gpus": torch.cuda.device_count() or None,
        "object_store_memory": settings.object_store_mb * 1_000_000,
        "include_dashboard": settings.dashboard,
        # Whoever reaches it may run code in the cluster.
        "dashboard_host": _LOOPBACK,
    }


def _check_workers(ray: Any) -> None:
    try:
        homes = ray.get(ray.remote(num_cpus=0)(_homes).remote(), timeout=_CHECK_SECONDS)
    except ray.exceptions.GetTimeoutError as error:
        raise UserError(
            f"The cluster has run nothing for {_CHECK_SECONDS} s: see whether its machines are up (`ray status`)."
        ) from error
    except ray.exceptions.RuntimeEnvSetupError as error:
        raise UserError(f"The cluster's machines cannot be given the code: {' '.join(str(error).split())}") from error
    if len(set(homes.values())) > 1:
        found = ", ".join(f"{name} from {home}" for name, home in homes.items())
        raise UserError(f"Ray's workers find our packages mixed with others ({found}); uninstall those.")


def _metrics_address(ray: Any) -> str | None:
    node = next((node for node in ray.nodes() if node["Alive"]), None)
    port = node and node.get("MetricsExportPort")
    return f"http://{node['NodeManagerAddress']}:{port}/metrics" if node and port and port > 0 else None
