"""What `make dist` built: the wheel and the sdist, and the wheel installed into an environment without extras."""

import json
import os
import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest
import tomllib

ROOT = Path(__file__).parents[1]
BIN = ROOT / ".venv-dist" / "bin"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
VERSION = PROJECT["version"]


def run(*command, **options):
    """What a command prints, outside the repository and without what the caller's environment adds to imports."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "MULTIPARAM"))}
    ran = subprocess.run(command, capture_output=True, text=True, env=environment, **options)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def tracked():
    """The files under version control, which an untracked one that gets in is not."""
    return set(run("git", "ls-files", cwd=ROOT).splitlines())


@pytest.fixture(scope="module")
def wheel():
    with zipfile.ZipFile(ROOT / "dist" / f"multiparam-{VERSION}-py3-none-any.whl") as archive:
        yield archive


def test_the_wheel_holds_the_packages_and_nothing_else(wheel):
    about = f"multiparam-{VERSION}.dist-info/"
    held = {name for name in wheel.namelist() if not name.startswith(about)}
    wanted = {name.removeprefix("backends/") for name in tracked() if name.startswith(("multiparam/", "backends/"))}
    assert held == wanted
    assert {"multiparam/py.typed", "multiparam/demo/digits.npz", "multiparam_torch/adapter.py"} <= held


def test_the_wheel_says_what_it_is(wheel):
    about = f"multiparam-{VERSION}.dist-info/"
    metadata = wheel.read(f"{about}METADATA").decode()
    for line in (
        f"Version: {VERSION}",
        "License-Expression: Apache-2.0",
        f"Requires-Python: {PROJECT['requires-python']}",
        "Classifier: Typing :: Typed",
    ):
        assert f"\n{line}\n" in metadata
    assert wheel.read(f"{about}licenses/LICENSE") == (ROOT / "LICENSE").read_bytes()
    declared = wheel.read(f"{about}entry_points.txt").decode()
    for group, entries in PROJECT["entry-points"].items():
        assert f"[{group}]" in declared
        assert all(f"{name} = {value}" in declared for name, value in entries.items())


def test_the_sdist_holds_what_is_under_version_control():
    with tarfile.open(ROOT / "dist" / f"multiparam-{VERSION}.tar.gz") as archive:
        held = {one.name.partition("/")[2] for one in archive.getmembers() if one.isfile()}
    made = {name for name in held if name in ("PKG-INFO", "setup.cfg") or ".egg-info/" in name}
    assert held - made == tracked() - {".gitignore"}


def test_no_framework_is_needed(tmp_path):
    code = "import multiparam as mp; print(mp.__version__); mp.save({'x': mp.nn.Linear(2, 3).weight.value}, 'x')"
    assert run(BIN / "python", "-W", "error", "-c", code, cwd=tmp_path).strip() == VERSION
    assert run(BIN / "multiparam", "--version", cwd=tmp_path).split()[-1] == VERSION
    installed = {one["name"].lower() for one in json.loads(run(BIN / "pip", "list", "--format", "json"))}
    assert {"multiparam", "numpy"} <= installed
    assert not installed & {"torch", "keras", "tensorflow", "jax", "flax", "paddlepaddle", "mxnet", "scikit-learn"}


def test_the_backends_are_listed(tmp_path):
    lines = json.loads(run(BIN / "multiparam", "backends", "--json", cwd=tmp_path))
    assert {line["name"] for line in lines} == set(PROJECT["entry-points"]["multiparam.backends"])
    assert [line["name"] for line in lines if line["installed"]] == ["numpy"]
    assert not any(line["problem"] for line in lines)


def test_the_demo_runs_on_numpy(tmp_path):
    shown = run(BIN / "multiparam", "demo", "--backend", "numpy", cwd=tmp_path)
    assert "Every promise was kept." in shown


def test_a_users_program_sees_the_types(tmp_path):
    (tmp_path / "program.py").write_text(
        "import multiparam as mp\nnet = mp.nn.Linear(4, 8)\nreveal_type(mp.parameters(net)['weight'].shape)\n"
    )
    command = ["mypy", "--strict", "--python-executable", BIN / "python", "program.py"]
    shown = run(ROOT / ".venv" / "bin" / command[0], *command[1:], cwd=tmp_path)
    assert "Success: no issues found" in shown
    assert "Revealed type is" in shown
    assert "Any" not in shown
