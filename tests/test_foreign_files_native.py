"""Paddle's files as Paddle itself writes them: opened without it, loaded into PyTorch's models, the same outputs."""

import pickle
import subprocess
import sys

import numpy as np
import paddle
import pytest
import safetensors.paddle
import torch

import multiparam as mp

PROTOCOLS = (2, 3, 4)


@pytest.fixture(autouse=True)
def seeded():
    paddle.seed(0)


def randomized(layer):
    """The layer with other numbers than zeros and ones."""
    for index, one in enumerate(layer.state_dict().values()):
        values = np.random.default_rng(index).uniform(0.5, 1.5, one.shape)
        one.set_value(paddle.to_tensor(values.astype(np.float32)))
    layer.eval()
    return layer


def saved(layer, tmp_path, **options):
    path = tmp_path / "net.pdparams"
    paddle.save(layer.state_dict(), str(path), **options)
    return path


def array(tensor):
    return np.asarray(tensor.detach().numpy())


def batch(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


P, T = paddle.nn, torch.nn
PAIRS = {
    "Linear": (lambda: P.Linear(4, 6), lambda: T.Linear(4, 6), (2, 4)),
    "Linear without a bias": (lambda: P.Linear(4, 6, bias_attr=False), lambda: T.Linear(4, 6, bias=False), (2, 4)),
    "square Linear": (lambda: P.Linear(4, 4), lambda: T.Linear(4, 4), (2, 4)),
    "Conv1d": (lambda: P.Conv1D(4, 6, 3), lambda: T.Conv1d(4, 6, 3), (2, 4, 7)),
    "Conv2d": (lambda: P.Conv2D(4, 6, 3, groups=2), lambda: T.Conv2d(4, 6, 3, groups=2), (2, 4, 7, 7)),
    "Conv3d": (lambda: P.Conv3D(4, 6, 3), lambda: T.Conv3d(4, 6, 3), (2, 4, 5, 5, 5)),
    "ConvTranspose1d": (lambda: P.Conv1DTranspose(4, 6, 3), lambda: T.ConvTranspose1d(4, 6, 3), (2, 4, 7)),
    "ConvTranspose2d": (lambda: P.Conv2DTranspose(4, 6, 3), lambda: T.ConvTranspose2d(4, 6, 3), (2, 4, 7, 7)),
    "ConvTranspose3d": (lambda: P.Conv3DTranspose(4, 6, 3), lambda: T.ConvTranspose3d(4, 6, 3), (2, 4, 5, 5, 5)),
    "BatchNorm1d": (lambda: P.BatchNorm1D(4), lambda: T.BatchNorm1d(4), (2, 4, 5)),
    "BatchNorm2d": (lambda: P.BatchNorm2D(4), lambda: T.BatchNorm2d(4), (2, 4, 5, 5)),
    "BatchNorm3d": (lambda: P.BatchNorm3D(4), lambda: T.BatchNorm3d(4), (2, 4, 5, 5, 5)),
    "LayerNorm": (lambda: P.LayerNorm(4), lambda: T.LayerNorm(4), (2, 4)),
    "GroupNorm": (lambda: P.GroupNorm(2, 4), lambda: T.GroupNorm(2, 4), (2, 4, 5)),
    "InstanceNorm1d": (lambda: P.InstanceNorm1D(4), lambda: T.InstanceNorm1d(4, affine=True), (2, 4, 5)),
    "InstanceNorm2d": (lambda: P.InstanceNorm2D(4), lambda: T.InstanceNorm2d(4, affine=True), (2, 4, 5, 5)),
    "PReLU": (lambda: P.PReLU(4), lambda: T.PReLU(4), (2, 4, 5, 5)),
    "RNN": (lambda: P.SimpleRNN(4, 6, 2), lambda: T.RNN(4, 6, 2, batch_first=True), (2, 5, 4)),
    "GRU": (
        lambda: P.GRU(4, 6, direction="bidirect"),
        lambda: T.GRU(4, 6, bidirectional=True, batch_first=True),
        (2, 5, 4),
    ),
    "LSTM": (
        lambda: P.LSTM(4, 6, 2, direction="bidirect"),
        lambda: T.LSTM(4, 6, 2, bidirectional=True, batch_first=True),
        (2, 5, 4),
    ),
    "projected LSTM": (
        lambda: P.LSTM(4, 6, proj_size=3),
        lambda: T.LSTM(4, 6, proj_size=3, batch_first=True),
        (2, 5, 4),
    ),
    "two projected LSTMs, two ways": (
        lambda: P.LSTM(4, 6, 2, direction="bidirect", proj_size=3),
        lambda: T.LSTM(4, 6, 2, bidirectional=True, proj_size=3, batch_first=True),
        (2, 5, 4),
    ),
    "RNNCell": (lambda: P.SimpleRNNCell(4, 6), lambda: T.RNNCell(4, 6), (2, 4)),
    "GRUCell": (lambda: P.GRUCell(4, 6), lambda: T.GRUCell(4, 6), (2, 4)),
    "LSTMCell": (lambda: P.LSTMCell(4, 6), lambda: T.LSTMCell(4, 6), (2, 4)),
}


def first(outputs, framework):
    """The outputs of a layer; of a cell of Paddle's, whose first output is the hidden state, that."""
    while isinstance(outputs, (tuple, list)):
        outputs = outputs[0]
    return array(outputs)


@pytest.mark.filterwarnings("ignore:LSTM with projections:UserWarning")
@pytest.mark.parametrize("case", PAIRS)
def test_every_layer_comes_through_with_its_function(tmp_path, case):
    make, make_other, shape = PAIRS[case]
    layer, other = randomized(make()), make_other().eval()
    path = saved(layer, tmp_path)
    report = mp.load(path, into=other)
    assert not report.missing
    assert not report.unexpected
    assert not report.differences
    given = batch(*shape)
    with torch.no_grad():
        theirs = first(other(torch.from_numpy(given)), torch)
    assert np.allclose(first(layer(paddle.to_tensor(given)), paddle), theirs, atol=2e-5)
    kind = mp.open(path).kinds[""]
    assert kind == type(other).__name__


def test_embedding_bilinear_and_attention(tmp_path):
    table, other = randomized(P.Embedding(7, 4)), T.Embedding(7, 4)
    mp.load(saved(table, tmp_path), into=other)
    assert np.array_equal(array(other.weight), table.weight.numpy())

    bilinear, other = randomized(P.Bilinear(3, 4, 5)), T.Bilinear(3, 4, 5)
    mp.load(saved(bilinear, tmp_path), into=other)
    given = batch(2, 3), batch(2, 4)
    ours = bilinear(*map(paddle.to_tensor, given)).numpy()
    assert np.allclose(ours, array(other(*map(torch.from_numpy, given))), atol=1e-5)

    for widths in ({}, {"kdim": 6, "vdim": 10}):
        attention = randomized(P.MultiHeadAttention(8, 2, **widths))
        other = T.MultiheadAttention(8, 2, batch_first=True, **widths)
        mp.load(saved(attention, tmp_path), into=other)
        given = batch(2, 5, 8), batch(2, 5, widths.get("kdim", 8)), batch(2, 5, widths.get("vdim", 8))
        theirs = array(other(*map(torch.from_numpy, given), need_weights=False)[0])
        assert np.allclose(attention(*map(paddle.to_tensor, given)).numpy(), theirs, atol=1e-4)


class Net(P.Layer):
    def __init__(self):
        super().__init__()
        self.embedding = P.Embedding(7, 6)
        self.encoder = P.TransformerEncoderLayer(6, 2, 12, dropout=0.0)
        self.blocks = P.LayerList([P.Sequential(P.Linear(6, 6), P.ReLU()) for _ in range(2)])
        self.head = P.Linear(6, 3)


class TorchNet(T.Module):
    def __init__(self):
        super().__init__()
        self.embedding = T.Embedding(7, 6)
        self.encoder = T.TransformerEncoderLayer(6, 2, 12, dropout=0.0, batch_first=True)
        self.blocks = T.ModuleList([T.Sequential(T.Linear(6, 6), T.ReLU()) for _ in range(2)])
        self.head = T.Linear(6, 3)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_net_of_nets_at_every_protocol(tmp_path, protocol):
    net, other = randomized(Net()), TorchNet().eval()
    assert not mp.load(saved(net, tmp_path, protocol=protocol), into=other).missing
    native = {name: one.numpy() for name, one in net.state_dict().items()}
    theirs = {name: array(one) for name, one in other.state_dict().items()}
    for name in ("blocks.0.0", "blocks.1.0", "head", "encoder.linear1", "encoder.linear2"):
        assert np.array_equal(theirs[f"{name}.weight"], native[f"{name}.weight"].T)
        assert np.array_equal(theirs[f"{name}.bias"], native[f"{name}.bias"])
    packed = np.concatenate([native[f"encoder.self_attn.{name}_proj.weight"].T for name in "qkv"])
    assert np.array_equal(theirs["encoder.self_attn.in_proj_weight"], packed)
    given = batch(2, 5, 6)
    with torch.no_grad():
        after = array(other.encoder(torch.from_numpy(given)))
    assert np.allclose(net.encoder(paddle.to_tensor(given)).numpy(), after, atol=1e-4)


class Custom(P.Layer):
    """A layer of the user's own, which has PyTorch's names and not its layout, and attention of four Linear layers."""

    def __init__(self):
        super().__init__()
        self.weight, self.bias = self.create_parameter([4, 4]), self.create_parameter([4])
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (P.Linear(4, 4) for _ in range(4))
        self.bare = P.Linear(4, 4, bias_attr=False)
        self.table = P.Embedding(4, 4)


@pytest.mark.parametrize("named", [True, False])
def test_a_file_comes_back_into_the_net_that_wrote_it(tmp_path, named):
    for make in (Net, Custom, lambda: P.LSTM(4, 6, 2, direction="bidirect")):
        net, other = randomized(make()), make()
        state = {name: one.numpy() for name, one in net.state_dict().items()}
        path = saved(net, tmp_path) if named else tmp_path / "bare.pdparams"
        if not named:
            path.write_bytes(pickle.dumps({**state, "StructuredToParameterName@@": {}}, protocol=4))
        assert mp.open(path).format == "paddle"
        mp.load(path, into=other)
        assert all(np.array_equal(one.numpy(), state[name]) for name, one in other.state_dict().items())


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_what_paddle_saves_is_told_from_what_anybody_does(tmp_path, protocol):
    net = randomized(Net())
    state, path = net.state_dict(), str(tmp_path / "file")
    layer = P.Linear(2, 2)
    optimizer = paddle.optimizer.Adam(parameters=layer.parameters())
    layer(paddle.ones([1, 2])).sum().backward()
    optimizer.step()
    things = [
        state,
        {"model": state, "epoch": 3},
        [*state.values()],
        optimizer.state_dict(),
        next(iter(state.values())),
    ]
    for thing in things:
        paddle.save(thing, path, protocol=protocol)
        assert mp.open(path).format == "paddle"
    arrays = {name: one.numpy() for name, one in state.items()}
    paddle.save(arrays, path, protocol=protocol)
    found = mp.open(path)
    assert found.format == "pickle"
    assert all(np.array_equal(found[name].value, one) for name, one in arrays.items())


def test_a_safetensors_file_of_paddles_comes_back(tmp_path):
    for make in (
        Net,
        lambda: P.LSTM(4, 6, 2, direction="bidirect"),
        lambda: P.Sequential(P.Linear(4, 4), P.Linear(4, 4)),
    ):
        net, other = randomized(make()), make()
        state = net.state_dict()
        safetensors.paddle.save_file(state, str(tmp_path / "file"), metadata={"format": "pd"})
        mp.load(tmp_path / "file", into=other)
        assert all(np.array_equal(one.numpy(), state[name].numpy()) for name, one in other.state_dict().items())
    square = T.Sequential(T.Linear(4, 4), T.Linear(4, 4))
    mp.load(tmp_path / "file", into=square)
    given = batch(2, 4)
    assert np.allclose(net(paddle.to_tensor(given)).numpy(), array(square(torch.from_numpy(given))), atol=1e-5)


class Multiplied(P.Layer):
    """A layer of the user's own that has a Linear's tensors."""

    def __init__(self):
        super().__init__()
        self.weight, self.bias = self.create_parameter([4, 4]), self.create_parameter([4])


class SubLinear(P.Linear):
    """Paddle counts the parameters of a subclass apart."""


def test_a_class_that_is_not_paddles_keeps_its_layout(tmp_path):
    net = randomized(Multiplied())
    other = T.Module()
    other.weight, other.bias = T.Parameter(torch.zeros(4, 4)), T.Parameter(torch.zeros(4))
    with pytest.warns(mp.UncertainLayoutWarning, match="weight$"):
        assert mp.load(saved(net, tmp_path), into=other).notes
    assert np.array_equal(array(other.weight), net.weight.numpy())
    linear, other = randomized(SubLinear(4, 4)), T.Linear(4, 4)
    with pytest.warns(mp.UncertainLayoutWarning, match="weight$"):
        mp.load(saved(linear, tmp_path), into=other)
    given = batch(2, 4)
    assert np.allclose(linear(paddle.to_tensor(given)).numpy(), array(other(torch.from_numpy(given))), atol=1e-5)


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_spectral_norm_comes_through_with_its_function(tmp_path):
    def make():
        layer = P.Linear(4, 4)
        P.utils.spectral_norm(layer)
        return layer

    layer, again = make(), make()
    given = batch(2, 4)
    for _ in range(50):
        layer(paddle.to_tensor(given))
    layer.eval()
    path = saved(layer, tmp_path)
    other = T.utils.spectral_norm(T.Linear(4, 4))
    mp.load(path, into=other)
    ours = layer(paddle.to_tensor(given)).numpy()
    assert np.allclose(ours, array(other.eval()(torch.from_numpy(given))), atol=1e-5)
    mp.load(path, into=again)
    assert np.array_equal(again.weight_orig.numpy(), layer.weight_orig.numpy())


def test_a_norm_over_several_axes(tmp_path):
    layer, again, other = randomized(P.LayerNorm([3, 4])), P.LayerNorm([3, 4]), T.LayerNorm([3, 4])
    path = saved(layer, tmp_path)
    mp.load(path, into=again)
    mp.load(path, into=other)
    given = batch(2, 3, 4)
    ours = layer(paddle.to_tensor(given)).numpy()
    assert np.allclose(ours, array(other(torch.from_numpy(given))), atol=1e-5)
    assert np.array_equal(ours, again(paddle.to_tensor(given)).numpy())


@pytest.mark.filterwarnings("ignore:LSTM with projections:UserWarning")
def test_recurrent_layers_without_biases(tmp_path):
    nothing = {"bias_ih_attr": False, "bias_hh_attr": False}
    pairs = (
        (lambda: P.RNN(P.GRUCell(4, 6, **nothing)), T.GRU(4, 6, bias=False, batch_first=True)),
        (lambda: P.LSTM(4, 6, proj_size=3, **nothing), T.LSTM(4, 6, proj_size=3, bias=False, batch_first=True)),
    )
    given = batch(2, 5, 4)
    for make, other in pairs:
        layer, again = make(), make()
        path = saved(layer, tmp_path)
        for loaded in (again, other):
            assert not mp.load(path, into=loaded, strict=True).missing
        ours = first(layer(paddle.to_tensor(given)), paddle)
        assert np.array_equal(ours, first(again(paddle.to_tensor(given)), paddle))
        assert np.allclose(ours, first(other(torch.from_numpy(given)), torch), atol=1e-5)


def test_nested_dicts_single_tensors_and_lists(tmp_path):
    net = randomized(Net())
    path = tmp_path / "all.pdparams"
    paddle.save({"model": net.state_dict(), "epoch": 3}, str(path))
    other = TorchNet()
    mp.load(path, into=other, rename={r"^model\.": ""})
    assert np.array_equal(array(other.head.weight), net.head.weight.numpy().T)
    assert mp.open(path).left_out == {"epoch": "int"}
    paddle.save(net.head.weight, str(path))
    assert np.array_equal(mp.load(path), net.head.weight.numpy())
    paddle.save([net.head.weight, net.head.bias], str(path))
    assert [one.shape for one in mp.load(path)] == [(6, 3), (3,)]


def test_bfloat16_and_the_other_dtypes(tmp_path):
    net = randomized(P.Linear(4, 6))
    exact = net.weight.cast("bfloat16").cast("float32").numpy()
    path = saved(net.to(dtype="bfloat16"), tmp_path)
    found = mp.open(path)
    assert found["weight"].dtype.name == "bfloat16"
    assert np.array_equal(found["weight"].value.astype(np.float32), exact.T)
    other = T.Linear(4, 6, dtype=torch.bfloat16)
    mp.load(path, into=other)
    assert np.array_equal(array(other.weight.float()), exact.T)
    names = ("float16", "float64", "int8", "int16", "int32", "int64", "uint8", "bool", "complex64", "complex128")
    for name in names:
        paddle.save({"x": paddle.ones([2, 3]).cast(name)}, str(path))
        assert mp.open(path)["x"].dtype == np.dtype(name)
        assert mp.open(path)["x"].value.all()


def test_what_paddle_ties_is_tied(tmp_path):
    class Tied(P.Layer):
        def __init__(self):
            super().__init__()
            self.first = P.Linear(4, 4)
            self.second = P.Linear(4, 4)
            self.second.weight = self.first.weight

    path = saved(randomized(Tied()), tmp_path)
    assert mp.open(path).ties == [("first.weight", "second.weight")]
    other = T.Module()
    other.first, other.second = T.Linear(4, 4), T.Linear(4, 4)
    mp.load(path, into=other)
    assert other.first.weight is other.second.weight


def test_an_optimizers_state_is_read_under_its_own_names(tmp_path):
    net = P.Linear(2, 1)
    rate = paddle.optimizer.lr.StepDecay(0.1, 2)
    optimizer = paddle.optimizer.Adam(rate, parameters=net.parameters())
    net(paddle.ones([1, 2])).sum().backward()
    optimizer.step()
    paddle.save(optimizer.state_dict(), str(tmp_path / "adam.pdopt"))
    found = mp.open(tmp_path / "adam.pdopt")
    native = {name: one.numpy() for name, one in optimizer.state_dict().items() if name != "LR_Scheduler"}
    assert found.keys() == native.keys() == found.own
    assert all(np.array_equal(found[name].value, one) for name, one in native.items())
    assert set(found.left_out) == {"LR_Scheduler.last_epoch", "LR_Scheduler.last_lr"}


def test_big_arrays_that_paddle_cuts_into_slices(tmp_path, monkeypatch):
    from paddle.framework import io_utils

    # as many elements as make Paddle cut: with 2**30 - 1 bytes it would be a file of a gigabyte
    source = io_utils._unpack_saved_dict.__code__
    smaller = source.replace(co_consts=tuple(64 if one == 2**30 - 1 else one for one in source.co_consts))
    assert smaller.co_consts != source.co_consts
    monkeypatch.setattr(io_utils._unpack_saved_dict, "__code__", smaller)
    net = randomized(P.Linear(6, 5))
    for protocol in (2, 3):
        path = saved(net, tmp_path, protocol=protocol)
        assert b"UnpackBigParamInfor@@" in path.read_bytes()
        found = mp.open(path)
        assert set(found) == {"weight", "bias"}
        assert np.array_equal(found["weight"].value, net.weight.numpy().T)


def test_static_graphs(tmp_path):
    code = """
import sys, paddle, numpy as np
paddle.enable_static()
x = paddle.static.data("x", [None, 3])
paddle.static.nn.fc(x, 4)
paddle.static.Executor().run(paddle.static.default_startup_program())
state = paddle.static.default_main_program().state_dict("param")
paddle.save(state, sys.argv[1])
paddle.save(state["fc_0.w_0"], sys.argv[2])
np.save(sys.argv[3], np.array(state["fc_0.w_0"]))
"""
    paths = [tmp_path / name for name in ("static.pdparams", "one.pdtensor", "one.npy")]
    subprocess.run([sys.executable, "-c", code, *paths], check=True, capture_output=True)
    weight = np.load(paths[2])
    assert np.array_equal(mp.open(paths[0])["fc_0.weight"].value, weight.T)
    assert np.array_equal(mp.load(paths[1]), weight)


def test_paddles_own_safetensors_keep_their_names_and_layouts(tmp_path):
    net = P.Linear(4, 6)
    paddle.save(net.state_dict(), str(tmp_path / "net"), safetensors=True)
    found = mp.open(tmp_path / "net")
    assert found.format == "safetensors"
    assert found["weight"].shape == (4, 6)
