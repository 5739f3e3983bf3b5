"""MXNet's files as MXNet itself writes them; in an environment of its own, since it needs an old numpy."""

import struct
import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch
from multiparam_mxnet.layouts import BUFFERS, FILE_ONLY, SOURCES

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # MXNet 1.9 was made for older releases of numpy
    import mxnet as mx
    from mxnet.gluon import nn, rnn

import multiparam as mp
from multiparam.formats import described

# MXNet's own, with the scipy and numpy that it runs with
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture(autouse=True)
def seeded():
    mx.random.seed(0)
    np.random.seed(0)


def batch(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def ready(net, *shape):
    """The layer with its shapes, and other numbers than zeros and ones."""
    net.initialize()
    net(mx.nd.array(batch(*shape)))
    for index, one in enumerate(net.collect_params().values()):
        one.set_data(mx.nd.array(np.random.default_rng(index).uniform(0.5, 1.5, one.shape)))
    return net


def saved(net, tmp_path):
    net.save_parameters(str(tmp_path / "net.params"))
    return tmp_path / "net.params"


T = torch.nn
PAIRS = {
    "Linear": (lambda: nn.Dense(6), lambda: T.Linear(4, 6), (2, 4)),
    "Conv1d": (lambda: nn.Conv1D(6, 3), lambda: T.Conv1d(4, 6, 3), (2, 4, 7)),
    "Conv2d": (lambda: nn.Conv2D(6, 3, groups=2), lambda: T.Conv2d(4, 6, 3, groups=2), (2, 4, 7, 7)),
    "Conv3d": (lambda: nn.Conv3D(6, 3), lambda: T.Conv3d(4, 6, 3), (2, 4, 5, 5, 5)),
    "ConvTranspose1d": (lambda: nn.Conv1DTranspose(6, 3), lambda: T.ConvTranspose1d(4, 6, 3), (2, 4, 7)),
    "ConvTranspose2d": (lambda: nn.Conv2DTranspose(6, 3), lambda: T.ConvTranspose2d(4, 6, 3), (2, 4, 7, 7)),
    "BatchNorm": (lambda: nn.BatchNorm(), lambda: T.BatchNorm2d(4), (2, 4, 5, 5)),
    "LayerNorm": (lambda: nn.LayerNorm(), lambda: T.LayerNorm(4), (2, 4)),
    "GroupNorm": (lambda: nn.GroupNorm(4), lambda: T.GroupNorm(4, 4), (2, 4, 5)),
    "InstanceNorm": (lambda: nn.InstanceNorm(scale=True), lambda: T.InstanceNorm2d(4, affine=True), (2, 4, 5, 5)),
    "PReLU": (lambda: nn.PReLU(in_channels=4), lambda: T.PReLU(4), (2, 4, 5, 5)),
    "RNN": (lambda: rnn.RNN(6, activation="tanh"), lambda: T.RNN(4, 6), (5, 2, 4)),
    "GRU": (lambda: rnn.GRU(6, 2, bidirectional=True), lambda: T.GRU(4, 6, 2, bidirectional=True), (5, 2, 4)),
    "LSTM": (lambda: rnn.LSTM(6, 2, dropout=0.5), lambda: T.LSTM(4, 6, 2, dropout=0.5), (5, 2, 4)),
}


@pytest.mark.parametrize("case", PAIRS)
def test_every_layer_comes_through_with_its_function(tmp_path, case):
    make, make_other, shape = PAIRS[case]
    layer, other = ready(make(), *shape), make_other().eval()
    path = saved(layer, tmp_path)
    report = mp.load(path, into=other)
    assert not report.missing
    assert not report.unexpected
    given = batch(*shape)
    theirs = other(torch.from_numpy(given))
    theirs = theirs[0] if isinstance(theirs, tuple) else theirs
    assert np.allclose(layer(mx.nd.array(given)).asnumpy(), theirs.detach().numpy(), atol=1e-4)
    assert case in mp.open(path).kinds[""].split(" or ")


class Custom(nn.HybridBlock):
    """A block of the user's own, whose parameters are called as a norm's are."""

    def __init__(self):
        super().__init__()
        with self.name_scope():
            for name in ("gamma", "beta", "weight"):
                setattr(self, name, self.params.get(name, shape=(4, 4), init=mx.init.Uniform(1)))

    def hybrid_forward(self, functions, x, gamma, beta, weight):
        return x * gamma + beta * weight


@pytest.mark.parametrize("case", [*PAIRS, "Custom"])
def test_a_file_comes_back_into_the_block_that_wrote_it(tmp_path, case):
    make, _, shape = PAIRS.get(case, (Custom, None, (4, 4)))
    layer, other = ready(make(), *shape), make()
    other.initialize()
    other(mx.nd.array(batch(*shape)))
    mp.load(saved(layer, tmp_path), into=other)
    for one, two in zip(layer.collect_params().values(), other.collect_params().values(), strict=True):
        assert np.array_equal(one.data().asnumpy(), two.data().asnumpy())


def test_what_a_layer_was_told_not_to_have_is_in_the_file_and_not_missed(tmp_path):
    layer, other = nn.InstanceNorm(in_channels=4), nn.InstanceNorm(in_channels=4)
    for one in (layer, other):
        one.initialize()
    report = mp.load(saved(layer, tmp_path), into=other)
    assert report.notes == ["not loaded, since it changes nothing: weight"]
    layer.gamma.set_data(mx.nd.array([1, 2, 1, 1]))
    with pytest.raises(mp.MismatchError, match="unexpected: weight"):
        mp.load(saved(layer, tmp_path), into=other)


@pytest.mark.parametrize("name", ["RNN", "GRU", "LSTM"])
def test_cells(tmp_path, name):
    cell = getattr(rnn, f"{name}Cell")(6, input_size=4)
    cell.initialize(mx.init.Uniform(1))
    other = getattr(T, f"{name}Cell")(4, 6)
    mp.load(saved(cell, tmp_path), into=other)
    given = batch(2, 4)
    ours, _ = cell(mx.nd.array(given), cell.begin_state(2))
    theirs = other(torch.from_numpy(given))
    theirs = theirs[0] if isinstance(theirs, tuple) else theirs
    assert np.allclose(ours.asnumpy(), theirs.detach().numpy(), atol=1e-5)


def stacked(*cells):
    block = rnn.SequentialRNNCell()
    for one in cells:
        block.add(one)
    return block


def two_ways(cell, inputs=4):
    return rnn.BidirectionalCell(cell(4, input_size=inputs), cell(4, input_size=inputs))


BLOCKS = {
    "two ways": (lambda: two_ways(rnn.LSTMCell), lambda: T.LSTM(4, 4, bidirectional=True)),
    "two ways of a GRU": (lambda: two_ways(rnn.GRUCell), lambda: T.GRU(4, 4, bidirectional=True)),
    "a stack": (
        lambda: stacked(rnn.LSTMCell(4, input_size=4), rnn.DropoutCell(0.5), rnn.LSTMCell(4, input_size=4)),
        lambda: T.LSTM(4, 4, 2),
    ),
    "a stack of two ways": (
        lambda: stacked(two_ways(rnn.LSTMCell), two_ways(rnn.LSTMCell, 8)),
        lambda: T.LSTM(4, 4, 2, bidirectional=True),
    ),
}


@pytest.mark.parametrize("case", BLOCKS)
def test_cells_in_a_block_are_a_recurrent_layer(tmp_path, case):
    make, make_other = BLOCKS[case]
    layer, again, other = make(), make(), make_other().eval()
    layer.initialize(mx.init.Uniform(1))
    again.initialize()
    path = saved(layer, tmp_path)
    mp.load(path, into=again)
    for one, two in zip(layer.collect_params().values(), again.collect_params().values(), strict=True):
        assert np.array_equal(one.data().asnumpy(), two.data().asnumpy())
    assert not mp.load(path, into=other).unexpected
    given = batch(3, 2, 4)
    ours, _ = layer.unroll(3, mx.nd.array(given), layout="TNC", merge_outputs=True)
    assert np.allclose(ours.asnumpy(), other(torch.from_numpy(given))[0].detach().numpy(), atol=1e-5)


class Norm(nn.HybridBlock):
    """A block of the user's own, which has a batch norm's statistics."""

    def __init__(self):
        super().__init__()
        with self.name_scope():
            for name in ("running_mean", "running_var"):
                setattr(self, name, self.params.get(name, shape=(4,), init=mx.init.Uniform(1)))


def test_a_norm_of_the_users_own_comes_back(tmp_path):
    layer, other = Norm(), Norm()
    layer.initialize()
    other.initialize()
    mp.load(saved(layer, tmp_path), into=other)
    assert np.array_equal(layer.running_var.data().asnumpy(), other.running_var.data().asnumpy())


def test_a_projected_lstm(tmp_path):
    layer = rnn.LSTM(6, input_size=4, projection_size=3)
    layer.initialize(mx.init.Uniform(1))
    other = T.LSTM(4, 6, proj_size=3)
    mp.load(saved(layer, tmp_path), into=other)
    native = {name.partition("_")[2]: one.data().asnumpy() for name, one in layer.collect_params().items()}
    assert np.array_equal(other.weight_hr_l0.detach().numpy(), native["l0_h2r_weight"])
    assert np.array_equal(other.weight_hh_l0.detach().numpy(), native["l0_h2h_weight"])


def mlp():
    net = nn.HybridSequential()
    with net.name_scope():
        net.add(nn.Embedding(9, 4), nn.Dense(8, activation="relu", flatten=False), nn.BatchNorm(), nn.Dense(1))
    net.initialize(mx.init.Uniform(1))
    net.hybridize()
    net(mx.nd.array([[1, 2, 3]]))
    return net


def test_prefixed_and_exported_files_hold_the_same(tmp_path):
    net = mlp()
    paths = [saved(net, tmp_path), tmp_path / "prefixed.params", tmp_path / "net-0000.params"]
    net.collect_params().save(str(paths[1]))
    net.export(str(tmp_path / "net"))
    opened = [mp.open(path) for path in paths]
    layers = {"0": "embedding0", "1": "dense0", "2": "batchnorm0", "3": "dense1"}
    for name, entry in opened[0].items():
        layer, _, role = name.partition(".")
        for other in opened[1:]:
            assert np.array_equal(entry.value, other[f"{net.prefix}{layers[layer]}.{role}"].value)
    assert all(len(other) == len(opened[0]) for other in opened)
    assert next(iter(opened[1].kinds.values())) == "Embedding"
    # a rename puts them into a model
    other = T.Sequential(T.Embedding(9, 4), T.Linear(4, 8), T.BatchNorm1d(3), T.Linear(24, 1))
    rename = {rf"^{net.prefix}{old}\.": f"{new}." for new, old in layers.items()}
    mp.load(paths[2], into=other, rename=rename)
    assert np.array_equal(other[3].weight.detach().numpy(), net[3].weight.data().asnumpy())


def test_lists_dicts_dtypes_and_sparse_arrays(tmp_path):
    path = str(tmp_path / "file")
    for name in ("float32", "float64", "float16", "uint8", "int32", "int8", "int64", "bool"):
        given = mx.nd.array([[1, 0, 1]], dtype=name)
        mx.nd.save(path, {"x": given, "y": mx.nd.array([], dtype=name)})
        found = mp.open(path)
        assert found["x"].dtype == np.dtype(name)
        assert np.array_equal(found["x"].value, given.asnumpy())
        assert found["y"].shape == (0,)
    mx.nd.save(path, [mx.nd.ones((2,)), mx.nd.ones((3, 1))])
    assert [one.shape for one in mp.load(path)] == [(2,), (3, 1)]
    rows = mx.nd.sparse.row_sparse_array((np.ones((2, 3)), [0, 2]), shape=(4, 3))
    mx.nd.save(path, {"rows": rows, "csr": mx.nd.sparse.csr_matrix(np.eye(3)), "dense": mx.nd.ones((2,))})
    found = mp.open(path)
    assert found["dense"].value.tolist() == [1, 1]
    for name, kind in (("rows", "row_sparse"), ("csr", "csr")):
        with pytest.raises(mp.CheckpointError, match=rf"'{name}' cannot be read: it is sparse \({kind}\)"):
            found[name].read()
    assert found["rows"].shape == (4, 3)


@pytest.mark.parametrize("version", [0, 0xF993FAC8])
def test_older_files_are_what_mxnet_itself_reads(tmp_path, version):
    given = batch(2, 3)
    shape = struct.pack("<III", 2, 2, 3) if not version else struct.pack("<Iiqq", version, 2, 2, 3)
    data = struct.pack("<QQQ", 0x112, 0, 1) + shape + struct.pack("<iii", 1, 0, 0) + given.tobytes()
    (tmp_path / "file").write_bytes(data + struct.pack("<QQ", 1, 1) + b"x")
    assert np.array_equal(mx.nd.load(str(tmp_path / "file"))["x"].asnumpy(), given)
    assert np.array_equal(mp.open(tmp_path / "file")["x"].value, given)


def test_numpys_shapes(tmp_path):
    # set_np holds for the whole process
    code = """
import sys, numpy
numpy.bool = bool
import mxnet as mx
mx.npx.set_np()
mx.npx.save(sys.argv[1], {"a": mx.np.ones((2, 3)), "s": mx.np.array(3.0), "z": mx.np.zeros((0, 3))})
net = mx.gluon.nn.Dense(3, in_units=2)
net.initialize()
net.save_parameters(sys.argv[2])
numpy.save(sys.argv[3], net.weight.data().asnumpy())
"""
    paths = [str(tmp_path / name) for name in ("a.npy", "net.params", "weight.npy")]
    subprocess.run([sys.executable, "-c", code, *paths], check=True, capture_output=True)
    found = mp.open(paths[0])
    assert {name: one.shape for name, one in found.items()} == {"a": (2, 3), "s": (), "z": (0, 3)}
    assert found["s"].value == 3
    assert np.array_equal(mp.open(paths[1])["weight"].value, np.load(paths[2]))


def test_bfloat16(tmp_path):
    given = mx.nd.amp_cast(mx.nd.array([1.5, -2.25]), dtype="bfloat16")
    mx.nd.save(str(tmp_path / "file"), {"x": given})
    found = mp.open(tmp_path / "file")
    assert found["x"].dtype.name == "bfloat16"
    assert found["x"].value.astype(np.float32).tolist() == [1.5, -2.25]


def test_the_tables_are_what_gluon_calls_its_parameters():
    layers = {
        "Linear": nn.Dense(3, in_units=2),
        "Embedding": nn.Embedding(3, 2),
        "Conv2d": nn.Conv2D(3, 2, in_channels=2),
        "BatchNorm": nn.BatchNorm(in_channels=3),
        "LayerNorm": nn.LayerNorm(in_channels=3),
        "PReLU": nn.PReLU(),
    }
    for kind, layer in layers.items():
        known = described([kind], layer._reg_params, SOURCES, BUFFERS, FILE_ONLY)
        assert {part for source in known.sources.values() for part in source.parts} == set(layer._reg_params)
