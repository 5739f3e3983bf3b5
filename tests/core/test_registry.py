"""Which backend is meant."""

import contextvars
import importlib.metadata
import sys
import threading

import numpy as np
import pytest
from multiparam_numpy import Module, Sequential
from multiparam_numpy.adapter import NumpyAdapter
from multiparam_numpy.layers import Linear

import multiparam as mp
from multiparam.adapter import registry
from multiparam.plugin import Capability, Plugin


@pytest.fixture
def entry_points(monkeypatch):
    """Adds entry points to those of the installed packages."""
    real = importlib.metadata.entry_points

    def add(**named):
        fake = [importlib.metadata.EntryPoint(name, value, registry.GROUP) for name, value in named.items()]
        monkeypatch.setattr(importlib.metadata, "entry_points", lambda **wanted: [*real(**wanted), *fake], raising=True)
        registry._discover.cache_clear()
        registry.owner.cache_clear()

    yield add
    monkeypatch.undo()
    registry._discover.cache_clear()
    registry.owner.cache_clear()


absent = Plugin(
    "absent", frozenset({"absent"}), "nowhere:Adapter", frozenset(), distribution="absent-framework", install='"absent"'
)
unimportable = Plugin("unimportable", frozenset({"unimportable"}), "nowhere:Adapter", frozenset(Capability))
not_a_plugin = "text"
of_any_class = Plugin(
    "of_any_class", frozenset({"its_framework"}), f"{__name__}:OfAnyClass", frozenset(Capability), any_class=True
)


class OfAnyClass(NumpyAdapter):
    plugin = of_any_class

    def is_model(self, native):
        return hasattr(native, "weights")


class Plain:
    weights = None


def test_the_order_is_argument_with_block_variable_numpy(monkeypatch):
    monkeypatch.delenv("MULTIPARAM_BACKEND", raising=False)
    assert registry.active() == "numpy"
    monkeypatch.setenv("MULTIPARAM_BACKEND", "wrong")
    assert registry.active() == "wrong"  # read on every call
    with mp.use("numpy"):
        assert registry.active() == "numpy"
        assert isinstance(mp.nn.ReLU(), Module)
    with pytest.raises(mp.BackendError, match="no backend 'wrong'; there are"):
        mp.nn.ReLU()
    assert isinstance(mp.nn.ReLU(backend="numpy"), Module)


def test_use_ends_with_its_block_even_after_an_error():
    with pytest.raises(KeyError), mp.use("numpy"):
        raise KeyError
    assert registry._chosen.get() is None


def test_use_holds_for_its_own_thread_only():
    seen = []
    with mp.use("numpy"):
        thread = threading.Thread(target=lambda: seen.append(registry._chosen.get()), daemon=True)
        thread.start()
        thread.join()
        assert contextvars.copy_context()[registry._chosen] == "numpy"
    assert seen == [None]


def test_an_unknown_backend_is_refused_with_the_choices():
    with (
        pytest.raises(mp.BackendError, match=r"no backend 'nunpy'; there are .*numpy.*; did you mean 'numpy'\?"),
        mp.use("nunpy"),
    ):
        pass


def test_a_missing_framework_is_refused_with_the_pip_line(entry_points):
    entry_points(absent=f"{__name__}:absent")
    with pytest.raises(mp.BackendError, match='needs absent-framework: pip install "absent"'):
        mp.nn.ReLU(backend="absent")
    line = next(line for line in mp.backends() if line.name == "absent")
    assert (line.installed, line.version) == (False, None)


def test_a_broken_plugin_warns_and_fails_only_when_asked_for(entry_points):
    entry_points(broken="no.such.module:plugin", wrong=f"{__name__}:not_a_plugin")
    with pytest.warns(UserWarning, match="cannot be loaded") as caught:
        assert "broken" in {line.name for line in mp.backends()}
    assert len(caught) == 2
    mp.nn.ReLU(backend="numpy")
    with pytest.raises(mp.BackendError, match="cannot be loaded: ModuleNotFoundError"):
        mp.nn.ReLU(backend="broken")
    with pytest.raises(mp.BackendError, match="no multiparam Plugin"):
        mp.nn.ReLU(backend="wrong")


def test_an_adapter_that_cannot_be_imported_says_why(entry_points):
    entry_points(unimportable=f"{__name__}:unimportable")
    with pytest.raises(mp.BackendError, match="cannot be imported: No module named 'nowhere'"):
        mp.nn.ReLU(backend="unimportable")


def test_backends_tells_versions_and_capabilities():
    first = mp.backends()[0]
    assert (first.name, first.installed, first.version) == ("numpy", True, np.__version__)
    assert "tie" in first.capabilities
    assert "gradients" not in first.capabilities
    assert {"torch", "keras", "flax"} <= {line.name for line in mp.backends()}


def test_a_users_subclass_is_recognized():
    class Mine(Sequential):
        pass

    assert list(mp.parameters(Mine(Linear(4, 8)))) == ["0.weight", "0.bias"]


def test_a_model_of_any_class_is_shown_to_the_adapters_that_ask_for_it(entry_points, monkeypatch):
    entry_points(of_any_class=f"{__name__}:of_any_class")
    with pytest.raises(mp.BackendError, match="expected a model"):
        registry.infer(Plain())  # its framework is not imported, and so it cannot be one of its models
    with pytest.raises(mp.BackendError, match="expected a layer class"):
        mp.register_layer(Plain, weight="weights")
    monkeypatch.setitem(sys.modules, "its_framework", sys)
    assert registry.infer(Plain()).name == "of_any_class"
    mp.register_layer(Plain, weight="weights")
    assert registry.adapter("of_any_class").row(Plain()).kind == "Plain"
    assert registry.infer(Linear(4, 8)).name == "numpy"  # a root comes first
    with pytest.raises(mp.BackendError, match="expected a model"):
        registry.infer(object())


@pytest.mark.parametrize("thing", [3, "text", None, {"a": 1}, [1], object(), Linear, lambda x: x])
def test_what_is_no_model_is_refused(thing):
    with pytest.raises(mp.BackendError, match="expected"):
        mp.parameters(thing)


def test_a_tensor_is_no_model():
    with pytest.raises(mp.BackendError, match="got a numpy tensor"):
        mp.parameters(np.ones(3))
