import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from pathlib import Path
from shutil import copy, copytree, ignore_patterns

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = {"rl", "worldmodel", "envs", "tune", "experiments"}


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)


def installed_names() -> set[str]:
    places = {Path(sysconfig.get_path(name)) for name in ("purelib", "platlib", "stdlib")}
    entries = {entry for place in places for entry in place.iterdir()}
    return {entry.name.split(".")[0] for entry in entries if entry.suffix in ("", ".py", ".so")} - PACKAGES


def test_no_script_shadows_an_installed_package():
    scripts = {script.stem for script in (ROOT / "experiments").glob("*.py")} - {"__init__"}
    assert "json" in installed_names()
    assert not scripts & installed_names()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> zipfile.ZipFile:
    source = tmp_path_factory.mktemp("source")
    for name in PACKAGES | {"tests"}:
        copytree(ROOT / name, source / name, ignore=ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        copy(ROOT / name, source)
    code = "from setuptools.build_meta import build_wheel; build_wheel('dist')"
    subprocess.run([sys.executable, "-c", code], cwd=source, check=True, capture_output=True)
    return zipfile.ZipFile(next((source / "dist").glob("*.whl")))


def test_the_wheel_holds_exactly_the_five_packages(wheel):
    top = {name.split("/")[0] for name in wheel.namelist()}
    assert {name for name in top if not name.endswith(".dist-info")} == PACKAGES


def test_the_wheel_holds_every_module(wheel):
    modules = {str(path.relative_to(ROOT)) for name in PACKAGES for path in (ROOT / name).rglob("*.py")}
    assert modules <= set(wheel.namelist())


def test_the_wheel_holds_the_bases_that_come_with_the_project(wheel):
    files = [path for path in (ROOT / "worldmodel" / "bases").rglob("*") if path.is_file()]
    assert {str(path.relative_to(ROOT)) for path in files} <= set(wheel.namelist())


def test_the_wheel_holds_the_data_that_modules_read(wheel):
    assert "experiments/atari100k.json" in wheel.namelist()


@pytest.mark.parametrize(
    ("package", "heavy"),
    [
        ("worldmodel", {"torch", "diffusers", "peft", "ray", "gymnasium"}),
        ("envs", {"torch", "ray", "ale_py", "cv2", "pygame", "safetensors"}),
        ("rl.settings", {"torch", "ray", "ale_py"}),
        ("experiments.cli", {"torch", "ray", "ale_py", "matplotlib", "tensorboard"}),
        ("experiments.dyna", {"torch", "ray", "ale_py", "matplotlib", "tensorboard"}),
        ("experiments.by_hand", {"torch", "ray", "ale_py", "pygame"}),
        ("experiments.expert", {"torch", "ray", "ale_py"}),
        ("experiments.pretrain", {"torch", "ray", "ale_py"}),
        ("experiments.compare", {"torch", "ray", "ale_py", "matplotlib", "scipy"}),
        ("experiments.browse", {"torch", "ray", "ale_py", "matplotlib", "tensorboard"}),
    ],
)
def test_importing_is_cheap(package, heavy):
    done = python(f"import {package}, sys; print(*sorted({heavy!r} & set(sys.modules)))")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == ""


def test_imports_run_downwards():
    lint = "from importlinter.cli import lint_imports; raise SystemExit(lint_imports(no_cache=True))"
    done = python(lint)
    assert done.returncode == 0, done.stdout
    assert "0 broken" in done.stdout


def test_nothing_imports_tune_by_a_name_that_hides_ours():
    sources = [path for name in PACKAGES for path in (ROOT / name).rglob("*.py")]
    assert not [path for path in sources if "from ray import tune" in path.read_text()]


def test_every_direct_dependency_is_pinned():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["test"]]
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = {line.split("==")[0].lower().replace("_", "-") for line in lines if "==" in line}
    names = {name.split(">")[0].split("[")[0].lower() for name in wanted}
    assert names <= pinned
