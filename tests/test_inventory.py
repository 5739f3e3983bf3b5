"""What each framework saves beside parameters and buffers is carried or named; the framework's own loader tells."""

import os
import tempfile
import warnings

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest
import torch
from flax import linen, nnx
from multiparam_linen import Linen
from safetensors.torch import load_file
from torch import nn

import multiparam as mp


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors"


class Extra(nn.Module):
    """A module with state of its own, of any sort."""

    def __init__(self, state):
        super().__init__()
        self.linear, self.state = nn.Linear(2, 2), state

    def get_extra_state(self):
        return self.state

    def set_extra_state(self, state):
        self.state = state


def test_a_tensor_of_extra_state_is_carried(path):
    net, clone = nn.Sequential(Extra(torch.arange(3.0))), nn.Sequential(Extra(torch.zeros(3)))
    assert mp.save(net, path).left_out == {}
    assert sorted(load_file(path)) == ["0._extra_state", "0.linear.bias", "0.linear.weight"]
    clone.load_state_dict(load_file(path), strict=True)
    assert torch.equal(clone[0].state, torch.arange(3.0))
    clone[0].state = torch.zeros(7)  # of another shape, as a history may be
    assert "0._extra_state" in mp.load(path, into=clone).loaded
    assert torch.equal(clone[0].state, torch.arange(3.0))
    assert mp.diff(net, clone).equal
    clone[0].state = torch.ones(3)
    assert [name for name, _ in mp.diff(net, clone).changed] == ["0._extra_state"]
    assert mp.buffers(clone)["0._extra_state"].value.tolist() == [1, 1, 1]


def test_extra_state_that_becomes_a_tensor_by_being_loaded(path):
    mp.save(Extra(torch.ones(2)), path)
    net = Extra(None)
    assert mp.state(net).left_out == {"_extra_state": "None"}
    report = mp.load(path, into=net)
    assert report.left_out == {}
    assert torch.equal(net.state, torch.ones(2))


@pytest.mark.parametrize("state", [{"step": 7}, None, 3, [1, 2]])
def test_other_extra_state_is_named(state, path):
    net = nn.Sequential(Extra(state), nn.ReLU())
    saved = mp.save(net, path)
    assert [*saved.left_out] == ["0._extra_state"]
    assert "left out: 0._extra_state" in str(saved)
    assert "0._extra_state" in saved._repr_html_()
    with pytest.raises(RuntimeError, match="_extra_state"):  # as the report says
        nn.Sequential(Extra(state)).load_state_dict(load_file(path), strict=True)
    assert mp.open(path).left_out == saved.left_out
    report = mp.load(path, into=net)
    assert report.left_out == saved.left_out
    assert "not loaded: 0._extra_state" in str(report)
    assert "0._extra_state" in mp.diff(net, path).left_out
    torch.save(net.state_dict(), path.with_suffix(".pt"))
    assert [*mp.load(path.with_suffix(".pt"), into=net).left_out] == ["0._extra_state"]


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_what_is_left_out_is_called_as_without_wrappers(path):
    net = nn.DataParallel(nn.Sequential(torch.compile(Extra({"step": 1})), nn.ReLU()))
    assert mp.save(net, path).left_out == {"0._extra_state": "a dict"}
    assert mp.load(path, into=nn.Sequential(Extra(0), nn.ReLU())).left_out == {"0._extra_state": "a dict"}


def test_a_damaged_tensor_of_extra_state_writes_nothing(path):
    mp.save(Extra(torch.arange(4.0)), path)
    data = bytearray(path.read_bytes())
    data[data.index(np.arange(4, dtype="<f4").tobytes()) + 5] ^= 1
    path.write_bytes(data)
    for state in (None, torch.zeros(2)):
        net = Extra(state)
        before = net.linear.weight.clone()
        with pytest.raises(mp.CheckpointError):
            mp.load(path, into=net)
        assert torch.equal(net.linear.weight, before)
        assert net.state is state


@pytest.mark.parametrize("state", [torch.zeros(1), None, {"a": 1}])
def test_a_layer_that_does_not_take_its_state_leaves_the_model_as_it_was(state, path):
    class Choosy(Extra):
        def set_extra_state(self, state):
            self.state = state  # half-way, and then it fails
            if isinstance(state, torch.Tensor) and (state == 7).any():
                raise RuntimeError("seven is too many")

    mp.save(nn.Sequential(Extra(torch.ones(1)), Extra(torch.full((2,), 7.0))), path)
    net = nn.Sequential(Extra(state), Choosy(state))
    before = [one.clone() for one in net.parameters()]
    with pytest.raises(mp.MismatchError, match=r"1\._extra_state cannot be represented: .*seven is too many"):
        mp.load(path, into=net)
    assert all(torch.equal(one, old) for one, old in zip(net.parameters(), before, strict=True))
    for one in net:
        assert torch.equal(one.state, state) if isinstance(state, torch.Tensor) else one.state is state


def test_what_a_class_saves_in_its_own_way_is_carried(path):
    class Scaled(nn.Linear):
        scale = torch.ones(())

        def _save_to_state_dict(self, destination, prefix, keep_vars):
            super()._save_to_state_dict(destination, prefix, keep_vars)
            destination[f"{prefix}scale"] = self.scale

        def _load_from_state_dict(self, state_dict, prefix, *rest):
            self.scale = state_dict.pop(f"{prefix}scale")
            super()._load_from_state_dict(state_dict, prefix, *rest)

    net, clone, plain = (nn.Sequential(Scaled(2, 2)) for _ in range(3))
    net[0].scale = torch.tensor(3.0)
    assert mp.save(net, path).left_out == {}
    plain.load_state_dict(load_file(path), strict=True)
    report = mp.load(path, into=clone)
    assert clone[0].scale == plain[0].scale == 3
    assert torch.equal(clone[0].weight, net[0].weight)
    assert "methods or hooks of its own in 0" in str(report)


def test_a_state_dict_of_the_users_own_is_compared(path):
    class Renaming(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear, self.other = nn.Linear(2, 2), nn.Linear(2, 2, bias=False)

        def state_dict(self, *args, **kwargs):
            found = super().state_dict(*args, **kwargs)
            found["fc.weight"] = found.pop("linear.weight")
            found["version"] = 3
            del found["other.weight"]
            return found

    saved = mp.save(Renaming(), path)
    assert [*saved.left_out] == ["version"]
    assert "leaves out, and the file has other.weight" in str(saved)
    assert "calls linear.weight fc.weight" in str(saved)


def test_quantized_layers_are_refused_by_name(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it is deprecated
        net = torch.ao.quantization.quantize_dynamic(nn.Sequential(nn.Linear(4, 4)), {nn.Linear})
    with pytest.raises(mp.UnsupportedError, match=r"0\._packed_params\._packed_params"):
        mp.save(net, path)
    assert not path.exists()
    mp.save(nn.Sequential(nn.Linear(4, 4)), path)
    with pytest.raises(mp.UnsupportedError, match="loading into this model"):
        mp.load(path, into=net, strict=False)


class Masked(nnx.Module):
    def __init__(self):
        self.linear = nnx.Linear(3, 3, rngs=nnx.Rngs(0))
        self.mask, self.table = jnp.ones(3), np.arange(2)
        self.scales = nnx.data({"a": [jnp.ones(1)]})
        self.drop = nnx.Dropout(0.5, rngs=nnx.Rngs(1))

    def __call__(self, x):
        return self.linear(x) * self.mask * self.scales["a"][0]


def test_plain_arrays_of_nnx_modules_are_state(path):
    net, clone = Masked(), Masked()
    net.mask, net.table, net.scales["a"][0] = jnp.arange(3.0), np.array([5, 6]), jnp.full(1, 2.0)
    assert {"mask", "table", "scales.a.0"} <= {*mp.buffers(net)}
    assert mp.state(net).left_out == {}
    assert not mp.diff(net, clone).equal
    assert mp.save(net, path).left_out == {}
    mp.load(path, into=clone)
    x = jnp.ones((2, 3))
    assert jnp.array_equal(net(x), clone(x))
    assert isinstance(clone.table, np.ndarray)
    assert isinstance(clone.mask, jnp.ndarray)
    mp.buffers(clone)["mask"][0] = 9
    assert clone.mask[0] == 9


def test_a_file_of_another_framework_need_not_have_plain_arrays(path):
    other = nn.Module()
    other.linear = nn.Linear(3, 3)
    mp.save(other, path)
    report = mp.load(path, into=Masked())
    assert {*report.left_out} == {"mask", "table", "scales.a.0"}
    assert "not in the file, and kept as it is" in str(report)


def test_what_nnx_state_has_and_no_file_can_have_is_named(path):
    class Odd(nnx.Module):
        def __init__(self, variable):
            self.pair = nnx.data((jnp.ones(2), 3))
            self.tree = variable({"a": jnp.ones(2)})

    net = Odd(nnx.Variable)
    assert mp.state(net).left_out == {
        "pair.0": "an array where it cannot be replaced",
        "tree": "a Variable with a dict in it",
    }
    mp.save(net, path)
    assert mp.load(path, into=net).left_out == mp.state(net).left_out
    with pytest.raises(mp.UnsupportedError, match="tree \\(a Param with a dict in it\\)"):
        mp.save(Odd(nnx.Param), path)


def test_linen_collections(path):
    class Counting(linen.Module):
        @linen.compact
        def __call__(self, x):
            self.variable("stats", "steps", lambda: jnp.zeros((), jnp.int32))
            self.variable("cache", "last", lambda: jnp.zeros(2))
            self.variable("odd", "pair", lambda: (jnp.ones(1), 2))
            return linen.Dense(2)(x)

    module, x = Counting(), jnp.ones((1, 2))
    net = Linen(module, module.init(jax.random.key(0), x), x)
    assert {"steps", "last"} <= {*mp.state(net)}
    assert [*mp.state(net).left_out] == ["odd.pair"]
    assert {*mp.save(net, path).left_out} == {"odd.pair", "cache.last"}
    assert "cache.last (kept from one batch to the next)" in str(mp.load(path, into=net))


@pytest.mark.skipif(keras.backend.backend() != "torch", reason="where a layer of Keras's is a module of PyTorch's")
def test_a_layer_of_keras_in_a_torch_model_is_told_by_keras(path):
    class Mixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.table, self.linear = keras.Sequential([keras.layers.Dense(2), Table()]), nn.Linear(2, 2)
            self.table(torch.ones(1, 3))

    net, clone = Mixed(), Mixed()
    net.table.layers[1].table = np.array([3, 4], np.float32)
    assert mp.state(net).left_out == mp.save(net, path).left_out == {}
    assert {"table.0.weight", "table.1.table", "linear.weight"} <= {*mp.load(path, into=clone).loaded}
    assert clone.table.layers[1].table.tolist() == [3, 4]


@pytest.mark.filterwarnings("ignore:__array__ implementation")  # of Keras's own save_weights
@pytest.mark.skipif(keras.backend.backend() != "torch", reason="a wrapper for Keras on PyTorch only")
def test_buffers_of_a_wrapped_torch_module(path):
    def make():
        net = keras.Sequential([keras.layers.TorchModuleWrapper(nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)))])
        net(torch.ones(2, 3))
        return net

    net, clone = make(), make()
    net.layers[0].module[1].running_mean += 2
    assert mp.save(net, path).left_out == {}
    mp.load(path, into=clone)
    expected, given = net.layers[0].module.state_dict(), clone.layers[0].module.state_dict()
    assert all(torch.equal(one, given[name]) for name, one in expected.items())
    with tempfile.TemporaryDirectory() as folder:
        file = os.path.join(folder, "its.weights.h5")
        clone.save_weights(file)
        fresh = make()
        fresh.load_weights(file)
    assert torch.equal(fresh.layers[0].module[1].running_mean, net.layers[0].module[1].running_mean)


class Table(keras.layers.Layer):
    """A layer that saves an array of its own."""

    def __init__(self):
        super().__init__()
        self.table, self.built = np.zeros(2, np.float32), True

    def save_own_variables(self, store):
        store["table"] = self.table

    def load_own_variables(self, store):
        self.table = np.array(store["table"])

    def call(self, x):
        return keras.ops.add(x, keras.ops.convert_to_tensor(self.table))


def test_what_a_keras_layer_saves_in_its_own_way_is_carried(path):
    net, clone = (keras.Sequential([keras.layers.Dense(2), Table()]) for _ in range(2))
    for one in (net, clone):
        one(np.ones((1, 3)))
    net.layers[1].table = np.array([3, 4], np.float32)
    assert mp.save(net, path).left_out == {}
    assert "1.table" in mp.load(path, into=clone).loaded
    assert clone.layers[1].table.tolist() == [3, 4]


def test_assets_of_a_keras_layer_are_named(path):
    class Words(keras.layers.Layer):
        def save_assets(self, folder):
            raise AssertionError("nothing asks for the files")

        def load_assets(self, folder):
            raise AssertionError("nothing has them")

        def call(self, x):
            return x

    net = keras.Sequential([Words(), keras.layers.Dense(2)])
    net(np.ones((1, 3)))
    assert mp.save(net, path).left_out == {"0.assets": "files of the layer's own, such as a vocabulary"}
    assert "not loaded: 0.assets" in str(mp.load(path, into=net))
