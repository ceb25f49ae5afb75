import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import ray

from experiments import cluster
from experiments.cluster import PACKAGES, Addresses, packages_root, ray_cluster
from rl.settings import ClusterSettings
from worldmodel.errors import UserError

ROOT = Path(__file__).parents[2]


def test_the_packages_are_found_in_one_place():
    assert packages_root() == ROOT
    assert all((packages_root() / name).is_dir() for name in PACKAGES)


def test_somebody_elses_package_is_refused(monkeypatch):
    monkeypatch.setattr(cluster, "_homes", lambda: {"rl": "/ours", "envs": "/theirs"})
    with pytest.raises(UserError, match="envs from /theirs"):
        packages_root()


def test_workers_are_given_code_alone(tmp_path):
    cluster._copy_packages(ROOT, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == set(PACKAGES)
    assert (tmp_path / "rl" / "settings.py").read_text() == (ROOT / "rl" / "settings.py").read_text()
    assert not list(tmp_path.rglob("__pycache__"))


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        ("ray://head:10001", "give HOST:PORT"),
        ("nowhere", "HOST:PORT or auto, not nowhere"),
        ("127.0.0.1:9", r"Nothing answers at .*:9 .*check --ray-address"),
    ],
)
def test_an_address_where_no_cluster_is_is_refused_at_once(address, sentence):
    began = time.monotonic()
    with pytest.raises(UserError, match=sentence):
        cluster.check_answers(address)
    assert time.monotonic() - began < 20


@pytest.mark.parametrize(
    ("address", "raised", "sentence"),
    [
        (
            "there:6379",
            "Version mismatch: The cluster has:\n  Ray: 9",
            "another Ray or Python than this one",
        ),
        ("there:6379", "no", "There is no Ray cluster at there:6379"),
        (None, "object store too small", "--cluster.object-store-mb"),
        (None, "The current node timed out during startup.", "busy .* give the same command again"),
    ],
)
def test_what_ray_refuses_is_one_sentence(address, raised, sentence, monkeypatch, tmp_path):
    def refuse(**arguments):
        raise Exception(raised)

    monkeypatch.setattr(ray, "init", refuse)
    monkeypatch.setattr(cluster, "check_answers", lambda address: None)
    with pytest.raises(UserError, match=sentence) as error:
        cluster._connect(ClusterSettings(address=address), tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("dashboard", [False, True])
def test_a_dashboard_is_there_if_it_is_asked_for_and_answers_this_machine_alone(monkeypatch, dashboard):
    told = {}

    def init(**arguments):
        told.update(arguments)
        return SimpleNamespace(dashboard_url="127.0.0.1:8265")

    monkeypatch.setattr(ray, "init", init)
    _, address = cluster._connect(ClusterSettings(dashboard=dashboard), {})
    assert (told["include_dashboard"], told["dashboard_host"]) == (dashboard, "127.0.0.1")
    assert address == ("http://127.0.0.1:8265" if dashboard else None)


def test_nobody_elses_cluster_is_asked_for_a_dashboard(monkeypatch):
    monkeypatch.setattr(ray, "init", lambda **_: pytest.fail("the cluster was joined"))
    settings = ClusterSettings(address="there:6379", dashboard=True)
    with pytest.raises(UserError, match="the one at there:6379 was started with or without"), ray_cluster(settings):
        pass


def test_there_is_no_dashboard_unless_it_is_asked_for():
    assert not ClusterSettings().dashboard


def test_what_can_be_watched_is_told_a_line_each():
    assert Addresses("http://here:1/metrics", None).lines == ["metrics at http://here:1/metrics"]
    assert Addresses(None, "http://127.0.0.1:8265").lines == ["dashboard at http://127.0.0.1:8265"]
    (line,) = Addresses(None, "http://127.0.0.1:8265", "abc").lines
    assert line == "dashboard at http://127.0.0.1:8265, which asks for the token abc"
    assert Addresses(None, None, "abc").lines == []


OURS = """
import os

from experiments.cluster import ONE_PROCESS, ray_cluster

with ray_cluster(ONE_PROCESS):
    import ray

    print(ray.get_runtime_context().gcs_address, os.environ["RAY_AUTH_TOKEN"], flush=True)
    input()
"""
STRANGER = """
import sys

import ray

ray.init(sys.argv[1], log_to_driver=False)
"""


def test_a_cluster_that_is_started_here_answers_no_stranger(tmp_path, monkeypatch):
    """Ray listens on every address of the machine, so whoever reached it could run code."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", OURS], stdin=pipe, stdout=pipe, text=True) as ours:
        address, token = ours.stdout.readline().split()
        known, wrong = ({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": given} for given in (token, "0" * 64))
        nobodys = {"RAY_AUTH_MODE": "disabled"}
        comers = [
            subprocess.Popen(
                [sys.executable, "-c", STRANGER, address], cwd=tmp_path, env={**os.environ, **given}, stderr=pipe,
                text=True,
            )
            for given in (known, nobodys, wrong)
        ]  # fmt: skip
        told = [comer.communicate(timeout=120)[1] for comer in comers]
        assert [comer.returncode == 0 for comer in comers] == [True, False, False], told
        ours.communicate("\n", timeout=60)
    assert ours.returncode == 0
    assert not list(tmp_path.glob(".ray/*token*")), "a token in the home would be that of every cluster to come"


def test_who_says_how_ray_is_to_be_reached_is_not_overruled(monkeypatch):
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    cluster.require_token()
    assert (os.environ["RAY_AUTH_MODE"], "RAY_AUTH_TOKEN" in os.environ) == ("disabled", False)


WITH_DASHBOARD = """
import urllib.request

from experiments import cluster
from rl.settings import ClusterSettings

settings = ClusterSettings(num_cpus=1, object_store_mb=100, dashboard=True)
with cluster.ray_cluster(settings) as addresses:
    print(addresses.dashboard, urllib.request.urlopen(addresses.dashboard).status)
"""


def test_the_dashboard_answers(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", WITH_DASHBOARD], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    address, status = done.stdout.split()
    assert address.startswith("http://127.0.0.1:") and status == "200"


IN_RAY = """
from experiments import cluster
from rl.settings import ClusterSettings

with cluster.ray_cluster(ClusterSettings(num_cpus=1, object_store_mb=100)) as addresses:
    import ray

    homes = ray.get(ray.remote(num_cpus=0)(cluster._homes).remote())
print(len(set(homes.values())), homes["envs"], addresses.metrics)
"""


def test_a_worker_imports_the_copy_whatever_lies_around(tmp_path):
    (tmp_path / "envs.py").write_text("raise ImportError('not this one')")
    (tmp_path / "script.py").write_text(IN_RAY)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-P", "script.py"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    places, home, metrics = done.stdout.split()
    assert places == "1"
    assert home not in (str(tmp_path), str(ROOT))
    assert metrics.startswith("http://")


OWN_GAME = """
import sys
from pathlib import Path

from experiments import cluster
from experiments.cli import run_main
from rl.settings import ClusterSettings


def steps():
    from envs import make_real

    return make_real("my_game:Counting-v0", 1).reset(seed=0)[0].shape


def main(arguments):
    with cluster.ray_cluster(ClusterSettings(num_cpus=1, object_store_mb=100), "my_game:Counting-v0"):
        import ray

        print(steps(), ray.get(ray.remote(num_cpus=0)(steps).remote()))
    return 0


run_main(main, [])
"""


def test_a_game_in_this_folder_is_found_here_and_on_workers(tmp_path):
    (tmp_path / "my_game.py").write_text((ROOT / "tests" / "counting.py").read_text().replace("counting:", "my_game:"))
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "script.py").write_text(OWN_GAME)
    done = subprocess.run(
        [sys.executable, "elsewhere/script.py"], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[-2] == "(1, 64, 64, 3) (1, 64, 64, 3)"
