"""The kit can fail: each adapter that is broken on purpose fails it, and for the right reason."""

from pathlib import Path

import numpy as np
import pytest

import multiparam as mp

# imported here, since pytester forgets what a run has imported: numpy can be loaded once in a process, and multiparam
# must not be there in part
assert np.__version__
assert [getattr(mp, name) for name in mp.__all__]

NUMPY_TESTS = Path(__file__).parents[1] / "test_numpy.py"

BROKEN = {
    "copies instead of ties": (
        """
    def tie(self, model, side, handle):
        self.untie(model, side, handle.variable.value if handle.axes is None else handle.variable.value.T)
""",
        "test_a_tie_is_one_storage",
    ),
    "drops a parameter": (
        """
    def members(self, native):
        found = super().members(native)
        found.parameters = {key: one for key, one in found.parameters.items() if key != "bias"}
        return found
""",
        "test_positions_name_the_layers_of_a_sequential_model",
    ),
    "drops a buffer": (
        """
    def members(self, native):
        found = super().members(native)
        found.buffers = {}
        return found
""",
        "test_nothing_of_the_frameworks_inventory_is_missing_unsaid",
    ),
    "wrong dtype": (
        """
    def write(self, variable, value):
        variable.value = np.array(value, np.float64)
""",
        "test_writes_keep_dtype_device_and_trainability",
    ),
    "transposed write": (
        """
    def write(self, variable, value):
        variable.value = np.array(value.T.reshape(value.shape))
""",
        "test_writes_land_in_the_framework_and_in_the_forward_pass",
    ),
    "lost write": (
        """
    def write(self, variable, value):
        pass
""",
        "test_parts_can_be_written",
    ),
    "keeps the user's array": (
        """
    def write(self, variable, value):
        variable.value = value
""",
        "test_a_write_keeps_no_hold_of_the_array",
    ),
    "memory that is a copy": (
        """
    def memory(self, variable):
        return np.array(variable.value)
""",
        "test_parts_can_be_written",
    ),
    "finds no child by its name": (
        """
    def lookup(self, native, name):
        found = super().lookup(native, name)
        return None if self.is_model(found) else found
""",
        "test_a_child_is_found_as_it_is_listed",
    ),
    "claims a capability": (
        """
    plugin = dataclasses.replace(NumpyAdapter.plugin, capabilities=frozenset(Capability))
""",
        "test_gradients_are_those_of_the_formula",
    ),
    "inherits what it does not declare": (
        """
    plugin = dataclasses.replace(NumpyAdapter.plugin, capabilities=frozenset(Capability) - {Capability.TIE})
""",
        "test_what_is_declared_is_what_the_adapter_inherits",
    ),
    "forgets the initialization of lazy layers": (
        """
    def when_ready(self, layer, call):
        pass
""",
        "test_lazy_layers_remember_their_initialization",
    ),
}

HEADER = """
import dataclasses
import numpy as np
import pytest
from multiparam.adapter import registry
from multiparam.plugin import Capability
from multiparam.adapter import LayerTable
from multiparam_numpy.adapter import NumpyAdapter, _rows
from numpy_models import TestNumpy as Sound

class Broken(NumpyAdapter):
    # {what}
    table = LayerTable(_rows())  # what tests register stays theirs
{body}

@pytest.fixture(autouse=True)
def broken(monkeypatch):
    monkeypatch.setitem(registry._adapters, "numpy", Broken())

class TestBroken(Sound):
    pass

del Sound
"""


def outcome(pytester, what, body):
    pytester.makepyfile(numpy_models=NUMPY_TESTS.read_text("utf-8"))
    pytester.makepyfile(test_broken=HEADER.format(what=what, body=body))
    return pytester.runpytest_inprocess("test_broken.py", "-q", "-p", "no:cacheprovider")


@pytest.mark.newest
@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_adapter_fails(pytester, what):
    body, test = BROKEN[what]
    result = outcome(pytester, what, body)
    assert result.parseoutcomes()["failed"] > 0
    result.stdout.re_match_lines([rf"FAILED test_broken.py::TestBroken::{test}"])


@pytest.mark.newest
def test_the_sound_adapter_passes(pytester):
    result = outcome(pytester, "nothing", "    pass")
    outcomes = result.parseoutcomes()
    assert outcomes.get("failed", 0) == 0
    assert outcomes["passed"] > 100


@pytest.mark.newest
def test_a_backend_that_cannot_be_imported_fails_and_is_not_skipped(pytester):
    pytester.makepyfile(
        numpy_models=NUMPY_TESTS.read_text("utf-8"),
        test_missing="""
from numpy_models import TestNumpy as Sound

class TestMissing(Sound):
    backend = "nowhere"

del Sound
""",
    )
    result = pytester.runpytest_inprocess("test_missing.py", "-q", "-p", "no:cacheprovider", "-k", "builder or capab")
    outcomes = result.parseoutcomes()
    assert outcomes.get("skipped", 0) == 0
    assert outcomes["failed"] >= 1
