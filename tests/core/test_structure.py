"""The house: who may import whom, and what an import costs."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CORE = sorted((ROOT / "multiparam").rglob("*.py"))
ADAPTERS = sorted((ROOT / "backends").rglob("*.py"))
FRAMEWORKS = {"torch", "keras", "tensorflow", "jax", "flax", "optax", "paddle", "mxnet"}
TESTS = sorted(
    path
    for folder in ("tests", "multiparam/testing", "examples", "notebooks")
    for path in (ROOT / folder).rglob("*.py")
)
CLOCKS = {
    f"{clock}{unit}" for clock in ("perf_counter", "process_time", "thread_time", "monotonic") for unit in ("", "_ns")
}
CLOCKS |= {"getrusage", "sleep", "time_ns", "timeit"}
SURFACE = {f"multiparam.{name}" for name in ("adapter", "formats", "plain_pickle", "plugin", "zip_file")}
SURFACE |= {"multiparam.model.bridge"}
# each imports what stands above it only; what shares a line does not import each other
FLOORS = [
    {"text"},
    {"errors"},
    {"entry_points", "gc_pause", "names", "arrays"},
    {"html", "layer_table"},
    {"adapter", "formats"},
    {"model", "checkpoint", "nn"},
    {"matching", "init"},
    {"verbs"},
    {"steps", "plugin", "plain_pickle", "zip_file"},  # names in documents, which hand on what is elsewhere
    {"__init__"},
    {"demo", "testing"},
    {"cli"},
    {"__main__"},
]
FLOOR = {name: floor for floor, names in enumerate(FLOORS) for name in names}
SHORT = {("model", "verbs")}  # Selection.initialize is short for the verb, which takes parameters itself


def imported(path):
    """Absolute names of the modules that a file imports."""
    package = ".".join(path.relative_to(ROOT).parent.parts).removeprefix("backends.")
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package.rsplit(".", node.level - 1)[0] if node.level else ""
            found = ".".join(part for part in (base, node.module) if part)
            # what is imported from the face may be one of its packages
            yield from (f"{found}.{one.name}" if found == "multiparam" else found for one in node.names)


@pytest.mark.parametrize("path", CORE, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_core_imports_no_framework_and_no_adapter(path):
    roots = {name.partition(".")[0] for name in imported(path)}
    assert not roots & FRAMEWORKS
    assert not {root for root in roots if root.startswith("multiparam_")}


def test_every_package_has_its_floor():
    there = {path.relative_to(ROOT / "multiparam").parts[0].removesuffix(".py") for path in CORE}
    assert there == FLOOR.keys()


@pytest.mark.parametrize("path", CORE, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_run_down_only(path):
    own = path.relative_to(ROOT / "multiparam").parts[0].removesuffix(".py")
    for name in imported(path):
        root, _, rest = name.partition(".")
        if root == "multiparam":
            other = rest.partition(".")[0] or "__init__"
            assert own == other or FLOOR[other] < FLOOR[own] or (own, other) in SHORT, f"{path} imports {name}"


@pytest.mark.parametrize("path", CORE, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_core_never_asks_which_backend_it_has(path):
    compared = [
        side.value
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Compare)
        for side in [node.left, *node.comparators]
        if isinstance(side, ast.Constant)
    ]
    # registry.backends lists numpy, the one that needs nothing, first
    allowed = {"numpy"} if path.name == "registry.py" else set()
    assert not {value for value in compared if value in FRAMEWORKS | {"numpy"}} - allowed


@pytest.mark.parametrize("path", ADAPTERS, ids=lambda path: str(path.relative_to(ROOT)))
def test_adapters_import_the_surface_and_themselves_only(path):
    own = path.relative_to(ROOT / "backends").parts[0]
    ours = {name for name in imported(path) if name.partition(".")[0].startswith("multiparam")}
    surface = SURFACE | ({"multiparam.testing.parity"} if path.name == "natives.py" else set())
    assert {name for name in ours if name.partition(".")[0] != own} <= surface


def test_the_adapter_surface_is_small():
    from multiparam.adapter import Adapter

    own = {name for name, one in vars(Adapter).items() if not name.startswith("_") and callable(one)}
    assert len(own) <= 34
    # and memory or write
    assert Adapter.__abstractmethods__ == {
        *("is_model", "is_tensor", "members", "read", "shape", "dtype", "tensor", "array"),
    }


def test_a_verb_is_read_in_a_sitting():
    for path in (ROOT / "multiparam/verbs").rglob("*.py"):
        longest = 510 if path.name == "initialize.py" else 350
        assert len(path.read_text("utf-8").splitlines()) <= longest, path


def test_the_example_is_short_and_imports_the_surface_only():
    for path in sorted((ROOT / "examples/third_party_adapter/multiparam_tinygrad").glob("*.py")):
        assert len(path.read_text("utf-8").splitlines()) < 200
        ours = {name for name in imported(path) if name.partition(".")[0] == "multiparam"}
        assert ours <= SURFACE


@pytest.mark.parametrize("path", TESTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_test_looks_at_a_clock_or_waits_for_it(path):
    nodes = [*ast.walk(ast.parse(path.read_text("utf-8")))]
    names = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    names |= {node.id for node in nodes if isinstance(node, ast.Name)}
    assert not names & CLOCKS


def test_every_test_is_run():
    commands = (ROOT / "Makefile").read_text("utf-8")
    backends = re.search(r"^((?:test-\w+ )+test-\w+): test-%:", commands, re.MULTILINE)[1].split()
    named = {*re.findall(r"tests/(test_\w+)\.py", commands), *(name.replace("-", "_") for name in backends)}
    assert {path.stem for path in (ROOT / "tests").glob("test_*.py")} == named


@pytest.mark.parametrize("package", sorted((ROOT / "backends").iterdir()), ids=lambda path: path.name)
def test_an_adapters_package_is_light(package):
    if not (package / "__init__.py").exists():
        pytest.fail(f"{package} is no package")
    loaded = _loaded_after(f"import {package.name}")
    assert not loaded & FRAMEWORKS


def test_importing_multiparam_loads_no_framework():
    loaded = _loaded_after("import multiparam as mp; mp.backends(); mp.nn.Linear(4, 8, backend='numpy')")
    assert not loaded & (FRAMEWORKS | {"click", "rich", "safetensors", "pytest"})


def _loaded_after(code):
    # in a process of its own: here the frameworks may have been loaded by another test
    shown = subprocess.run(
        [sys.executable, "-c", f"{code}; import sys; print(*sorted(sys.modules))"],
        capture_output=True,
        text=True,
        check=True,
    )
    return {name.partition(".")[0] for name in shown.stdout.split()}
