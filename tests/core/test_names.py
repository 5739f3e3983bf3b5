"""Names, patterns and trees that no framework of the kit has."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from multiparam_numpy import Module, Sequential, Variable
from multiparam_numpy.layers import Linear

import multiparam as mp
from multiparam.names.pattern import escape, join, matcher, unescape


@given(st.text())
def test_escaping_is_undone(component):
    assert unescape(escape(component)) == component
    assert "." not in escape(component)


@given(st.lists(st.text(min_size=1), min_size=1))
def test_names_can_be_taken_apart(components):
    name = ""
    for component in components:
        name = join(name, escape(component))
    assert [unescape(component) for component in name.split(".")] == components


@given(st.text())
def test_every_name_matches_itself_as_a_glob_without_wildcards(name):
    literal = name.replace("*", "").replace("?", "")
    assert matcher(literal).fullmatch(literal)


@pytest.mark.parametrize(
    ("pattern", "name", "found"),
    [
        ("*.weight", "0.block 1.weight", True),
        ("*.weight", "weight", False),
        ("*weight", "weight", True),
        ("?.bias", "10.bias", False),
        ("[0].weight", "0.weight", False),
        ("[0].weight", "[0].weight", True),
        ("A.weight", "a.weight", False),
        (re.compile("weight"), "0.weight", False),
        (re.compile(r"\d+\.weight"), "10.weight", True),
    ],
)
def test_patterns(pattern, name, found):
    assert bool(matcher(pattern).fullmatch(name)) is found


def test_dots_in_keys_are_escaped():
    net = Sequential.of({"conv.1": Linear(2, 2), "50%": Linear(2, 2)})
    assert list(mp.parameters(net).select("*.weight").names) == ["conv%2E1.weight", "50%25.weight"]
    assert mp.layers(net)["conv.1"].weight.name == "conv%2E1.weight"


def test_siblings_that_clash_are_refused():
    class Twin(Module):
        def __init__(self):
            self.layers = {"0": Linear(2, 2), 0: Linear(2, 2)}

    with pytest.raises(mp.AmbiguousMatchError, match="two things in 'layers' are called '0'") as caught:
        mp.parameters(Twin())
    assert caught.value.candidates == ["Linear '0'", "Linear '0'"]


def test_a_layer_that_refers_back_to_its_parent_is_walked_once():
    class Child(Module):
        def __init__(self, parent):
            self.parent = parent
            self.linear = Linear(2, 2)

    class Parent(Module):
        def __init__(self):
            self.child = Child(self)

    assert list(mp.parameters(Parent())) == ["child.linear.weight", "child.linear.bias"]


def test_variables_in_lists_and_dicts_belong_to_their_layer():
    class Mixed(Module):
        def __init__(self):
            self.scales = [Variable(np.ones(2)), {"deep": Variable(np.ones(3))}]
            self.frozen = (Variable(np.ones(4)),)

    net = Mixed()
    params = mp.parameters(net)
    assert {name: one.shape for name, one in params.items()} == {
        "scales.0": (2,),
        "scales.1.deep": (3,),
        "frozen.0": (4,),
    }
    params["scales.1.deep"][...] = 7
    assert (net.scales[1]["deep"].value == 7).all()


def test_a_mapping_follows_ties_and_materialization():
    with mp.use("numpy"):
        net = mp.nn.Sequential(mp.nn.LazyLinear(4), mp.nn.Linear(4, 4))
    params = mp.parameters(net)
    first = params["0.weight"]
    assert first.shape == (4, None)
    mp.run(net, np.ones((1, 4)))
    assert params["0.weight"] is first
    assert first.shape == (4, 4)
    mp.tie(net, "1.weight", to="0.weight")
    assert list(params) == ["0.weight", "0.bias", "1.bias"]
    assert params["1.weight"] is first


def test_twenty_thousand_parameters_are_enumerated_once_each():
    net = Sequential(*(Linear(1, 1) for _ in range(10_000)))
    params = mp.parameters(net)
    assert len(params) == 20_000
    assert params["9999.bias"].shape == (1,)


def test_a_slot_is_resolved_at_each_access():
    layer = Linear(2, 2)
    param = mp.parameters(layer)["weight"]
    layer.weight = Variable(np.full((3, 3), 5.0))
    assert param.shape == (3, 3)
    assert param.native is layer.weight


def test_a_tensor_beside_its_canonical_name_is_refused():
    class Odd(Module):
        def __init__(self):
            self.w, self.weight = Variable(np.ones((4, 3))), Variable(np.ones(2))

    mp.register_layer(Odd, "Linear", weight=mp.Transposed("w"))
    with pytest.raises(mp.AmbiguousMatchError, match="native tensor called 'weight'"):
        mp.parameters(Odd())


@pytest.mark.parametrize(
    ("arguments", "roles"),
    [((3,), {}), ((int,), {}), ((Linear,), {"weight": 3}), ((Linear,), {"weight": "w", "bias": "w"})],
)
def test_wrong_registrations_are_refused(arguments, roles):
    with pytest.raises(mp.MultiparamError):
        mp.register_layer(*arguments, **roles)


def test_axes_that_are_no_permutation_are_refused():
    with pytest.raises(ValueError, match="permutation"):
        mp.At("w", axes=(0, 0))


class Holder(Module):
    """Holds a layer, whose tensors are its own."""

    def __init__(self, inside, own=False):
        self.inside = inside
        if own:
            self.gain = Variable(np.ones(3))


@pytest.mark.parametrize("order", [(True, False), (False, True)])
def test_tensors_of_layers_below_are_found_in_each_layer_whatever_its_own_are(order):
    holder = type("Holder", (Holder,), {})
    mp.register_layer(holder, "Linear", weight="inside/weight", bias="inside/bias")
    net = Sequential(*(holder(Linear(2, 3, bias=bias)) for bias in order), holder(Module()))
    expected = {f"{i}.{role}" for i, bias in enumerate(order) for role in ("weight", *(("bias",) if bias else ()))}
    assert {*mp.parameters(net)} == expected
    assert {layer.kind for layer in mp.layers(net)} == {"Linear"}


@pytest.mark.parametrize("order", [(True, False), (False, True)])
def test_a_tensor_of_a_layer_below_may_be_missing_beside_one_of_the_layers_own(order):
    holder = type("Holder", (Holder,), {})
    mp.register_layer(holder, "PReLU", weight="gain", bias="inside/bias")
    net = Sequential(*(holder(Linear(2, 3, bias=bias), own=True) for bias in order))
    names = [[f"{i}.weight", *([f"{i}.bias"] if bias else []), f"{i}.inside.weight"] for i, bias in enumerate(order)]
    assert list(mp.parameters(net)) == [name for own in names for name in own]
