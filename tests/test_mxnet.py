"""The conformance kit on MXNet's Gluon with both of its interfaces, and what only Gluon has."""

import copy
import os
import re
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import torch
from scipy import stats

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # MXNet 1.9 was made for older releases of numpy
    import mxnet as mx
    from mxnet import autograd, gluon
    from mxnet.gluon import nn, rnn
    from mxnet.util import is_np_array

import multiparam as mp
from multiparam.testing import ConformanceSuite

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def relu(x):
    return mx.npx.relu(x) if is_np_array() else mx.nd.relu(x)


def array(x):
    return mx.np.array(x, dtype=x.dtype) if is_np_array() else mx.nd.array(x, dtype=x.dtype)


class Block(gluon.Block):
    """Blocks with given children, made and initialized in one go."""

    def __init__(self, **children):
        super().__init__()
        with self.name_scope():
            for name, make in children.items():
                setattr(self, name, make())
        self.initialize()


class Named(Block):
    def __init__(self):
        super().__init__(hidden=lambda: nn.Dense(8, in_units=4), head=lambda: nn.Dense(3, in_units=8))

    def forward(self, x):
        return self.head(relu(self.hidden(x)))


class Fancy(Block):
    def __init__(self, constant):
        super().__init__(linear=lambda: nn.Dense(20, in_units=20))
        self.constant = array(constant)

    def forward(self, x):
        dot = mx.np.dot if is_np_array() else mx.nd.dot
        x = self.linear(relu(dot(self.linear(x), self.constant) + 1))
        size = mx.np.abs if is_np_array() else mx.nd.abs
        while float(size(x).sum().asnumpy()) > 1:
            x = x / 2
        return (x * 10 if float(size(x).sum().asnumpy()) < 0.8 else x).sum()


class Containers(gluon.Block):
    def __init__(self):
        super().__init__()
        self.blocks, self.heads = nn.Sequential(), nn.Sequential()
        self.blocks.add(nn.Dense(4, in_units=4), nn.Dense(4, in_units=4))
        for name in "ab":
            self.heads.register_child(nn.Dense(2, in_units=4), name)
        self.initialize()

    def forward(self, x):
        return sum(head(self.blocks(x)) for head in self.heads._children.values())


class Twice(Block):
    def __init__(self):
        super().__init__(first=lambda: nn.Dense(4, in_units=4))
        self.second = self.first

    def forward(self, x):
        return self.second(self.first(x))


class LanguageModel(Block):
    def __init__(self):
        super().__init__(
            embedding=lambda: nn.Embedding(7, 4),
            head=lambda: nn.Dense(7, in_units=4, use_bias=False, flatten=False),
        )

    def forward(self, x):
        return self.head(self.embedding(x))


class Buffered(gluon.Block):
    def __init__(self):
        super().__init__()
        self.linear = nn.Dense(2, in_units=4)
        self.mean = self.params.get_constant("mean", np.zeros(4, np.float32))
        self.initialize()

    def forward(self, x):
        return self.linear(x - self.mean.data())


class Pair(Block):
    def __init__(self):
        super().__init__(left=lambda: nn.Dense(2, in_units=4), right=lambda: nn.Dense(2, in_units=4))

    def forward(self, left, right):
        return self.left(left) + self.right(right)


def sequential(*children, names=None, made=nn.Sequential):
    net = made()
    for position, child in enumerate(children):
        net.register_child(child, names[position] if names else str(position))
    return net


def begun(net):
    net.initialize()
    return net


def block():
    return sequential(nn.Dense(8, in_units=4), nn.Activation("relu"), nn.Dense(4, in_units=8), nn.Activation("relu"))


class TestMXNet(ConformanceSuite):
    backend = "mxnet"
    containers_are = ("Sequential", "Sequential")  # Gluon has no other
    waiting = ("0.weight", "2.weight")  # the biases have their shapes

    def mlp(self):
        return begun(sequential(nn.Dense(8, in_units=4), nn.Activation("relu"), nn.Dense(1, in_units=8)))

    def named(self):
        return Named()

    def nested(self):
        blocks = sequential(block(), block(), names=["block 0", "block 1"])
        return begun(sequential(blocks, nn.Dense(1, in_units=4)))

    def shared(self):
        layer, first, last = nn.Dense(8, in_units=8), nn.Dense(8, in_units=4), nn.Dense(1, in_units=8)
        between = [nn.Activation("relu") for _ in range(3)]
        return begun(sequential(first, between[0], layer, between[1], layer, between[2], last))

    def fancy(self, constant):
        return Fancy(constant)

    def custom(self):
        class Inner(gluon.Block):
            def __init__(self):
                super().__init__()
                self.w = self.params.get("w", shape=(4, 3))

            def forward(self, x):
                return (mx.np.dot if is_np_array() else mx.nd.dot)(x, self.w.data())

        class Custom(gluon.Block):
            def __init__(self):
                super().__init__()
                self.offset = self.params.get("offset", shape=(3,), init="ones")
                self.inner = Inner()
                self.initialize()

            def forward(self, x):
                return self.inner(x) + (
                    self.offset.data() if is_np_array() else self.offset.data().broadcast_to((len(x), 3))
                )

        return Custom()

    def containers(self):
        return Containers()

    def twice(self):
        return Twice()

    def language_model(self):
        return LanguageModel()

    def lazy(self):
        return begun(sequential(nn.Dense(8), nn.Activation("relu"), nn.Dense(1)))

    def buffered(self):
        return Buffered()

    def pair(self):
        return Pair()

    def raw_mlp(self, model):
        return {name: one.data().asnumpy() for name, one in model._collect_params_with_prefix().items()}

    raw_language_model = raw_mlp

    def inventory(self, model):
        with tempfile.TemporaryDirectory() as folder:
            model.save_parameters(f"{folder}/a.params")
            return {name: one.asnumpy() for name, one in mx.nd.load(f"{folder}/a.params").items()}

    def forward(self, model, x):
        return model(array(x)).asnumpy()

    def loss(self, model, x):
        return 0.5 * (model(x) ** 2).sum()

    def train(self, model, x, steps):
        trainer = gluon.Trainer(model.collect_params(), "adam", {"learning_rate": 0.01})
        for _ in range(steps):
            with autograd.record():
                loss = self.loss(model, array(x))
            loss.backward()
            trainer.step(1)

    def frozen_natively(self, native):
        return native.grad_req == "null"


class TestMXNetNumpy(TestMXNet):
    """The same with the arrays of `mx.np`."""

    @pytest.fixture(autouse=True)
    def numpy_interface(self):
        mx.npx.set_np()
        yield
        mx.npx.reset_np()


# --- what only Gluon has -----------------------------------------------------------------------------------------

TEXTBOOK = """
import warnings
warnings.simplefilter("ignore")
from mxnet import np, npx
from mxnet.gluon import nn
npx.set_np()
net = nn.Sequential()
net.add(nn.Dense(8, activation="relu"))
net.add(nn.Dense(1))
net.initialize()
X = np.random.uniform(size=(2, 4))
print(net(X))
import sys
import multiparam as mp
mp.save(net, sys.argv[1])
mp.save({"x": X, "y": mp.run(net, X.asnumpy())}, sys.argv[2])
print([(name, one.shape) for name, one in mp.parameters(net).items()])
"""


def test_the_textbooks_program_prints_what_the_textbook_prints(tmp_path):
    files = [str(tmp_path / "net.safetensors"), str(tmp_path / "data.safetensors")]
    done = subprocess.run([sys.executable, "-c", TEXTBOOK, *files], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[:2] == ["[[0.0054572 ]", " [0.00488594]]"]
    names = "[('0.weight', (8, 4)), ('0.bias', (8,)), ('1.weight', (1, 8)), ('1.bias', (1,))]"
    assert done.stdout.splitlines()[2] == names
    data = mp.load(files[1], backend="numpy")
    np.testing.assert_allclose(data["y"], [[0.0054572], [0.00488594]], atol=1e-8)
    # the file is PyTorch's, whose model has the activation as a layer of its own
    other = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 1))
    mp.load(files[0], into=other, rename={r"^1\.": "2."})
    np.testing.assert_allclose(mp.run(other, data["x"]), [[0.0054572], [0.00488594]], atol=1e-8)


@pytest.fixture(params=["nd", "np"])
def interface(request):
    if request.param == "np":
        mx.npx.set_np()
    yield request.param
    mx.npx.reset_np()


def x(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def test_parameters_shared_at_construction_are_tied(interface):
    first = nn.Dense(8, in_units=8)
    net = begun(sequential(nn.Dense(8), first, nn.Dense(8, params=first.params)))
    mp.materialize(net, x(2, 4))
    assert mp.tied(net) == [("1.weight", "2.weight"), ("1.bias", "2.bias")]
    mp.untie(net, "2.weight")
    mp.parameters(net)["2.weight"][...] = 0
    assert net[1].weight.data().asnumpy().any()
    assert not net[2].weight.data().asnumpy().any()
    gluon.Trainer(net.collect_params(), "sgd")  # tells parameters by their names
    assert len(list(net.collect_params())) == 5


def test_positions_take_the_place_of_prefixes(interface):
    for _ in range(2):
        net = TestMXNet().mlp()
        assert list(mp.parameters(net)) == ["0.weight", "0.bias", "2.weight", "2.bias"]
        assert mp.parameters(net).select(re.compile(r".*weight")).names == ["0.weight", "2.weight"]
        assert next(iter(net.collect_params(".*weight"))) != "0.weight"


def test_an_activation_that_a_layer_calls_itself_is_no_layer(interface, tmp_path):
    net = begun(sequential(nn.Dense(8, activation="relu", in_units=4), nn.Conv2D(2, 3, activation="tanh")))
    assert next((one.kind, one.children) for one in mp.layers(net)) == ("Linear", [])
    plain = begun(sequential(nn.Dense(8, in_units=4)))
    mp.save(sequential(net[0]), tmp_path / "net.safetensors")
    assert mp.load(tmp_path / "net.safetensors", into=plain).differences == [("0", "activation", "relu", "linear")]


def test_deferred_shapes_say_what_is_known(interface):
    net = begun(
        sequential(
            *(nn.Conv2D(8, 3), nn.BatchNorm(), nn.Conv2DTranspose(4, 3), nn.LayerNorm(), nn.InstanceNorm(scale=True)),
            *(nn.Dense(5), nn.Embedding(7, 4)),
        )
    )
    shapes = {name: one.shape for name, one in mp.parameters(net).items()}
    assert shapes == {
        "0.weight": (8, None, 3, 3),
        "0.bias": (8,),
        "1.weight": (None,),
        "1.bias": (None,),
        "2.weight": (None, 4, 3, 3),
        "2.bias": (4,),
        "3.weight": (None,),
        "3.bias": (None,),
        "4.weight": (None,),
        "4.bias": (None,),
        "5.weight": (5, None),
        "5.bias": (5,),
        "6.weight": (7, 4),
    }
    for layer, shape in ((rnn.LSTM(5), (20, None)), (rnn.GRUCell(5), (15, None))):
        layer.initialize()
        weight = next(iter(mp.parameters(layer).values()))
        assert (weight.shape, weight.initialized) == (shape, False)


@pytest.mark.parametrize("how", ["begun", "not begun", "hybrid"])
def test_a_remembered_initialization_is_carried_out_by_the_first_native_batch(interface, how):
    net = sequential(nn.Dense(8), nn.Activation("relu"), nn.Dense(1), made=nn.HybridSequential)
    if how != "not begun":
        net.initialize()
    if how == "hybrid":
        net.hybridize()
    known = TestMXNet().mlp()
    for one in (known, net):
        mp.initialize(one, mp.init.Normal(0.3), seed=2)
    expected = known(array(x(2, 4))).asnumpy()
    np.testing.assert_allclose(net(array(x(2, 4))).asnumpy(), expected, atol=1e-6)
    mp.parameters(net)["0.weight"][...] = 0
    net(array(x(2, 4)))
    assert not mp.parameters(net)["0.weight"].value.any()  # once, not at every batch


def test_numbers_that_were_loaded_natively_after_an_initialization_stay(interface, tmp_path):
    net, known = sequential(nn.Dense(8), nn.Activation("relu"), nn.Dense(1)), TestMXNet().mlp()
    known.save_parameters(str(tmp_path / "mlp.params"))
    mp.initialize(net, mp.init.Constant(9), seed=0)
    net.load_parameters(str(tmp_path / "mlp.params"))
    np.testing.assert_allclose(net(array(x(2, 4))).asnumpy(), known(array(x(2, 4))).asnumpy(), atol=1e-6)


def test_a_hybridized_model_follows_writes_ties_and_freezes(interface):
    layers = [nn.Embedding(7, 4), nn.Dense(4, in_units=4, flatten=False), nn.Dense(7, use_bias=False, flatten=False)]
    net = begun(sequential(*layers, made=nn.HybridSequential))
    net.hybridize()
    tokens = np.array([[0, 3, 6]], np.int32)
    plain = copy.deepcopy(net)
    plain.hybridize(False)
    net(array(tokens)), plain(array(tokens))
    params = mp.parameters(net)
    for one in (net, plain):
        mp.initialize(one, mp.init.Normal(0.5), seed=1)
    first = net(array(tokens)).asnumpy()
    np.testing.assert_allclose(first, plain(array(tokens)).asnumpy(), atol=1e-6)
    for one in (net, plain):
        mp.tie(one, "2.weight", to="0.weight")
    tied = net(array(tokens)).asnumpy()
    assert np.abs(tied - first).max() > 1e-3
    np.testing.assert_allclose(tied, plain(array(tokens)).asnumpy(), atol=1e-6)
    found = [mp.gradients(one, lambda net, t: (net(t) ** 2).sum(), tokens) for one in (net, plain)]
    for name in found[0]:
        np.testing.assert_allclose(found[0][name], found[1][name], atol=1e-5)
    params["1.weight"].trainable = False
    assert "1.weight" not in mp.gradients(net, lambda net, t: net(t).sum(), tokens)
    trainer = gluon.Trainer(net.collect_params(), "sgd", {"learning_rate": 0.1})
    with autograd.record():
        loss = (net(array(tokens)) ** 2).sum()
    loss.backward()
    before = params["1.weight"].value
    trainer.step(1)
    assert np.array_equal(params["1.weight"].value, before)
    assert np.array_equal(net[2].weight.data().asnumpy(), net[0].weight.data().asnumpy())


@pytest.mark.parametrize("hybrid", [False, True])
def test_a_transposed_tie_is_one_parameter_to_gluon(interface, hybrid, tmp_path):
    class Projection(nn.HybridBlock):
        def __init__(self):
            super().__init__()
            self.w = self.params.get("w", shape=(4, 7))

        def hybrid_forward(self, F, x, w):
            return F.np.dot(x, w) if is_np_array() else F.dot(x, w)

    mp.register_layer(Projection, "Linear", weight=mp.Transposed("w"))
    net = begun(sequential(nn.Embedding(7, 4), Projection(), made=nn.HybridSequential))
    if hybrid:
        net.hybridize()
        net(array(np.array([0, 3])))
    mp.tie(net, "1.weight", to="0.weight")
    assert mp.tied(net) == [("0.weight", "1.weight")]
    assert len(list(net.collect_params())) == 1
    trainer = gluon.Trainer(net.collect_params(), "sgd", {"learning_rate": 0.1})
    before = mp.parameters(net)["0.weight"].value
    table = before[[0, 3]]
    np.testing.assert_allclose(net(array(np.array([0, 3]))).asnumpy(), table @ before.T, atol=1e-6)
    with autograd.record():
        loss = net(array(np.array([0, 3]))).sum()
    loss.backward()
    ours = mp.gradients(net, lambda net, t: net(t).sum(), np.array([0, 3]))["0.weight"]
    expected = np.tile(table.sum(0), (7, 1))
    expected[[0, 3]] += before.sum(0)
    np.testing.assert_allclose(ours, expected, atol=1e-5)
    trainer.step(1)
    np.testing.assert_allclose(mp.parameters(net)["1.weight"].value, before - 0.1 * expected, atol=1e-5)
    net.save_parameters(str(tmp_path / "tied.params"))
    net.load_parameters(str(tmp_path / "tied.params"))
    net.hybridize(False)  # Gluon's compiled graphs cannot be copied
    other = copy.deepcopy(net)
    assert mp.tied(other) == [("0.weight", "1.weight")]
    mp.parameters(other)["0.weight"][...] = 5
    assert (other[1].w.data().asnumpy() == 5).all()
    assert not (net[1].w.data().asnumpy() == 5).any()
    mp.untie(net, "1.weight")
    assert type(net[1].w) is gluon.Parameter
    assert len(list(net.collect_params())) == 2


def test_gradients_that_are_added_up_are_overwritten_by_ours(interface):
    net = begun(nn.Dense(1, in_units=4))
    net.weight.grad_req = "add"
    params = mp.parameters(net)
    assert params["weight"].grad is None
    for _ in range(2):
        found = mp.gradients(net, lambda net, x: net(x).sum(), np.ones((1, 4), np.float32))
        assert found["weight"].tolist() == [[1, 1, 1, 1]]
    params["weight"].trainable = False
    assert net.weight.grad_req == "null"
    assert params["weight"].grad is None
    params["weight"].trainable = True
    assert net.weight.grad_req == "add"


def test_a_gradient_of_zeros_after_a_backward_is_one(interface):
    net = begun(nn.Dense(1, in_units=4))
    with autograd.record():
        loss = (net(array(x(2, 4))) * 0).sum()
    assert mp.parameters(net)["weight"].grad is None
    loss.backward()
    assert mp.parameters(net)["weight"].grad.tolist() == [[0, 0, 0, 0]]


def test_what_cannot_be_differentiated_cannot_be_thawed(interface):
    class Fixed(gluon.Block):
        def __init__(self):
            super().__init__()
            self.w = self.params.get("w", shape=(3,), differentiable=False)

    with pytest.raises(mp.UnsupportedError, match="cannot be differentiated"):
        mp.parameters(begun(Fixed()))["w"].trainable = True
    assert list(mp.buffers(Buffered())) == ["mean"]


def test_norms_have_the_parameters_that_they_were_told_to_have(interface):
    net = begun(
        sequential(
            nn.BatchNorm(scale=False, in_channels=4),
            nn.BatchNorm(center=False, in_channels=4),
            nn.LayerNorm(center=False, in_channels=4),
            nn.InstanceNorm(in_channels=4),
        )
    )
    assert list(mp.parameters(net)) == ["0.bias", "1.weight", "2.weight", "3.bias"]
    assert list(mp.buffers(net)) == [f"{n}.running_{one}" for n in (0, 1) for one in ("mean", "var")]


def test_a_scale_for_each_group_is_refused_with_the_reason(interface, tmp_path):
    native = nn.GroupNorm(2)
    native.initialize()
    if interface == "nd":
        native(array(x(2, 4, 3)))
    mp.save(torch.nn.GroupNorm(2, 4), tmp_path / "norm.safetensors")
    with pytest.raises(mp.MismatchError, match="scales and shifts each group"):
        mp.load(tmp_path / "norm.safetensors", into=native)


def test_kernels_of_layers_with_channels_last_are_pytorchs(interface):
    net = begun(nn.Conv2D(8, (3, 5), layout="NHWC", in_channels=4))
    assert net.weight.shape == (8, 3, 5, 4)
    weight = mp.parameters(net)["weight"]
    assert weight.shape == (8, 4, 3, 5)
    weight[2, 1, 0, 4] = 7
    assert float(net.weight.data().asnumpy()[2, 0, 4, 1]) == 7
    assert mp.parameters(nn.Conv2D(8, (3, 5), layout="NHWC"))["weight"].shape == (8, None, 3, 5)


def recurrent(kind):
    return {
        "two directions": (
            lambda: rnn.LSTM(5, 2, layout="NTC", bidirectional=True, input_size=4),
            lambda: torch.nn.LSTM(4, 5, 2, batch_first=True, bidirectional=True),
        ),
        "projected": (
            lambda: rnn.LSTM(6, layout="NTC", projection_size=3, input_size=4),
            lambda: torch.nn.LSTM(4, 6, batch_first=True, proj_size=3),
        ),
        "gru": (
            lambda: rnn.GRU(5, 2, layout="NTC", input_size=4),
            lambda: torch.nn.GRU(4, 5, 2, batch_first=True),
        ),
        "relu": (
            lambda: rnn.RNN(5, layout="NTC", input_size=4),
            lambda: torch.nn.RNN(4, 5, batch_first=True, nonlinearity="relu"),
        ),
    }[kind]


@pytest.mark.filterwarnings("ignore:LSTM with projections:UserWarning")
@pytest.mark.parametrize("kind", ["two directions", "projected", "gru", "relu"])
def test_recurrent_layers_are_pytorchs(interface, kind, tmp_path):
    native, other = (make() for make in recurrent(kind))
    native.initialize()
    mp.initialize(native, {"*": mp.init.Normal(0.5)}, seed=0)
    assert sorted(mp.parameters(native)) == sorted(name for name, _ in other.named_parameters())
    mp.save(native, tmp_path / "rnn.safetensors")
    report = mp.load(tmp_path / "rnn.safetensors", into=other)
    assert (report.differences, report.folded) == ([], [])
    if kind == "projected":
        return  # MXNet has them on GPUs only
    np.testing.assert_allclose(mp.run(native, x(2, 3, 4)), mp.run(other, x(2, 3, 4))[0], atol=1e-6)


def test_a_stack_of_cells_is_the_fused_layer(tmp_path):
    fused = begun(rnn.LSTM(5, 2, layout="NTC", bidirectional=True, dropout=0.5, input_size=4))
    stack = rnn.SequentialRNNCell()
    for size in (4, 10):
        stack.add(rnn.BidirectionalCell(rnn.LSTMCell(5, input_size=size), rnn.LSTMCell(5, input_size=size)))
        stack.add(rnn.DropoutCell(0.5))
    stack.initialize()
    assert list(mp.parameters(stack)) == list(mp.parameters(fused))
    mp.initialize(fused, {"*": mp.init.Normal(0.5)}, seed=0)
    mp.save(fused, tmp_path / "lstm.safetensors")
    assert mp.load(tmp_path / "lstm.safetensors", into=stack).differences == []
    given = array(x(2, 3, 4))
    expected = fused(given).asnumpy()
    found, _ = stack.unroll(3, given, layout="NTC", merge_outputs=True)
    np.testing.assert_allclose(found.asnumpy(), expected, atol=1e-6)
    assert [one.children for one in mp.layers(sequential(stack))] == [[]]


def test_recurrent_layers_without_biases_have_none(interface):
    for name in ("RNN", "LSTM", "GRU"):
        layer = getattr(mp.nn, name)(4, 5, 2, bias=False, bidirectional=True, backend="mxnet")
        cell = getattr(mp.nn, f"{name}Cell")(4, 5, bias=False, backend="mxnet")
        for one in (layer, cell):
            assert not [role for role in mp.parameters(one) if "bias" in role]
        assert mp.run(layer, x(3, 2, 4))[0].shape == (3, 2, 10)


@pytest.mark.parametrize("dtype", ["float16", "float64", "bfloat16", "int32", "uint8", "int8", "int64", "bool"])
def test_dtypes_are_read_written_and_saved(interface, dtype, tmp_path):
    value = np.eye(8, 4, dtype=ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)
    mp.save({"x": value}, tmp_path / "x.safetensors")
    tensor = mp.load(tmp_path / "x.safetensors", backend="mxnet")["x"]
    assert isinstance(tensor, mx.nd.NDArray)
    mp.save({"x": tensor}, tmp_path / "y.safetensors")
    assert (tmp_path / "y.safetensors").read_bytes() == (tmp_path / "x.safetensors").read_bytes()
    if dtype in ("float16", "float64") or (dtype == "bfloat16" and interface == "nd"):  # Gluon casts no others
        net = begun(nn.Dense(8, in_units=4))
        net.cast(np.dtype([("bfloat16", np.uint16)]) if dtype == "bfloat16" else dtype)
        param = mp.parameters(net)["weight"]
        assert param.dtype.name == dtype
        param[...] = value
        assert np.array_equal(param.value.astype(float), np.eye(8, 4))


def test_what_mxnet_cannot_hold_is_refused(tmp_path):
    for name, value in {"uint16": np.zeros(3, np.uint16), "complex64": np.zeros(3, np.complex64)}.items():
        mp.save(value, tmp_path / "x.safetensors")
        with pytest.raises(mp.MultiparamError, match=f"{name} have no counterpart in MXNet"):
            mp.load(tmp_path / "x.safetensors", backend="mxnet")
    mp.save(np.zeros(()), tmp_path / "scalar.safetensors")
    with pytest.raises(mp.MultiparamError, match="set_np"):
        mp.load(tmp_path / "scalar.safetensors", backend="mxnet")
    mx.npx.set_np()
    try:
        assert mp.load(tmp_path / "scalar.safetensors", backend="mxnet").shape == ()
    finally:
        mx.npx.reset_np()


def test_every_device_gets_what_is_written(interface):
    net = nn.Dense(2, in_units=3)
    net.initialize(ctx=[mx.cpu(0), mx.cpu(1)])
    assert mp.parameters(net)["weight"].device == "cpu:0, cpu:1"
    mp.parameters(net)["weight"][...] = 5
    assert all((one.asnumpy() == 5).all() for one in net.weight.list_data())


def test_a_convolution_that_has_run_can_be_written(interface):
    net = begun(nn.Conv1D(8, 3, in_channels=4))
    mp.run(net, x(2, 4, 9))
    mp.parameters(net)["weight"][...] = 1
    assert np.array_equal(net.weight.data().asnumpy(), np.ones((8, 4, 3)))


@pytest.mark.filterwarnings("ignore:Cannot decide type:UserWarning")
def test_an_exported_model_keeps_its_own_names(tmp_path):
    net = begun(sequential(nn.Dense(8), nn.Dense(1), made=nn.HybridSequential))
    net.hybridize()
    expected = net(array(x(2, 4))).asnumpy()
    net.export(str(tmp_path / "net"))
    model = gluon.SymbolBlock.imports(str(tmp_path / "net-symbol.json"), ["data"], str(tmp_path / "net-0000.params"))
    values = [one.value for one in mp.parameters(model).values()]
    assert [one.shape for one in values] == [(8, 4), (8,), (1, 8), (1,)]
    assert np.array_equal(values[0], net[0].weight.data().asnumpy())
    np.testing.assert_allclose(mp.run(model, x(2, 4)), expected, atol=1e-6)


def test_a_trainer_that_keeps_a_copy_gets_what_is_written(interface):
    net, devices = nn.Dense(1, in_units=4, use_bias=False), [mx.cpu(0), mx.cpu(1)]
    net.initialize(ctx=devices)
    options = {"kvstore": "local", "update_on_kvstore": True}
    trainer = gluon.Trainer(net.collect_params(), "sgd", {"learning_rate": 1.0}, **options)
    for value in (1.0, 5.0):
        mp.parameters(net)["weight"][...] = value
        with autograd.record():
            losses = [net(array(np.ones((1, 4), np.float32)).as_in_context(one)).sum() for one in devices]
        autograd.backward(losses)
        trainer.step(2)
        assert mp.parameters(net)["weight"].value.tolist() == [[value - 1] * 4]


DEFAULTS = {
    "Dense": lambda: nn.Dense(300, in_units=200),
    "Conv2D": lambda: nn.Conv2D(60, 3, in_channels=40, groups=4),
    "Conv2DTranspose": lambda: nn.Conv2DTranspose(60, 3, in_channels=40),
    "Embedding": lambda: nn.Embedding(300, 64),
    "LSTM": lambda: rnn.LSTM(120, input_size=60),
    "GRUCell": lambda: rnn.GRUCell(120, input_size=60),
    "BatchNorm": lambda: nn.BatchNorm(in_channels=9),
    "InstanceNorm": lambda: nn.InstanceNorm(in_channels=9, scale=True),
    "PReLU": lambda: nn.PReLU(in_channels=3),
}


@pytest.mark.parametrize("which", DEFAULTS)
def test_the_recipe_is_gluons_default(interface, which):
    mx.random.seed(0)
    theirs, ours = begun(DEFAULTS[which]()), begun(DEFAULTS[which]())
    mp.initialize(ours, "mxnet", seed=0)
    for name, one in mp.parameters(theirs).items():
        value, expected = mp.parameters(ours)[name].value, one.value
        if expected.std() == 0:
            assert np.array_equal(value, expected), name
            continue
        assert stats.ks_2samp(value.ravel(), expected.ravel()).pvalue > 0.001, name
        assert np.abs(value).max() == pytest.approx(np.abs(expected).max(), rel=0.02)


def test_the_ten_lines_of_the_readme(tmp_path):
    readme = (Path(__file__).parents[1] / "README.md").read_text("utf-8")
    code = re.search(r"```python\n(.*?)```", readme, re.DOTALL)[1]
    shown = [
        subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            cwd=tmp_path,
            env={**os.environ, "MULTIPARAM_BACKEND": backend},
        ).stdout
        for backend in ("numpy", "mxnet")
    ]
    numbers = [[float(one) for one in re.findall(r"-?\d+\.\d+", text)] for text in shown]
    assert numbers[1] == pytest.approx(numbers[0], rel=1e-5)


def test_a_block_whose_attribute_is_called_act_is_a_block(interface):
    net = Block(fc=lambda: nn.Dense(4, in_units=4), act=nn.PReLU)
    assert list(mp.parameters(net)) == ["fc.weight", "fc.bias", "act.weight"]


def test_remembered_numbers_come_to_cells_in_a_stack():
    cells = rnn.BidirectionalCell(rnn.GRUCell(3), rnn.GRUCell(3))
    mp.initialize(cells, mp.init.Constant(5), seed=0)
    cells.unroll(2, mx.nd.array(x(1, 2, 4)), layout="NTC")
    assert all((one.value == 5).all() for one in mp.parameters(cells).select("weight*"))


def test_remembered_numbers_come_to_layers_that_share(interface):
    first = nn.Dense(4, use_bias=False)
    net = sequential(first, nn.Dense(4, params=first.params))
    mp.initialize(net, {"*weight": mp.init.Constant(5), "1.bias": mp.init.Constant(3)}, seed=0)
    net(array(x(3, 4)))
    assert (mp.parameters(net)["0.weight"].value == 5).all()
    assert (mp.parameters(net)["1.bias"].value == 3).all()


def test_what_is_written_while_others_wait_stays(interface):
    net = nn.Dense(3)
    mp.initialize(net, mp.init.Normal(), seed=0)
    mp.parameters(net)["bias"][:] = 7
    mp.initialize(net, {"weight": mp.init.Constant(2)}, seed=0)
    mp.run(net, x(3, 4))
    assert (mp.parameters(net)["bias"].value == 7).all()
    assert (mp.parameters(net)["weight"].value == 2).all()


def test_a_native_initialization_has_the_last_word_if_it_is_forced(interface):
    for forced in (False, True):
        net = nn.Dense(3)
        mp.initialize(net, mp.init.Constant(5), seed=0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # that the bias is initialized already
            net.initialize(mx.init.One(), force_reinit=forced)
        net(array(x(3, 4)))
        assert (mp.parameters(net)["weight"].value == (1 if forced else 5)).all()
        # and what comes later is remembered anew
    net = nn.Dense(3)
    mp.initialize(net, mp.init.Constant(5), seed=0)
    net.weight.set_data(array(np.ones((3, 4), np.float32)))
    mp.initialize(net, {"bias": mp.init.Constant(2)}, seed=0)
    net(array(x(3, 4)))
    assert (mp.parameters(net)["weight"].value == 1).all()


def test_a_stand_in_that_is_trained_is_a_parameter(interface):
    net = begun(sequential(nn.Dense(4, in_units=4), nn.LayerNorm(in_channels=4, scale=False)))
    assert list(mp.parameters(net)) == ["0.weight", "0.bias", "1.bias"]
    net.collect_params().setattr("grad_req", "null")
    net.collect_params().setattr("grad_req", "write")
    assert list(mp.parameters(net)) == ["0.weight", "0.bias", "1.weight", "1.bias"]
    other = begun(nn.InstanceNorm(in_channels=4))
    other.gamma.set_data(array(np.full(4, 5, np.float32)))
    assert list(mp.parameters(other)) == ["weight", "bias"]


@pytest.mark.filterwarnings("ignore:Cannot decide type:UserWarning")
def test_running_statistics_of_an_imported_graph_are_buffers(tmp_path):
    net = begun(sequential(nn.Dense(4, in_units=4), nn.BatchNorm(in_channels=4), made=nn.HybridSequential))
    net.hybridize()
    net(array(x(3, 4)))
    net.export(str(tmp_path / "net"))
    model = gluon.SymbolBlock.imports(str(tmp_path / "net-symbol.json"), ["data"], str(tmp_path / "net-0000.params"))
    assert [name.rpartition("_")[2] for name in mp.buffers(model)] == ["mean", "var"]
    mp.initialize(model, mp.init.Normal(), seed=0)
    assert np.isfinite(mp.run(model, x(3, 4))).all()
    gamma = next(name for name in mp.parameters(model) if name.endswith("gamma"))
    assert (mp.parameters(model)[gamma].value == 1).all()
    names = [name for name in mp.parameters(model) if name.endswith(("bias", "beta"))]
    with pytest.raises(mp.UnsupportedError, match="its own graph"):
        mp.tie(model, names[1], to=names[0])


def test_stacks_in_stacks_count_on():
    outer = rnn.SequentialRNNCell()
    for _ in range(2):
        inner = rnn.SequentialRNNCell()
        inner.add(rnn.RNNCell(4, input_size=4))
        outer.add(inner)
    outer.initialize()
    assert list(mp.parameters(outer))[::4] == ["weight_ih_l0", "weight_ih_l1"]
    zoned = rnn.SequentialRNNCell()
    zoned.add(rnn.LSTMCell(3, input_size=4))
    zoned.add(rnn.ZoneoutCell(rnn.LSTMCell(3, input_size=3)))
    assert mp.layers(zoned).kind == "SequentialRNNCell of LSTM and ZoneoutCell"


@pytest.mark.parametrize(
    ("made", "other", "setting"),
    [
        (lambda: nn.Swish(2.0), lambda: nn.Swish(), "swish_beta"),
        (lambda: nn.LayerNorm(axis=1, in_channels=4), lambda: torch.nn.LayerNorm(4), "axes"),
        (lambda: nn.BatchNormReLU(in_channels=4), lambda: torch.nn.BatchNorm2d(4), "fused_activation"),
        (lambda: nn.BatchNorm(use_global_stats=True, in_channels=4), nn.BatchNorm, "training_statistics"),
        (lambda: rnn.LSTM(3, input_size=4, state_clip_min=-1), lambda: rnn.LSTM(3, input_size=4), "state_clip"),
    ],
)
def test_settings_that_others_lack_are_told(made, other, setting, tmp_path):
    source, target = begun(made()), other()
    if isinstance(target, gluon.Block):
        target = begun(target if setting != "training_statistics" else nn.BatchNorm(in_channels=4))
    mp.save(source, tmp_path / "layer.safetensors")
    report = mp.load(tmp_path / "layer.safetensors", into=target)
    assert setting in [name for _, name, _, _ in report.differences]


def test_sparse_parameters_are_written_and_not_differentiated(tmp_path):
    from mxnet.gluon.contrib.nn import SparseEmbedding

    nets = [begun(sequential(nn.Dense(3, in_units=4), SparseEmbedding(5, 3))) for _ in range(2)]
    mp.initialize(nets[0], {"*": mp.init.Normal()}, seed=0)
    mp.save(nets[0], tmp_path / "net.safetensors")
    mp.load(tmp_path / "net.safetensors", into=nets[1])
    values = [[one.value for one in mp.parameters(net).values()] for net in nets]
    assert all(np.array_equal(*pair) for pair in zip(*values, strict=True))
    with pytest.raises(mp.UnsupportedError, match="by rows only"):
        mp.gradients(nets[0], lambda net, x: net[0](x).sum(), x(2, 4))


def test_gradients_inside_of_a_users_own_record(interface):
    net = begun(nn.Dense(2, in_units=4))
    with autograd.record():
        found = mp.gradients(net, lambda net, x: net(x).sum(), np.ones((1, 4), np.float32))
    assert (found["weight"] == 1).all()
    with pytest.raises(ZeroDivisionError):
        mp.gradients(net, lambda net, x: 1 / 0, x(1, 4))
    assert (net.weight.grad().asnumpy() == 1).all()  # as they were


def test_a_model_on_other_devices(interface):
    net = sequential(nn.Dense(3, in_units=2), nn.Dense(2, in_units=3))
    net[0].initialize(ctx=[mx.cpu(1), mx.cpu(2)])
    assert mp.run(net, x(2, 2)).shape == (2, 2)  # the other layer goes where this one is
    assert net[1].weight.list_ctx() == [mx.cpu(1), mx.cpu(2)]
    assert mp.gradients(net, lambda net, x: net(x).sum(), x(2, 2))["1.bias"].tolist() == [2, 2]


def test_parameters_that_no_attribute_has_are_there(interface):
    class Listed(gluon.Block):
        def __init__(self):
            super().__init__()
            self.ws = [self.params.get("w0", shape=(4, 2))]

        def forward(self, x):
            return (mx.np.dot if is_np_array() else mx.nd.dot)(x, self.ws[0].data())

    net = begun(sequential(Listed(), Listed()))
    assert list(mp.parameters(net)) == ["0.w0", "1.w0"]
    assert set(mp.gradients(net[0], lambda net, x: net(x).sum(), x(2, 4))) == {"w0"}
    with pytest.raises(mp.ArgumentError, match="make it an attribute"):
        mp.tie(net, "1.w0", to="0.w0")


def test_a_parameter_comes_back_from_a_tie_as_it_was(interface):
    net = begun(sequential(nn.PReLU(), nn.PReLU()))
    own = net[1].alpha
    own.wd_mult = 3.0
    mp.tie(net, "1.weight", to="0.weight")
    mp.untie(net, "1.weight")
    assert net[1].alpha is own
    assert own.wd_mult == 3.0
    net.initialize(force_reinit=True)
    assert own.data().asnumpy().tolist() == [0.25]


def test_a_model_of_the_other_interface_is_told():
    net = begun(nn.Dense(2, in_units=4))
    mx.npx.set_np()
    try:
        with pytest.raises(mp.ArgumentError, match=r"before npx\.set_np"):
            mp.run(net, x(1, 4))
        pair = begun(sequential(nn.Dense(2, in_units=2), nn.Dense(2, in_units=2)))
        mp.tie(pair, "1.weight", to="0.weight")
    finally:
        mx.npx.reset_np()
    mp.untie(pair, "1.weight")
    assert isinstance(pair[1].weight.data(), mx.np.ndarray)


def test_an_initializer_of_gluons_is_refused():
    with pytest.raises(mp.ArgumentError, match=r"Xavier is an initializer of mxnet.*multiparam\.init"):
        mp.initialize(TestMXNet().mlp(), mx.init.Xavier())


def test_names_alone_leave_out_what_a_fused_activation_holds():
    layer = nn.Dense(3, in_units=2)
    layer.act = nn.PReLU()
    assert list(mp.parameters(begun(layer))) == [one.name for one in mp.parameters(layer).values()]


class Holder(gluon.Block):
    def __init__(self, more):
        super().__init__()
        with self.name_scope():
            self.own = self.params.get("own", shape=(1,))
            self.more = [self.params.get("more", shape=(1,))] if more else []


class User(gluon.Block):
    def __init__(self, parameter):
        super().__init__()
        self.given = parameter


def test_names_alone_see_a_parameter_that_one_block_registers_and_the_next_one_uses():
    holder = Holder(more=True)
    net = nn.Sequential()
    net.add(Holder(more=False), holder, User(holder.more[0]))
    assert list(mp.parameters(net)) == [one.name for one in mp.parameters(net).values()] == ["0.own", "1.own", "1.more"]
