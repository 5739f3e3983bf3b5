"""What users see of the package: its names, their types, and a part of a file."""

import ast
import importlib
import inspect
import pickle
import re
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest

import multiparam as mp


def test_dir_has_the_api_and_nothing_else():
    shown = {name for name in dir(mp) if not name.startswith("__")}
    assert shown == set(mp.__all__)
    modules = {name for name in shown if isinstance(getattr(mp, name), types.ModuleType)}
    assert modules == {"init", "nn", "steps"}


def test_every_name_is_where_the_type_checker_is_told_that_it_is():
    told = {}
    for node in ast.walk(ast.parse(Path(mp.__file__).read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level == 1:
            told |= {one.name: node.module for one in node.names if one.name in mp.__all__}
    assert told == {**mp._WHERE, **dict.fromkeys(mp._MODULES)}
    assert told.keys() == {*mp.__all__}
    for name in mp.__all__:
        assert getattr(mp, name) is not None


def test_an_import_alone_loads_nothing_large():
    code = "import sys, multiparam; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"numpy", "dataclasses", "multiparam.model.tree", "multiparam.verbs.diff"} & {*loaded}


def test_all_that_public_functions_return_can_be_named():
    with mp.use("numpy"):
        net = mp.nn.Sequential(mp.nn.Linear(3, 3), mp.nn.Linear(3, 3))
    returned = {
        "InitializationReport": mp.initialize(net, mp.init.Constant(1), seed=0),
        "Summary": mp.summary(net),
        "Selection": mp.parameters(net).select("*"),
        "VerifyReport": mp.verify(net, net, np.ones((1, 3), "f4")),
        "DiffReport": mp.diff(net, net),
        "Layer": mp.layers(net),
        "TieReport": mp.tie(net, "1.weight", to="0.weight"),
    }
    for name, thing in returned.items():
        assert type(thing) is getattr(mp, name)
    assert isinstance(mp.backends()[0], mp.BackendInfo)


def test_modules_can_still_be_imported_and_a_wrong_name_has_close_ones():
    for name in ("plugin", "adapter", "formats", "testing"):
        assert isinstance(importlib.import_module(f"multiparam.{name}"), types.ModuleType)
    from multiparam.adapter import plugin

    assert plugin.Plugin
    with pytest.raises(AttributeError, match=r"multiparam has no 'laod'; did you mean 'load'"):
        _ = mp.laod


TYPED = """
import multiparam as mp
from typing import Any, assert_type
net: object = object()
assert_type(mp.load("a"), Any)
assert_type(mp.load("a", into=net, strict=False), mp.LoadReport)
assert_type(mp.load("a", into=net, only=["a", "b.*"], ignore="c").loaded, list[str])
assert_type(mp.verify(net, net, 1), mp.VerifyReport)
assert_type(mp.parameters(net).select("*"), mp.Selection)
assert_type(mp.open("a")["b"], mp.Entry)
assert_type(mp.summary(net), mp.Summary)
mp.load("a", rename={})
"""


@pytest.mark.newest
def test_a_type_checker_knows_what_comes_back(tmp_path, monkeypatch):
    from mypy import api

    (tmp_path / "typed.py").write_text(TYPED)
    monkeypatch.setenv("MYPYPATH", str(Path(mp.__file__).parents[1]))
    said, problems, code = api.run(
        ["--strict", "--python-version", "3.11", "--cache-dir", str(tmp_path), str(tmp_path / "typed.py")]
    )
    # the last line, and no other: strict= and rename= are for a model
    assert re.findall(r"typed\.py:(\d+): error: (.*)", said)[0][0] == str(len(TYPED.splitlines())), said + problems
    assert code == 1
    assert "Found 1 error" in said


# --- a part of a file ------------------------------------------------------------------------------------------------


@pytest.fixture
def path(tmp_path):
    """A checkpoint of a training: a model, tied in itself, its optimizer, and a step."""
    with mp.use("numpy"):
        net = mp.nn.Sequential(mp.nn.Linear(3, 2), mp.nn.ReLU(), mp.nn.Linear(2, 2))
    values = {name: one.value for name, one in mp.parameters(net).items()}
    given = {f"model.{name}": one for name, one in values.items()}
    given |= {f"optimizer.{name}": np.zeros_like(one) for name, one in values.items()}
    mp.save({**given, "step": np.ones(1)}, tmp_path / "training.safetensors")
    return tmp_path / "training.safetensors"


def model():
    with mp.use("numpy"):
        return mp.nn.Sequential(mp.nn.Linear(3, 2), mp.nn.ReLU(), mp.nn.Linear(2, 2))


@pytest.mark.parametrize(
    "how",
    [
        {"only": "model.*"},
        {"ignore": ["optimizer.*", "step"]},
        {"only": re.compile(r"model\..*")},
        {"only": ["model.*", "step"], "ignore": re.compile("st.p")},
    ],
)
def test_a_part_of_a_file_is_loaded_strictly(path, how):
    net = model()
    report = mp.load(path, into=net, rename={r"^model\.": ""}, **how)
    assert len(report.loaded) == 4
    assert sorted(report.ignored) == sorted([name for name in mp.open(path) if not name.startswith("model.")])
    assert "left out by only= and ignore=: optimizer.0.weight, " in str(report)
    assert all(np.array_equal(one.value, mp.open(path)[f"model.{name}"].value) for name, one in mp.state(net).items())
    assert {*mp.load(path, **how)} == {f"model.{name}" for name in mp.state(net)}


def test_a_prefix_stays_and_the_error_says_how_it_goes(path):
    net = model()
    before = {name: one.value for name, one in mp.state(net).items()}
    with pytest.raises(mp.MismatchError, match=re.escape(r'pass rename={r"^model\.": ""}')):
        mp.load(path, into=net, only="model.*")
    with pytest.raises(mp.MismatchError, match=r"missing: 0\.bias"):  # what is picked has to fit
        mp.load(path, into=net, only="model.*.weight", rename={r"^model\.": ""})
    assert all(np.array_equal(one.value, before[name]) for name, one in mp.state(net).items())


def test_a_pattern_that_matches_nothing_is_an_error_with_close_names(path):
    for how in ({"only": "modl.0.weight"}, {"ignore": ["step", "modl.0.weight"]}):
        with pytest.raises(mp.ParameterNotFoundError, match=r"no tensor 'modl\.0\.weight'; did you mean 'model\.0"):
            mp.load(path, into=model(), **how)
    with pytest.raises(mp.ArgumentError, match="leave nothing of"):
        mp.load(path, only="step", ignore="step")
    with pytest.raises(mp.ArgumentError, match="a pattern is a name"):
        mp.load(path, only=3)


def test_a_tie_is_kept_where_both_names_are_and_its_tensor_with_either(tmp_path):
    net = mp.nn.Sequential(*(mp.nn.Linear(2, 2, backend="numpy") for _ in range(2)), backend="numpy")
    mp.tie(net, "1.weight", to="0.weight")
    mp.save(net, tmp_path / "net.safetensors")
    found = mp.open(tmp_path / "net.safetensors")
    assert found.part("*.weight").ties == [("0.weight", "1.weight")]
    alone = found.part("1.*")
    assert ([*alone], alone.ties, [*alone.kinds]) == (["1.bias", "1.weight"], [], ["1"])
    assert np.array_equal(alone["1.weight"].value, found["0.weight"].value)
    assert sorted(found.part(ignore="0.weight")) == ["0.bias", "1.bias", "1.weight"]


def test_a_part_of_a_paddle_file_is_still_turned(tmp_path):
    given = {"0.weight": np.arange(6.0).reshape(2, 3), "0.bias": np.zeros(3)}
    table = {"0.weight": "linear_0.w_0", "0.bias": "linear_0.b_0"}
    data = {"model": {**given, "StructuredToParameterName@@": table}, "extra": np.ones(2)}
    (tmp_path / "net.pdparams").write_bytes(pickle.dumps(data, protocol=4))
    assert np.array_equal(mp.load(tmp_path / "net.pdparams", only="model.*")["model.0.weight"], given["0.weight"].T)


def test_a_builder_over_some_axes_is_told_by_its_own_name():
    assert str(inspect.signature(mp.nn.MaxPool3d)).startswith("(kernel_size: ")
    assert mp.nn.Conv2d.__name__ == "Conv2d"
    assert mp.nn.Conv2d.__doc__.startswith("A convolution over two axes of (batch, channels, height, width).")
    with pytest.raises(TypeError, match=r"^Conv2d\(\): missing a required argument: 'out_channels'$"):
        mp.nn.Conv2d(3)
