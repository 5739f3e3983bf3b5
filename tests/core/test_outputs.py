"""What two outputs are compared by: structures, scales, and what agreement is worth."""

from collections import namedtuple
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest
from multiparam_numpy import Linear, Module, Sequential
from multiparam_numpy.layers import Variable

import multiparam as mp
from multiparam.arrays.nested import leaves, mapped
from multiparam.verbs.verifying.outputs import closeness, corresponding, reordered

X = np.linspace(-1, 1, 12).reshape(3, 4).astype(np.float32)
Named = namedtuple("Named", "y z")


@dataclass(frozen=True)
class Out:
    y: object
    state: object = None


def is_number(thing):
    return isinstance(thing, (int, np.ndarray))


@pytest.mark.parametrize(
    "thing", [1, (1, 2), [1, [2]], {"a": 1, "b": (2,)}, Named(1, 2), Out(1, (2, None)), Out(Out(1)), "no number", None]
)
def test_structures_keep_their_form(thing):
    assert mapped(thing, is_number, lambda one: one) == thing
    assert type(mapped(thing, is_number, lambda one: one)) is type(thing)


def test_leaves_have_the_way_to_them():
    thing = SimpleNamespace(a=Out(1, [2]), b={"c": 3})
    assert dict(leaves(thing, is_number)) == {".a.y": 1, ".a.state[0]": 2, ".b['c']": 3}
    assert mapped(thing, is_number, lambda one: one + 1) == SimpleNamespace(a=Out(2, [3]), b={"c": 4})


def test_a_difference_is_measured_by_the_largest_number_of_its_tensor():
    a = np.array([3e-7, -1e-7])
    assert not closeness([a], [a * 2], 1e-5).close
    assert not closeness([np.zeros(2)], [a], 1e-5).close
    assert closeness([a * 1e15], [a * 1e15 + 1], 1e-5).close
    # each tensor has its own
    assert not closeness([a, a * 1e15], [a * 2, a * 1e15], 1e-5).close
    assert closeness([a], [a], 0).close
    assert not closeness([np.array([0.0])], [np.array([1e-40])], 0).close
    assert closeness([np.array([0.0])], [np.array([1e-40])], 1e-5).close  # frameworks take it for 0


def test_whole_numbers_have_to_be_the_same():
    a = np.array([1_000_000_000, 0])
    assert not closeness([a], [a + 1], 1e-5).close
    assert not closeness([np.array([True])], [np.array([False])], 1.0).close
    assert closeness([a], [a], 0).close


def test_what_is_no_number_agrees_with_its_like_only():
    a = np.array([np.nan, np.inf, 1.0])
    assert closeness([a], [a.copy()], 1e-5).close
    assert not closeness([a], [np.array([np.nan, 5.0, 1.0])], 1e-5).close
    assert np.isnan(closeness([a], [np.array([0.0, np.inf, 1.0])], 1e-5).difference)


def of(*shapes):
    return {f"[{at}]": np.zeros(shape) for at, shape in enumerate(shapes)}


@pytest.mark.parametrize(
    ("first", "second", "whole", "layer"),
    [
        ({"": np.zeros(2)}, of(2, 3), 1, 1),
        (of(3, 2), {"": np.zeros(2)}, 1, 1),  # the only one of its shape
        (of(2, 2), {"": np.zeros(2)}, 1, 1),
        (of(3, 3), {"": np.zeros(2)}, 0, 0),
        (of(2, 3), of(2, 4), 0, 1),
        (of(2, 3), of(2, 3, 4), 0, 1),
        (of(2, 3), {".y": np.zeros(2), ".z": np.zeros(3)}, 2, 2),
        ({"['a']": np.zeros(2)}, {"['b']": np.zeros(2)}, 0, 1),
        ({}, of(2), 0, 0),
    ],
)
def test_what_corresponds_where_structures_differ(first, second, whole, layer):
    assert len(corresponding(first, second, whole=True)) == whole
    assert len(corresponding(first, second, whole=False)) == layer


def test_numbers_in_another_order_are_told_from_others():
    a = np.arange(6.0).reshape(2, 3)
    assert reordered([a], [a.T.copy()], 1e-5)
    assert not reordered([a], [a + 1], 1e-5)
    assert not reordered([], [a], 1e-5)


def pair(*layers):
    a, b = (mp.nn.Sequential(*(make() for make in layers)) for _ in range(2))
    for net in (a, b):
        mp.initialize(net, mp.init.Uniform(-0.5, 0.5), seed=0)
    return a, b


def linear(i, o):
    return lambda: mp.nn.Linear(i, o)


@pytest.mark.parametrize(
    ("batch", "said"),
    [
        (X * 0, "all zeros"),
        (X * 0 + 1, "all numbers of the batch are the same"),
        (np.repeat(X[:1], 3, axis=0), "all samples of the batch are the same"),
        (X[:1], "one sample"),
    ],
)
def test_a_batch_that_proves_little_is_said_to(batch, said):
    a, b = pair(linear(4, 3))
    assert not mp.verify(a, b, X).weak
    report = mp.verify(a, b, batch)
    assert report.agrees
    assert any(said in one for one in report.weak)
    assert f"this proves little: {report.weak[0]}" in str(report).replace("\n  ", " ")


def test_dead_units_prove_nothing_of_what_is_before_them():
    a, b = pair(linear(4, 3), mp.nn.ReLU, linear(3, 2))
    for net in (a, b):
        mp.parameters(net)["0.bias"][:] = -100
        mp.parameters(net)["2.bias"][:] = 1
    mp.parameters(b)["0.weight"][:] *= 2
    report = mp.verify(a, b, X)
    assert report.agrees
    assert any("outputs of 1 are all 0" in one for one in report.weak)
    assert any("hardly depend on the batch" in one for one in report.weak)
    assert report.passed == ["0"]
    assert [name for name, _ in report.weights] == ["0.weight"]
    assert "weights differ all the same: 0.weight by" in str(report)


def test_outputs_at_the_bounds_of_a_function_prove_little():
    a, b = pair(linear(4, 3), mp.nn.Softmax)
    for net in (a, b):
        mp.parameters(net)["0.weight"][:] *= 1e5
    mp.parameters(b)["0.bias"][:] += 0.1
    report = mp.verify(a, b, X)
    assert report.agrees
    assert any("bounds" in one for one in report.weak)
    assert "0.bias by 0.1" in str(report)


def test_nothing_is_no_agreement():
    a, b = pair(linear(4, 3))
    with pytest.raises(mp.MismatchError, match="no numbers"):
        mp.verify(a, b, X[:0])
    for net in (a, b):
        mp.parameters(net)["0.bias"][:] = np.nan
    assert any("9 are no finite numbers" in one for one in mp.verify(a, b, X).weak)


def test_small_outputs_are_compared_by_their_size():
    a, b = pair(linear(4, 3))
    for net in (a, b):
        mp.parameters(net)["0.weight"][:] *= 1e-7
        mp.parameters(net)["0.bias"][:] *= 0
    mp.parameters(b)["0.weight"][:] *= 2
    report = mp.verify(a, b, X)
    assert not report.agrees
    assert report.first == "0"


def test_a_made_good_difference_is_no_cause():
    a, b = pair(linear(4, 3), mp.nn.ReLU, linear(3, 3), linear(3, 2))
    for net in (a, b):
        mp.parameters(net)["0.bias"][:] = 0.5
    for name in ("0.weight", "0.bias"):
        mp.parameters(b)[name][:] *= 2
    mp.parameters(b)["2.weight"][:] /= 2
    report = mp.verify(a, b, X)
    assert report.agrees
    assert report.passed == ["0", "1"]
    assert [name for name, _ in report.weights] == ["0.weight", "0.bias", "2.weight"]
    mp.parameters(b)["3.bias"][:] += 1
    report = mp.verify(a, b, X)
    assert (report.first, report.why, report.passed) == ("3", ["3.bias differs by 1"], ["0", "1"])
    assert "weights that differ elsewhere: 0.weight by" in str(report)


def test_lines_are_short_and_lists_are_cut_with_a_count():
    def net(prefix):
        return mp.nn.Sequential({f"{prefix}_block_number_{at}": mp.nn.Linear(4, 4) for at in range(60)})

    report = mp.verify(net("a"), net("b"), X)
    text = str(report)
    assert max(map(len, text.splitlines())) <= 80
    assert len(report.unpaired) == 120
    assert "… and 108 more" in text
    assert "rename=" in text
    assert "… and 108 more" in report._repr_html_()


def test_a_layer_whose_first_tensor_lies_in_a_list_keeps_its_name():
    class Scaled(Module):
        def __init__(self):
            self.scales = [Variable(np.ones(3, np.float32))]
            self.lin = Linear(4, 3)

        def forward(self, x):
            return self.lin(x) * self.scales[0].value

    a, b = (Sequential(Scaled(), Linear(3, 2)) for _ in range(2))
    for net in (a, b):
        mp.initialize(net, mp.init.Normal(), seed=0)
    mp.parameters(b)["0.scales.0"][:] = 5
    found = mp.verify(a, b, X)
    assert found.first == "0"
    assert [name for name, _ in found.layers] == ["0.lin", "0", "1", ""]
