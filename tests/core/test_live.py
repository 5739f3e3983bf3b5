"""What a user keeps of a model follows it, however it is changed since; what one change does, the next one sees."""

import numpy as np
import pytest
from multiparam_numpy import Buffer, Module, Sequential, Variable
from multiparam_numpy.layers import Linear

import multiparam as mp
from multiparam.adapter import NOTHING


def test_a_kept_parameter_is_what_is_in_its_place_now(tmp_path):
    net = Linear(2, 3)
    kept = mp.parameters(net)["weight"]
    net.weight = Variable(np.full((5, 2), 7.0, "f4"))
    mp.save({"kept": kept}, tmp_path / "file")
    assert np.array_equal(mp.open(tmp_path / "file")["kept"].value, np.full((5, 2), 7.0))
    assert (kept.fans().fan_in, kept.fans().fan_out) == (2, 5)
    assert (kept.shape, len(kept), kept.value.sum()) == ((5, 2), 5, 70.0)


def test_a_summary_of_a_kept_layer_is_of_what_it_has_now():
    net = Sequential(Linear(2, 3))
    layer = mp.layers(net)[0]
    net.layers["0"].weight = Variable(np.ones((50, 2), "f4"))
    assert "(50, 2)" in str(mp.summary(layer))
    assert mp.summary(layer).total == 103


class Turned(Module):
    """A Linear whose weight lies turned."""

    def __init__(self):
        self.w = Variable(np.arange(6, dtype="f4").reshape(2, 3))


@pytest.fixture
def heirs():
    """A model in which two layers see the first one's weight turned."""
    turned = type("Turned", (Turned,), {})
    mp.register_layer(turned, "Linear", weight=mp.Transposed("w"))
    net = Sequential(Linear(2, 3, bias=False), turned(), turned(), Linear(2, 3, bias=False))
    for name in ("1.weight", "2.weight"):
        mp.tie(net, name, to="0.weight")
    assert mp.tied(net) == [("0.weight", "1.weight", "2.weight")]
    return net


@pytest.mark.parametrize("change", ["untie", "tie"])
def test_layers_that_saw_a_tensor_turned_stay_tied_to_each_other_when_it_goes(heirs, change):
    before = mp.parameters(heirs)["1.weight"].value
    if change == "untie":
        mp.untie(heirs, "0.weight")
        assert mp.tied(heirs) == [("1.weight", "2.weight")]
    else:
        mp.tie(heirs, "0.weight", to="3.weight")
        assert mp.tied(heirs) == [("0.weight", "3.weight"), ("1.weight", "2.weight")]
    assert np.array_equal(mp.parameters(heirs)["1.weight"].value, before)
    mp.parameters(heirs)["1.weight"][:] = 5
    assert (mp.parameters(heirs)["2.weight"].value == 5).all()
    assert not (mp.parameters(heirs)["0.weight"].value == 5).any()


def test_what_layers_share_that_hold_nothing_cannot_be_changed():
    with pytest.raises(TypeError):
        NOTHING["weight"] = Variable(np.ones(2))
    assert list(mp.buffers(Sequential(Linear(2, 3)))) == []


def test_a_mapping_that_is_kept_lists_what_is_there_now():
    net = Sequential(Linear(2, 3))
    kept = mp.state(net)
    net.layers["0"].count = Buffer(np.zeros(1))
    assert list(kept) == ["0.weight", "0.bias", "0.count"]
    net.layers["0"].bias = None
    assert list(kept) == ["0.weight", "0.count"]
