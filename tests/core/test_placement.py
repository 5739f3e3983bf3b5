"""Files read by what the model's own framework calls its variables in them."""

import numpy as np
import pytest

import multiparam as mp
from multiparam.adapter import SavesNames, registry
from multiparam.checkpoint.checkpoint import Checkpoint
from multiparam.formats import Contents, Entry, Originals
from multiparam.verbs.load import load_into


def entry(name, *shape, start=0.0):
    value = np.arange(np.prod(shape), dtype=np.float32).reshape(shape) + np.float32(start)
    return Entry(name, value.dtype, value.shape, value.copy)


def linear(path, start=0.0):
    return [entry(f"{path}.0", 4, 4, start=start), entry(f"{path}.1", 4, start=start)]


def file(tmp_path, entries, backend="numpy"):
    return Checkpoint(tmp_path / "file", "own", Contents(entries, originals=Originals(entries), backend=backend))


@pytest.fixture
def net():
    return mp.nn.Sequential(mp.nn.Linear(4, 4), mp.nn.ReLU(), mp.nn.Linear(4, 4))


@pytest.fixture
def saver(monkeypatch, net):
    """What the framework's saver calls each variable, the last layer first."""
    adapter = registry.infer_model(net)
    parts = [(parameter.name, parameter.native) for parameter in mp.parameters(net).values()]
    native = {name: one[0] if isinstance(one, tuple) else one for name, one in parts}
    called = {"x.0": "2.weight", "x.1": "2.bias", "y.0": "0.weight", "y.1": "0.bias"}
    names = {there: native[here] for there, here in called.items()}
    saving = type("Saving", (type(adapter), SavesNames), {"saved": lambda self, model, labels: names})
    monkeypatch.setattr(adapter, "__class__", saving)
    return names


def test_a_file_is_read_by_what_the_saver_calls_each_variable(tmp_path, net, saver):
    report = load_into(net, file(tmp_path, [*linear("x"), *linear("y", 100)]))
    assert report.matched == [("y", "0"), ("x", "2")]
    weights = {name: one.value for name, one in mp.parameters(net).items()}
    assert (weights["2.bias"] == np.arange(4)).all()
    assert (weights["0.bias"] == np.arange(4) + 100).all()
    assert str(report) == "loaded 4 tensors\nmatched: y with 0\nmatched: x with 2"


@pytest.mark.parametrize(
    "entries",
    [
        linear("x"),  # another layer is missing
        [*linear("x"), *linear("y"), entry("z.0", 4)],
        [*linear("x"), *linear("y")[:1], entry("y.1", 5)],
    ],
)
def test_what_does_not_fit_wholly_is_read_by_its_names(tmp_path, net, saver, entries):
    before = [one.value for one in mp.parameters(net).values()]
    with pytest.raises(mp.MismatchError, match=r"missing: 0\.weight"):
        load_into(net, file(tmp_path, entries))
    assert all(np.array_equal(one.value, old) for one, old in zip(mp.parameters(net).values(), before, strict=True))


def test_only_files_of_the_models_own_framework_are(tmp_path, net, saver):
    with pytest.raises(mp.MismatchError):
        load_into(net, file(tmp_path, [*linear("x"), *linear("y")], backend="other"))


def test_a_variable_that_the_file_has_twice_has_one_value(tmp_path, net, saver):
    saver["also"] = saver["x.1"]
    same, other = entry("also", 4), entry("also", 4, start=1)
    assert load_into(net, file(tmp_path, [*linear("x"), *linear("y"), same])).loaded
    with pytest.raises(mp.MismatchError):
        load_into(net, file(tmp_path, [*linear("x"), *linear("y"), other]))


def test_names_of_the_user_come_first(tmp_path, net, saver):
    rename = {r"^(x|y)\.0$": r"\1.weight", r"^(x|y)\.1$": r"\1.bias", "^x": "0", "^y": "2"}
    load_into(net, file(tmp_path, [*linear("x"), *linear("y", 100)]), rename=rename)
    assert (mp.parameters(net)["0.bias"].value == np.arange(4)).all()
