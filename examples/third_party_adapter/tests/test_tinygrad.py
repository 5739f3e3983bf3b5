"""The conformance kit on the tinygrad backend, and what only it has."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from tinygrad import Context, Tensor, TinyJit, dtypes, nn
from tinygrad.nn.state import get_parameters, get_state_dict, load_state_dict

import multiparam as mp
from multiparam.adapter import Capability
from multiparam.testing import ConformanceSuite


class Chain:
    """Layers one after the other, by position or by name."""

    def __init__(self, *layers, **named):
        vars(self).update({str(index): layer for index, layer in enumerate(layers)} | named)

    def __call__(self, x):
        return x.sequential(list(vars(self).values()))


class ReLU:
    def __call__(self, x):
        return x.relu()


class Named:
    def __init__(self):
        self.hidden, self.head = nn.Linear(4, 8), nn.Linear(8, 3)

    def __call__(self, x):
        return self.head(self.hidden(x).relu())


class Fancy:
    def __init__(self, constant):
        self.linear, self.constant = nn.Linear(20, 20), constant

    def __call__(self, x):
        x = self.linear((self.linear(x) @ Tensor(self.constant) + 1).relu())
        while x.abs().sum().item() > 1:
            x = x / 2
        return (x * 10 if x.abs().sum().item() < 0.8 else x).sum()


class Containers:
    def __init__(self):
        self.blocks = [nn.Linear(4, 4), nn.Linear(4, 4)]
        self.heads = {"a": nn.Linear(4, 2), "b": nn.Linear(4, 2)}

    def __call__(self, x):
        x = x.sequential(self.blocks)
        return self.heads["a"](x) + self.heads["b"](x)


class Twice:
    def __init__(self):
        self.first = self.second = nn.Linear(4, 4)

    def __call__(self, x):
        return self.second(self.first(x))


class LanguageModel:
    def __init__(self):
        self.embedding, self.head = nn.Embedding(7, 4), nn.Linear(4, 7, bias=False)

    def __call__(self, x):
        return self.head(self.embedding(x))


class Buffered:
    def __init__(self):
        self.linear, self.mean = nn.Linear(4, 2), Tensor.zeros(4).is_param_(False)

    def __call__(self, x):
        return self.linear(x - self.mean)


class Pair:
    def __init__(self):
        self.left, self.right = nn.Linear(4, 2), nn.Linear(4, 2)

    def __call__(self, left, right):
        return self.left(left) + self.right(right)


def block():
    return Chain(nn.Linear(4, 8), ReLU(), nn.Linear(8, 4), ReLU())


class TestTinygrad(ConformanceSuite):
    backend = "tinygrad"

    def mlp(self):
        return Chain(nn.Linear(4, 8), ReLU(), nn.Linear(8, 1))

    def named(self):
        return Named()

    def nested(self):
        return Chain(Chain(**{"block 0": block(), "block 1": block()}), nn.Linear(4, 1))

    def shared(self):
        layer = nn.Linear(8, 8)
        return Chain(nn.Linear(4, 8), ReLU(), layer, ReLU(), layer, ReLU(), nn.Linear(8, 1))

    def fancy(self, constant):
        return Fancy(constant)

    def custom(self):
        class Inner:
            def __init__(self):
                self.w = Tensor.uniform(4, 3)

            def __call__(self, x):
                return x @ self.w

        class Custom:
            def __init__(self):
                self.offset, self.inner = Tensor.ones(3), Inner()

            def __call__(self, x):
                return self.inner(x) + self.offset

        return Custom()

    def containers(self):
        return Containers()

    def twice(self):
        return Twice()

    def language_model(self):
        return LanguageModel()

    def lazy(self):
        return self.require(Capability.LAZY)

    def buffered(self):
        return Buffered()

    def pair(self):
        return Pair()

    def raw_mlp(self, model):
        return {name: tensor.numpy() for name, tensor in get_state_dict(model).items()}

    def raw_language_model(self, model):
        return self.raw_mlp(model)

    def inventory(self, model):
        return {name: tensor.numpy() for name, tensor in get_state_dict(model).items()}

    def forward(self, model, x):
        return model(Tensor(x)).numpy()

    def loss(self, model, x):
        return 0.5 * (model(x) ** 2).sum()

    def train(self, model, x, steps):
        optimizer = nn.optim.SGD(get_parameters(model), lr=0.01)

        @TinyJit
        def step(batch):
            optimizer.zero_grad()
            loss = self.loss(model, batch).backward()
            return loss.realize(*optimizer.schedule_step())

        with Context(TRAINING=1):
            for _ in range(steps):
                step(Tensor(x).realize())

    def frozen_natively(self, native):
        return not native.is_param


def test_the_backend_is_listed():
    command = [sys.executable, "-m", "multiparam", "backends", "--json"]
    lines = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    (line,) = [line for line in lines if line["name"] == "tinygrad"]
    assert line["installed"]
    assert line["version"].startswith("0.14")
    assert {"run", "gradients", "trainable", "tie", "tie_transposed"} <= set(line["capabilities"])


# kind: the layer, the shape of a batch, and what PyTorch calls its tensors
LAYERS = {
    "Conv1d": (lambda: nn.Conv1d(4, 6, 3, padding=1), (2, 4, 9), ["weight", "bias"]),
    "Conv2d": (lambda: nn.Conv2d(4, 6, (3, 2), stride=2, padding=(1, 0), groups=2), (2, 4, 9, 8), ["weight", "bias"]),
    "ConvTranspose2d": (lambda: nn.ConvTranspose2d(4, 6, 4, stride=2, bias=False), (2, 4, 5, 6), ["weight"]),
    "LayerNorm": (lambda: nn.LayerNorm(4), (3, 4), ["weight", "bias"]),
    "LayerNorm2d": (lambda: nn.LayerNorm2d(4), (3, 4, 2, 2), ["weight", "bias"]),
    "RMSNorm": (lambda: nn.RMSNorm(4), (3, 4), ["weight"]),
    "GroupNorm": (lambda: nn.GroupNorm(2, 4), (3, 4, 5), ["weight", "bias"]),
    "InstanceNorm": (lambda: nn.InstanceNorm(4), (3, 4, 5), ["weight", "bias"]),
    "BatchNorm": (
        lambda: nn.BatchNorm(4),
        (3, 4, 5, 2),
        ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"],
    ),
    "LSTMCell": (lambda: nn.LSTMCell(4, 6), (3, 4), ["weight_ih", "weight_hh", "bias_ih", "bias_hh"]),
}


@pytest.mark.parametrize("kind", LAYERS)
def test_files_hold_tinygrads_own_state_dict(kind, tmp_path):
    make, shape, names = LAYERS[kind]
    layer, clone, third = make(), make(), make()
    assert mp.layers(layer).kind == kind
    assert sorted(mp.state(layer)) == sorted(names)
    mp.initialize(layer, {"*": mp.init.Uniform(0.5, 1)}, seed=0)
    mp.save(layer, tmp_path / "ours.safetensors")
    ours = load_file(tmp_path / "ours.safetensors")
    load_state_dict(
        clone, {name: Tensor(one.reshape(-1)).reshape(one.shape) for name, one in ours.items()}, verbose=False
    )
    save_file({name: one.numpy() for name, one in get_state_dict(clone).items()}, tmp_path / "its.safetensors")
    assert mp.load(tmp_path / "its.safetensors", into=third).differences == []
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    expected, *others = [np.asarray(mp.run(one, x)) for one in (layer, clone, third)]
    assert all(np.array_equal(expected, other) for other in others)


def test_a_convolution_is_pytorchs():
    layer = nn.Conv2d(2, 3, 2, bias=False)
    x = np.random.default_rng(0).standard_normal((1, 2, 4, 4)).astype(np.float32)
    windows = np.lib.stride_tricks.sliding_window_view(x, (2, 2), axis=(2, 3))
    expected = np.einsum("bihwkl,oikl->bohw", windows, mp.parameters(layer)["weight"].value)
    np.testing.assert_allclose(mp.run(layer, x), expected, rtol=1e-4, atol=1e-5)


def test_paddings_are_told_axis_by_axis(tmp_path):
    for kernel_size, padding, told in (((5, 3), "same", [2, 1]), (3, (2, 2, 1, 1), [1, 2]), ((3, 2), (1, 0), [1, 0])):
        mp.save(nn.Conv2d(4, 6, kernel_size, padding=padding), tmp_path / "layer.safetensors")
        assert mp.open(tmp_path / "layer.safetensors").layers[""]["padding"] == told


def test_settings_that_differ_are_told(tmp_path):
    mp.save(nn.BatchNorm(4), tmp_path / "norm.safetensors")
    report = mp.load(tmp_path / "norm.safetensors", into=nn.BatchNorm(4, eps=0.1))
    assert [name for _, name, *_ in report.differences] == ["eps"]


@pytest.mark.parametrize("dtype", ["bfloat16", "fp8e4m3", "fp8e5m2", "half", "double"])
def test_other_dtypes_keep_their_bits(dtype, tmp_path):
    layer, clone = nn.Linear(4, 2, bias=False), nn.Linear(4, 2, bias=False)
    for one in (layer, clone):
        one.weight = one.weight.cast(getattr(dtypes, dtype))
    values = np.array([[1, -0.5, 2, 0], [0.25, 4, -8, 1.5]])
    mp.parameters(layer)["weight"][...] = values
    mp.save(layer, tmp_path / "layer.safetensors")
    mp.load(tmp_path / "layer.safetensors", into=clone)
    assert np.array_equal(mp.parameters(clone)["weight"].value.astype(float), values)
    assert clone.weight.dtype == getattr(dtypes, dtype)


def test_what_is_frozen_stays_a_parameter():
    model = Pair()
    model.scale = Tensor.ones(2)
    mp.parameters(model)["scale"].trainable = False
    model.left.weight.is_param_(False)  # as a user freezes it
    assert list(mp.buffers(model)) == []
    assert mp.parameters(model).select(trainable=False).names == ["scale", "left.weight"]


def test_a_function_is_no_model():
    for thing in (Tensor.relu, lambda x: x, ReLU, ReLU()):
        with pytest.raises(mp.BackendError, match="expected a model"):
            mp.parameters(thing)


def test_what_tinyjit_captured_is_no_part_of_a_model():
    model = Pair()
    model.jitted = TinyJit(lambda x: model.left(x).realize())
    for _ in range(3):
        model.jitted(Tensor.ones(2, 4).contiguous().realize())
    assert sorted(mp.state(model)) == ["left.bias", "left.weight", "right.bias", "right.weight"]


def test_a_frozen_tie_stays_frozen_when_it_is_undone():
    model = LanguageModel()
    mp.tie(model, "head.weight", to="embedding.weight")
    mp.parameters(model)["embedding.weight"].trainable = False
    mp.untie(model, "head.weight")
    assert mp.parameters(model).select(trainable=False).names == ["embedding.weight", "head.weight"]


def test_the_readmes_program_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    readme = (Path(__file__).parents[1] / "README.md").read_text("utf-8")
    (program,) = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    exec(program, {})
    assert sorted(load_file("net.safetensors")) == ["head.bias", "head.weight", "hidden.bias", "hidden.weight"]
