"""Files as PyTorch, numpy, Keras and Flax themselves write them: opened without them, and the same numbers."""

import argparse
import collections
import functools
import json
import os
import pathlib
import types

os.environ.setdefault("KERAS_BACKEND", "jax")

# isort: split
import jax
import jax.numpy as jnp
import keras
import numpy as np
import optax
import pytest
import torch
from flax import linen, nnx, serialization

import multiparam as mp

pytestmark = [  # what Keras does when it saves
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]
SAVES = (True, False)  # zip files, and what PyTorch wrote before 1.6


def batch(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def plain(tensor):
    tensor = tensor.detach().cpu().resolve_conj().resolve_neg()
    wide = tensor.float() if tensor.dtype in (torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2) else tensor
    return wide.numpy()


def agrees(entry, tensor):
    theirs = plain(tensor)
    return entry.shape == theirs.shape and np.array_equal(entry.value.astype(theirs.dtype), theirs)


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = torch.nn.Embedding(7, 6)
        self.encoder = torch.nn.TransformerEncoderLayer(6, 2, 12, batch_first=True)
        self.lstm = torch.nn.LSTM(6, 5, 2, bidirectional=True, batch_first=True)
        self.norm = torch.nn.BatchNorm1d(5)
        self.head = torch.nn.Linear(6, 7, bias=False)
        self.head.weight = self.embedding.weight


@pytest.mark.parametrize("zipped", SAVES)
@pytest.mark.parametrize("protocol", [2, 4])
def test_a_state_dict_of_pytorch(tmp_path, zipped, protocol):
    net, other = Net(), Net()
    path = tmp_path / "net.pt"
    torch.save(net.state_dict(), path, _use_new_zipfile_serialization=zipped, pickle_protocol=protocol)
    found = mp.open(path)
    state = net.state_dict()
    assert [*found] == [name for name in state if name != "head.weight"]
    assert found.ties == [("embedding.weight", "head.weight")]
    assert all(agrees(found[name], one) for name, one in state.items())
    assert not mp.load(path, into=other).missing
    assert all(torch.equal(one, state[name]) for name, one in other.state_dict().items())
    assert other.head.weight is other.embedding.weight


@pytest.mark.parametrize("zipped", SAVES)
def test_tensors_of_pytorch_of_every_sort(tmp_path, zipped):
    base = torch.arange(24.0).reshape(4, 6)
    z = torch.randn(3, dtype=torch.complex64)
    given = {
        "base": base,
        "transposed": base.T,
        "expanded": torch.ones(1).expand(3, 4),
        "offset": base[1:, 2:],
        "scalar": torch.zeros(()),
        "empty": torch.zeros(0, 3),
        "conjugate": z.conj(),
        "negative": z.clone().conj().imag,
        "parameter": torch.nn.Parameter(torch.randn(2)),
        "buffer": torch.nn.Buffer(torch.randn(2)),
        **{
            str(dtype): torch.randint(0, 2, (2, 3)).to(dtype)
            for dtype in (
                *(torch.float16, torch.bfloat16, torch.float64, torch.complex64, torch.complex128, torch.bool),
                *(torch.int8, torch.uint8, torch.int16, torch.int32, torch.int64, torch.uint16, torch.uint32),
                *(torch.uint64, torch.float8_e4m3fn, torch.float8_e5m2),
            )
        },
    }
    torch.save(given, tmp_path / "all.pt", _use_new_zipfile_serialization=zipped)
    found = mp.open(tmp_path / "all.pt")
    assert found.keys() == given.keys()
    assert not found.ties
    for name, tensor in given.items():
        assert agrees(found[name], tensor), name


@pytest.mark.parametrize(
    "held",
    [
        collections.defaultdict(int, {"a": 1}),
        collections.defaultdict(list),
        functools.partial(float, "3"),
        types.SimpleNamespace(lr=0.1),
        bytearray(b"abc"),
        pathlib.PurePosixPath("runs"),
    ],
    ids=lambda held: type(held).__name__,
)
@pytest.mark.parametrize("zipped", SAVES)
def test_what_holds_data_beside_the_tensors_is_left_out(tmp_path, zipped, held):
    torch.save({"weight": torch.ones(2), "held": held}, tmp_path / "last.ckpt", _use_new_zipfile_serialization=zipped)
    found = mp.open(tmp_path / "last.ckpt")
    assert list(found) == ["weight"]
    assert list(found.left_out) == ["held"]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("zipped", SAVES)
def test_tensors_of_pytorch_that_are_refused(tmp_path, zipped):
    given = {
        "quantized": torch.quantize_per_tensor(torch.randn(3), 0.1, 0, torch.qint8),
        "sparse": torch.eye(3).to_sparse(),
        "csr": torch.eye(3).to_sparse_csr(),
        "complex32": torch.randn(2).to(torch.complex32),
        "fine": torch.ones(3),
    }
    if zipped:
        given["meta"] = torch.empty(3, device="meta")
    torch.save(given, tmp_path / "all.pt", _use_new_zipfile_serialization=zipped)
    found = mp.open(tmp_path / "all.pt")
    for name, tensor in given.items():
        assert found[name].shape == tensor.shape
        assert bool(found[name].refusal) == (name != "fine")


@pytest.mark.parametrize("zipped", SAVES)
def test_a_checkpoint_of_a_training(tmp_path, zipped):
    net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 2))
    optimizer = torch.optim.Adam(net.parameters())
    net(torch.ones(2, 4)).sum().backward()
    optimizer.step()
    checkpoint = {"state_dict": net.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 3}
    checkpoint |= {"args": argparse.Namespace(lr=0.1), "scheduler": None}
    torch.save(checkpoint, tmp_path / "last.ckpt", _use_new_zipfile_serialization=zipped)
    found = mp.open(tmp_path / "last.ckpt")
    assert agrees(found["optimizer.state.0.exp_avg"], optimizer.state_dict()["state"][0]["exp_avg"])
    assert found.left_out["epoch"] == "int"
    assert found.left_out["args"] == "an object of argparse.Namespace"
    with mp.use("keras"):
        other = mp.nn.Sequential(mp.nn.Linear(4, 8), mp.nn.Tanh(), mp.nn.Linear(8, 2))
    assert isinstance(other, keras.Model)
    mp.load(tmp_path / "last.ckpt", into=other, rename={r"^state_dict\.": ""}, strict=False)
    assert np.allclose(mp.run(other, batch(3, 4)), plain(net(torch.from_numpy(batch(3, 4)))), atol=1e-5)


@pytest.mark.filterwarnings("ignore")
def test_models_and_programs_of_pytorch_are_refused(tmp_path):
    net = torch.nn.Sequential(torch.nn.Linear(4, 8))
    for zipped in SAVES:
        torch.save(net, tmp_path / "net.pt", _use_new_zipfile_serialization=zipped)
        with pytest.raises(mp.CheckpointError, match=r"container.Sequential.*torch.save\(model.state_dict\(\), path"):
            mp.open(tmp_path / "net.pt")
    torch.jit.save(torch.jit.script(net), tmp_path / "net.pt")
    with pytest.raises(mp.CheckpointError, match="TorchScript archive"):
        mp.open(tmp_path / "net.pt")


def test_a_subclass_of_a_tensor_is_refused_by_its_name(tmp_path):
    class Masked(torch.Tensor):
        pass

    tensor = torch.ones(3).as_subclass(Masked)
    tensor.mask = 3
    Masked.__qualname__ = "Masked"
    globals()["Masked"] = Masked
    try:
        torch.save({"x": tensor, "y": torch.ones(2)}, tmp_path / "x.pt")
    finally:
        del globals()["Masked"]
    found = mp.open(tmp_path / "x.pt")
    assert "Masked" in found["x"].refusal
    assert agrees(found["y"], torch.ones(2))


# --- numpy ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_what_numpy_saves_is_loaded_into_a_model_of_pytorch(tmp_path, save):
    net, other = torch.nn.LSTM(3, 4), torch.nn.LSTM(3, 4)
    save(tmp_path / "net.npz", **{name: plain(one) for name, one in net.state_dict().items()})
    mp.load(tmp_path / "net.npz", into=other)
    assert all(torch.equal(one, net.state_dict()[name]) for name, one in other.state_dict().items())
    with np.load(tmp_path / "net.npz") as theirs:
        assert all(np.array_equal(entry.value, theirs[name]) for name, entry in mp.open(tmp_path / "net.npz").items())


# --- Keras ---------------------------------------------------------------------------------------------------------

L = keras.layers
PREDICTED = {"verbose": 0}


def randomized(net):
    for index, one in enumerate(net.weights):
        if "seed" not in one.path:
            one.assign(np.random.default_rng(index).uniform(0.5, 1.5, one.shape).astype(one.dtype))
    return net


def image_net():
    return keras.Sequential(
        [
            *(L.Input((8, 8, 3)), L.Conv2D(4, 3), L.BatchNormalization(), L.Conv2DTranspose(5, 3)),
            *(L.DepthwiseConv2D(3), L.SeparableConv2D(4, 3, use_bias=False), L.PReLU(), L.GroupNormalization(2)),
            *(L.LayerNormalization(), L.RMSNormalization(), L.Flatten(), L.Dropout(0.1)),
            *(L.Dense(5, name="mine"), L.Dense(2, use_bias=False)),
        ]
    )


def functional_net():
    given = keras.Input((5,))
    x = L.Embedding(7, 6)(given)
    x = L.MultiHeadAttention(2, 3)(x, x)
    x = L.EinsumDense("abc,cd->abd", (None, 4), bias_axes="d")(x)
    x = L.RNN([L.LSTMCell(3), L.LSTMCell(3)], return_sequences=True)(x)
    x = L.Bidirectional(L.GRU(4, return_sequences=True), name="both.ways")(x)
    x = L.TimeDistributed(L.Dense(3))(x)
    x = L.GRU(4, reset_after=False)(x)
    x = keras.Sequential([L.Dense(3), L.Dense(3)])(x)
    net = keras.Model(given, L.Dense(1)(x))
    net.compile("adam", "mse")
    net.fit(np.zeros((2, 5)), np.zeros((2, 1)), verbose=0)
    return net


@keras.saving.register_keras_serializable("tests")
class Subclassed(keras.Model):
    def __init__(self, **options):
        super().__init__(**options)
        self.first = L.Dense(3)
        self.blocks = [L.Dense(3), L.Dense(3)]
        self.deep = L.LSTM(4)

    def call(self, x):
        x = self.first(x)
        for block in self.blocks:
            x = block(x)
        return self.deep(x)


def subclassed_net():
    net = Subclassed()
    net(np.zeros((1, 4, 2), np.float32))
    return net


KERAS = {"image": image_net, "functional": functional_net, "subclassed": subclassed_net}


@pytest.mark.parametrize("case", KERAS)
def test_a_keras_file_has_the_names_of_its_model(tmp_path, case):
    net, other = randomized(KERAS[case]()), KERAS[case]()
    net.save(tmp_path / "net.keras")
    found = mp.open(tmp_path / "net.keras")
    assert (found.format, found.backend) == ("keras", "keras")
    state = {name: one.value for name, one in mp.state(net).items()}
    assert state.keys() <= found.keys()
    assert {name.rpartition(".")[2].partition("_l")[0] for name in found.keys() - state.keys()} <= {
        *("num_batches_tracked", "bias_hh")
    }
    for name, value in state.items():
        assert found[name].shape == value.shape
        assert np.array_equal(found[name].value, value), name
    kinds = {layer.name: layer.kind for layer in mp.layers(net).walk()} if hasattr(mp.layers(net), "walk") else {}
    assert all(kinds.get(name, kind).startswith(kind.split(" or ")[0][:4]) for name, kind in found.kinds.items())
    assert not mp.load(tmp_path / "net.keras", into=other).differences
    assert all(np.array_equal(one.value, state[name]) for name, one in mp.state(other).items())
    assert found.left_out.keys() == ({"optimizer"} if case == "functional" else set())


def test_a_keras_file_is_loaded_into_a_model_of_pytorch(tmp_path):
    net = randomized(
        keras.Sequential([L.Input((5, 3)), L.LSTM(4, return_sequences=True), L.LayerNormalization(), L.Dense(2)])
    )
    net.save(tmp_path / "net.keras")

    class First(torch.nn.LSTM):
        def forward(self, x):
            return super().forward(x)[0]

    other = torch.nn.Sequential(First(3, 4, batch_first=True), torch.nn.LayerNorm(4), torch.nn.Linear(4, 2))
    report = mp.load(tmp_path / "net.keras", into=other)
    assert ("1", "eps", 0.001, 1e-5) in report.differences
    other[1].eps = 0.001
    theirs = plain(other(torch.from_numpy(batch(2, 5, 3))))
    assert np.allclose(np.asarray(net.predict(batch(2, 5, 3), **PREDICTED)), theirs, atol=1e-4)


def test_the_weights_alone_of_a_keras_model(tmp_path):
    net = randomized(image_net())
    net.save_weights(tmp_path / "net.weights.h5")
    found = mp.open(tmp_path / "net.weights.h5")
    assert (found.format, found.backend) == ("h5", "keras")
    state = {name: one.value for name, one in mp.state(net).items()}
    assert np.array_equal(found["mine.weight"].value, state["mine.weight"])
    assert np.array_equal(found["layers.conv2d.weight"].value, state["0.weight"])
    assert np.array_equal(found["layers.batch_normalization.running_var"].value, state["1.running_var"])
    assert "does not tell the order of its layers" in str(found)
    net, other = randomized(subclassed_net()), subclassed_net()
    net.save_weights(tmp_path / "net.weights.h5")
    mp.load(tmp_path / "net.weights.h5", into=other)
    assert np.array_equal(net.deep.weights[1], other.deep.weights[1])
    assert np.array_equal(net.blocks[1].weights[0], other.blocks[1].weights[0])


def test_a_layer_of_the_users_own_has_the_files_names(tmp_path):
    @keras.saving.register_keras_serializable("tests")
    class Own(L.Layer):
        def build(self, shape):
            self.thing = self.add_weight(shape=(3, 2))

        def call(self, x):
            return x @ self.thing

    net = randomized(keras.Sequential([L.Input((3,)), Own(), L.Dense(2)]))
    net.save(tmp_path / "net.keras")
    found = mp.open(tmp_path / "net.keras")
    assert found.own == {"layers.own.vars.0"}
    assert np.array_equal(found["layers.own.vars.0"].value, net.layers[0].thing)
    assert np.array_equal(found["1.weight"].value, np.asarray(net.layers[1].kernel).T)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_dtypes_of_keras(tmp_path, dtype):
    net = keras.Sequential([L.Input((3,)), L.Dense(4, dtype=keras.DTypePolicy(dtype))])
    net.save(tmp_path / "net.keras")
    found = mp.open(tmp_path / "net.keras")
    assert found["0.weight"].dtype.name == dtype
    assert np.array_equal(found["0.weight"].value.astype("f8"), np.asarray(net.weights[0]).astype("f8").T)


# --- Flax ----------------------------------------------------------------------------------------------------------


class Linear(linen.Module):
    @linen.compact
    def __call__(self, x):
        x = linen.Conv(4, (3, 3))(x)
        x = linen.BatchNorm(use_running_average=True)(x)
        x = linen.LayerNorm()(x).reshape(x.shape[0], -1)
        return linen.Dense(2, use_bias=False)(linen.Dense(5, name="mine")(x))


def test_variables_of_linen(tmp_path):
    from multiparam_linen import Linen

    module, x = Linear(), jnp.ones((1, 8, 8, 3))
    variables, others = (module.init(jax.random.key(seed), x) for seed in (0, 1))
    (tmp_path / "net.msgpack").write_bytes(serialization.to_bytes(variables))
    found = mp.open(tmp_path / "net.msgpack")
    assert (found.format, found.backend) == ("flax", "flax")
    net = Linen(module, variables, x)
    state = {name: one.value for name, one in mp.state(net).items()}
    assert found.keys() - state.keys() == {"BatchNorm_0.num_batches_tracked"}
    assert all(np.array_equal(found[name].value, value) for name, value in state.items())
    assert not found.own
    other = Linen(module, others, x)
    mp.load(tmp_path / "net.msgpack", into=other)
    assert np.allclose(other(x), net(x))


def test_a_state_of_a_training_of_linen(tmp_path):
    from flax.training.train_state import TrainState

    module, x = linen.Dense(3), jnp.ones((1, 4))
    state = TrainState.create(apply_fn=module.apply, params=module.init(jax.random.key(0), x), tx=optax.adam(0.1))
    (tmp_path / "state.msgpack").write_bytes(serialization.to_bytes(state))
    found = mp.open(tmp_path / "state.msgpack")
    assert found.left_out == {"step": "int"}
    assert np.array_equal(found["params.weight"].value, np.asarray(state.params["params"]["kernel"]).T)
    assert found["opt_state.0.mu.params.weight"].shape == (3, 4)
    other = torch.nn.Linear(4, 3)
    mp.load(tmp_path / "state.msgpack", into=other, rename={r"^params\.": ""}, strict=False)
    assert np.allclose(plain(other(torch.ones(1, 4))), module.apply(state.params, x), atol=1e-5)


class NnxNet(nnx.Module):
    def __init__(self, seed):
        rngs = nnx.Rngs(seed)
        self.fc, self.norm = nnx.Linear(3, 4, rngs=rngs), nnx.BatchNorm(4, rngs=rngs)
        self.conv, self.table = nnx.Conv(4, 4, (3,), rngs=rngs), nnx.Embed(3, 4, rngs=rngs)


def test_a_state_of_nnx_whose_model_tells_what_a_kernel_is(tmp_path):
    net, other = NnxNet(0), NnxNet(1)
    (tmp_path / "net.msgpack").write_bytes(serialization.to_bytes(nnx.to_pure_dict(nnx.state(net))))
    found = mp.open(tmp_path / "net.msgpack")
    assert found.own == {"conv.kernel", "conv.bias"}
    mp.load(tmp_path / "net.msgpack", into=other)
    state = {name: one.value for name, one in mp.state(net).items()}
    assert all(np.array_equal(one.value, state[name]) for name, one in mp.state(other).items())


def test_chunked_arrays_and_other_things_of_flax(tmp_path, monkeypatch):
    monkeypatch.setattr(serialization, "MAX_CHUNK_SIZE", 64)
    given = {
        "a": np.arange(100.0),
        "b": jnp.ones((40, 2), jnp.bfloat16),
        "c": 3 + 2j,
        "d": np.float32(3),
        "e": [np.ones(2), "x"],
        "f": b"22",
    }
    (tmp_path / "x.msgpack").write_bytes(serialization.msgpack_serialize(given))
    found = mp.open(tmp_path / "x.msgpack")
    assert list(found) == ["a", "b", "d", "e.0"]
    assert np.array_equal(found["a"].value, given["a"])
    assert found["b"].dtype.name == "bfloat16"
    assert found["b"].shape == (40, 2)
    assert found.left_out == {"c": "complex", "e.1": "str", "f": "bytes"}
    (tmp_path / "x.msgpack").write_bytes(serialization.msgpack_serialize(np.arange(3.0)))
    assert np.array_equal(mp.load(tmp_path / "x.msgpack"), np.arange(3.0))


@pytest.mark.parametrize("checksums", [True, False])
def test_checksums_of_pytorch(tmp_path, checksums):
    state = {"a": torch.randn(100), "b": torch.zeros(5), "c": torch.zeros(0)}
    torch.serialization.set_crc32_options(checksums)
    try:
        torch.save(state, tmp_path / "a.pt")
    finally:
        torch.serialization.set_crc32_options(True)
    assert mp.open(tmp_path / "a.pt").verify() == ((2, 1) if checksums else (0, 3))
    with torch.serialization.skip_data():
        torch.save(state, tmp_path / "skipped.pt")
    assert mp.open(tmp_path / "skipped.pt").verify() == (0, 3)


def test_shards_of_pytorch(tmp_path):
    net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 2))
    places = {}
    for layer in "01":
        place = f"pytorch_model-0000{int(layer) + 1}-of-00002.bin"
        part = {name: one for name, one in net.state_dict().items() if name.startswith(layer)}
        torch.save(part, tmp_path / place)
        places.update(dict.fromkeys(part, place))
    about = {"metadata": {"total_size": 104}, "weight_map": places}
    (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps(about))
    other = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 2))
    mp.load(tmp_path, into=other)
    assert all(torch.equal(one, net.state_dict()[name]) for name, one in other.state_dict().items())
