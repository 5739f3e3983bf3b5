"""What happens between two frameworks beside their layers' weights: folds, settings, ties, verify."""

import paddle  # noqa: F401  # before TensorFlow, whose import crashes it

# isort: split

import keras
import numpy as np
import pytest
import safetensors.torch
import torch
from flax import nnx
from keras import layers
from torch import nn

import multiparam as mp
from multiparam.testing import parity

TOLERANCE = 1e-5
LAYERS = {name: parity.layers_of(name) for name in ("torch", "keras", "flax")}


def array(tensor):
    return tensor.detach().numpy() if isinstance(tensor, torch.Tensor) else np.asarray(tensor)


def test_what_folds_away_is_said_and_keeps_the_forward_pass(tmp_path):
    original = nn.LSTM(4, 5, batch_first=True)
    mp.save(original, tmp_path / "lstm.safetensors")
    layer = layers.LSTM(5, return_sequences=True)
    layer.build((None, None, 4))
    report = mp.load(tmp_path / "lstm.safetensors", into=layer)
    assert report.folded == [("bias_hh_l0", "bias_ih_l0")]
    assert "bias_hh_l0 was added to bias_ih_l0" in str(report)
    total = original.bias_ih_l0 + original.bias_hh_l0
    assert np.array_equal(array(layer.cell.bias.value), total.detach().numpy())
    assert "bias_hh_l0" not in mp.parameters(layer)


def test_a_refused_bias_leaves_the_model_as_it_was(tmp_path):
    mp.save(nn.GRU(4, 5), tmp_path / "gru.safetensors")
    layer = nnx.RNN(nnx.GRUCell(4, 5, rngs=nnx.Rngs(0)))
    before = {name: one.value for name, one in mp.parameters(layer).items()}
    with pytest.raises(mp.MismatchError, match="bias_hh_l0 cannot be represented: Flax's GRUCell has no place"):
        mp.load(tmp_path / "gru.safetensors", into=layer)
    assert all(np.array_equal(before[name], one.value) for name, one in mp.parameters(layer).items())


def test_a_shared_recurrent_layer_folds_once(tmp_path):
    cell = nn.LSTMCell(4, 4)
    mp.save(nn.ModuleList([cell, cell]), tmp_path / "shared.safetensors")
    shared = nnx.OptimizedLSTMCell(4, 4, rngs=nnx.Rngs(0))
    mp.load(tmp_path / "shared.safetensors", into=nnx.Sequential(shared, shared))
    total = (cell.bias_ih + cell.bias_hh).detach().numpy()
    np.testing.assert_array_equal(np.asarray(shared.dense_h.bias[...]), total)


def test_a_shared_batch_norm_counts_its_batches_once(tmp_path):
    layer = layers.BatchNormalization()
    layer.build((None, 9, 9, 4))
    model = keras.Sequential([layer, layers.ReLU(), layer])
    mp.save(model, tmp_path / "shared.safetensors")
    names = sorted(safetensors.torch.load_file(tmp_path / "shared.safetensors"))
    assert names == ["0.bias", "0.num_batches_tracked", "0.running_mean", "0.running_var", "0.weight"]
    mp.load(tmp_path / "shared.safetensors", into=model)


def test_a_convolutional_network_goes_from_pytorch_to_keras_and_flax(tmp_path):
    original = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.ConvTranspose2d(8, 3, 3))
    mp.initialize(original, mp.init.KaimingNormal(), seed=0)
    mp.save(original, tmp_path / "net.safetensors")
    others = {
        "keras": keras.Sequential(
            [
                keras.Input((9, 9, 3)),
                layers.Conv2D(8, 3),
                layers.BatchNormalization(epsilon=1e-5),
                layers.ReLU(),
                layers.Conv2DTranspose(3, 3),
            ]
        ),
        "flax": nnx.Sequential(
            nnx.Conv(3, 8, (3, 3), padding="VALID", rngs=nnx.Rngs(0)),
            nnx.BatchNorm(8, rngs=nnx.Rngs(0)),
            nnx.relu,
            nnx.ConvTranspose(8, 3, (3, 3), padding="VALID", rngs=nnx.Rngs(0)),
        ),
    }
    x = np.random.default_rng(0).standard_normal((2, 3, 9, 9)).astype(np.float32)
    last = np.ascontiguousarray(np.moveaxis(x, 1, -1))
    with torch.no_grad():
        expected = original.eval()(torch.from_numpy(x)).numpy()
    for backend, model in others.items():
        mp.load(tmp_path / "net.safetensors", into=model)
        if backend == "flax":
            model.eval()
        given = array(model(last, training=False) if backend == "keras" else model(last))
        np.testing.assert_allclose(np.moveaxis(given, -1, 1), expected, rtol=1e-4, atol=TOLERANCE)
        other = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.ConvTranspose2d(8, 3, 3))
        mp.save(model, tmp_path / "back.safetensors")
        other.load_state_dict(safetensors.torch.load_file(tmp_path / "back.safetensors"), strict=True)
        with torch.no_grad():
            assert np.array_equal(other.eval()(torch.from_numpy(x)).numpy(), expected)


NORMS = {
    "BatchNorm2d": (lambda: nn.BatchNorm2d(4), layers.BatchNormalization),
    "GroupNorm": (lambda: nn.GroupNorm(2, 4), lambda: layers.GroupNormalization(2)),
    "InstanceNorm2d": (lambda: nn.InstanceNorm2d(4, affine=True), lambda: layers.GroupNormalization(-1)),
    "RMSNorm": (lambda: nn.RMSNorm(4, eps=1e-6), lambda: layers.RMSNormalization(epsilon=1e-3)),
}


@pytest.mark.parametrize("kind", NORMS)
def test_other_settings_are_told_when_a_file_is_loaded(kind, tmp_path):
    make, make_keras = NORMS[kind]
    mp.save(nn.Sequential(make()), tmp_path / "file.safetensors")
    same = mp.load(tmp_path / "file.safetensors", into=nn.Sequential(make()))
    assert same.differences == []
    eps = make().eps
    layer = make_keras()
    layer.build((None, 9, 9, 4))
    report = mp.load(tmp_path / "file.safetensors", into=keras.Sequential([layer]))
    expected = [("0", "eps", eps, 1e-3)]
    if kind == "BatchNorm2d":
        expected.append(("0", "momentum", 0.1, pytest.approx(0.01)))
    assert report.differences == expected
    assert f"differs: eps {eps} in the file, 0.001 here, in 0" in str(report)


def test_forms_of_activations_are_told_too(tmp_path):
    mp.save(nn.Sequential(nn.GELU(), nn.LeakyReLU(), nn.ReLU()), tmp_path / "file.safetensors")
    with mp.use("keras"):
        model = mp.nn.Sequential(mp.nn.GELU("tanh"), layers.LeakyReLU(), mp.nn.SiLU())
    report = mp.load(tmp_path / "file.safetensors", into=model)
    assert report.differences == [
        ("0", "approximate", "none", "tanh"),
        ("1", "negative_slope", 0.01, pytest.approx(0.3)),
        ("2", "kind", "ReLU", "SiLU"),
    ]


def test_padding_and_strides_are_told_too(tmp_path):
    def keras_conv(**options):
        layer = layers.Conv2D(8, 3, **options)
        layer.build((None, 9, 9, 4))
        return keras.Sequential([layer])

    mp.save(nn.Sequential(nn.Conv2d(4, 8, 3, padding=1)), tmp_path / "file.safetensors")
    for model, differences in (
        (keras_conv(padding="same"), []),
        (keras_conv(), [("0", "padding", [1, 1], [0, 0])]),
        (keras_conv(padding="same", strides=2), [("0", "stride", [1, 1], [2, 2]), ("0", "padding", [1, 1], "same")]),
        (nnx.Sequential(nnx.Conv(4, 8, (3, 3), rngs=nnx.Rngs(0))), []),
        (nnx.Sequential(nnx.Conv(4, 8, (3, 3), padding=[(1, 1), (1, 1)], rngs=nnx.Rngs(0))), []),
        (nn.Sequential(nn.Conv2d(4, 8, 3, padding="same")), []),
    ):
        assert mp.load(tmp_path / "file.safetensors", into=model).differences == differences


def test_what_pytorch_and_flax_call_the_padding_of_a_transposed_convolution(tmp_path):
    mp.save(nn.Sequential(nn.ConvTranspose2d(4, 8, 4, 2, padding=1)), tmp_path / "file.safetensors")
    x = np.random.default_rng(0).standard_normal((2, 4, 5, 6)).astype(np.float32)
    expected = mp.run(nn.Sequential(nn.ConvTranspose2d(4, 8, 4, 2, padding=1)), x).shape
    layer = layers.Conv2DTranspose(8, 4, 2, padding="same")
    layer.build((None, 5, 6, 4))
    for model in (
        keras.Sequential([layer]),
        nnx.Sequential(nnx.ConvTranspose(4, 8, (4, 4), (2, 2), padding="SAME", rngs=nnx.Rngs(0))),
        nnx.Sequential(nnx.ConvTranspose(4, 8, (4, 4), (2, 2), padding=[(2, 2), (2, 2)], rngs=nnx.Rngs(0))),
    ):
        assert mp.load(tmp_path / "file.safetensors", into=model).differences == []
        assert mp.run(model, x).shape == expected


def networks(eps):
    """One convolutional network in each framework, its weights the same, with that epsilon in Keras's and Flax's."""
    models = {
        "torch": nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 49, 5)),
    }
    for backend in ("keras", "flax"):
        with mp.use(backend):
            models[backend] = mp.nn.Sequential(
                *(mp.nn.Conv2d(3, 8, 3), mp.nn.BatchNorm2d(8, eps=eps), mp.nn.ReLU(), mp.nn.Flatten()),
                mp.nn.Linear(8 * 49, 5),
            )
    for model in models.values():
        mp.initialize(model, mp.init.KaimingNormal(), seed=0)
    return models


@pytest.mark.parametrize("target", ["keras", "flax"])
def test_verify_compares_across_frameworks_layer_by_layer(target):
    x = np.random.default_rng(0).standard_normal((2, 3, 9, 9)).astype(np.float32)
    models = networks(1e-5)
    report = mp.verify(models["torch"], models[target], x)
    assert report.agrees
    assert [name for name, _ in report.layers] == ["0", "1", "2", "3", "4", ""]
    last = np.ascontiguousarray(np.moveaxis(x, 1, -1))
    # native samples are passed on as they are, and so is what the layers give: only the ends can be compared
    native = mp.verify(models["torch"], models[target], native=(x, last))
    assert native.agrees
    assert [name for name, _ in native.layers] == ["3", "4", ""]


@pytest.mark.parametrize("target", ["keras", "flax"])
def test_verify_names_a_setting_that_breaks_parity(target):
    models = networks(1e-2)
    x = np.random.default_rng(0).standard_normal((2, 3, 9, 9)).astype(np.float32)
    report = mp.verify(models["torch"], models[target], x)
    assert not report.agrees
    assert report.first == "1"
    assert report.why == ["1 has eps 1e-05, and 0.01"]


def test_folds_of_tied_biases_are_refused_unless_they_agree(tmp_path):
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.LSTM(4, 4), nn.LSTM(4, 4)

    class Kerases(keras.Model):
        def __init__(self):
            super().__init__()
            self.a, self.b = (built(layers.LSTM(4), (None, 5, 4)) for _ in range(2))

        def call(self, x):
            return self.b(x) + self.a(x)

    original, path = Two(), tmp_path / "two.safetensors"
    mp.tie(original, "b.bias_ih_l0", to="a.bias_ih_l0")
    mp.save(original, path)
    target = Kerases()
    with pytest.raises(mp.MismatchError, match=r"b\.bias_hh_l0 cannot be represented: it would be added to"):
        mp.load(path, into=target)
    with torch.no_grad():
        original.b.bias_hh_l0.copy_(original.a.bias_hh_l0)
    mp.save(original, path)
    report = mp.load(path, into=target)
    assert report.tied == [("a.bias_ih_l0", "b.bias_ih_l0")]
    total = (original.a.bias_ih_l0 + original.a.bias_hh_l0).detach().numpy()
    np.testing.assert_allclose(mp.parameters(target)["b.bias_ih_l0"].value, total, rtol=1e-6)


def built(layer, *shapes):
    layer.build(*shapes)
    return layer


def test_a_shared_recurrent_layer_goes_into_two(tmp_path):
    shared = built(layers.LSTM(4, return_sequences=True), (None, 5, 4))
    mp.save(keras.Sequential([shared, layers.ReLU(), shared]), tmp_path / "shared.safetensors")
    two = nn.ModuleDict({"0": nn.LSTM(4, 4), "2": nn.LSTM(4, 4)})
    report = mp.load(tmp_path / "shared.safetensors", into=two)
    assert ("0.bias_hh_l0", "2.bias_hh_l0") in report.tied


def test_a_sum_that_overflows_is_refused(tmp_path):
    original = nn.LSTM(4, 5)
    with torch.no_grad():
        original.bias_ih_l0.fill_(4e4)
        original.bias_hh_l0.fill_(4e4)
    mp.save(original, tmp_path / "lstm.safetensors")
    layer = built(layers.LSTM(5, dtype="float16", recurrent_initializer="zeros"), (None, 7, 4))
    before = mp.parameters(layer)["bias_ih_l0"].value
    with pytest.raises(mp.MismatchError, match="bias_ih_l0"):
        mp.load(tmp_path / "lstm.safetensors", into=layer)
    assert np.array_equal(mp.parameters(layer)["bias_ih_l0"].value, before)


def test_a_fold_into_nothing_is_not_told(tmp_path):
    mp.save({"bias_hh_l0": np.ones(20, np.float32)}, tmp_path / "part.safetensors")
    layer = built(layers.LSTM(5), (None, 7, 4))
    report = mp.load(tmp_path / "part.safetensors", into=layer, strict=False)
    assert report.folded == []


def test_parts_that_are_natively_one_tensor_take_one_value(tmp_path):
    mp.save(nn.MultiheadAttention(8, 2), tmp_path / "attention.safetensors")
    layer = nnx.MultiHeadAttention(2, 8, decode=False, rngs=nnx.Rngs(0))
    layer.key.kernel = layer.query.kernel
    param = mp.parameters(layer)["in_proj_weight"]
    param.assign(param.value)
    with pytest.raises(mp.MismatchError, match="one native tensor"):
        param.assign(np.arange(24 * 8, dtype=np.float32).reshape(24, 8))
    with pytest.raises(mp.MismatchError, match="in_proj_weight cannot be represented"):
        mp.load(tmp_path / "attention.safetensors", into=layer)


@pytest.mark.parametrize(
    ("make", "other", "setting"),
    [
        (lambda: nn.Conv2d(4, 8, 3, padding_mode="circular"), lambda: nn.Conv2d(4, 8, 3), "padding_mode"),
        (lambda: nn.Conv2d(4, 8, 3), lambda: nn.Conv2d(4, 8, 3, padding_mode="circular"), "padding_mode"),
        (
            lambda: nnx.SimpleCell(4, 5, residual=True, rngs=nnx.Rngs(0)),
            lambda: nn.RNNCell(4, 5),
            "residual",
        ),
        (
            lambda: nn.LSTM(4, 5, bidirectional=True),
            lambda: built(layers.Bidirectional(layers.LSTM(5), merge_mode="sum"), (None, 7, 4)),
            "merge",
        ),
        (lambda: nn.LSTM(4, 5), lambda: built(layers.LSTM(5, go_backwards=True), (None, 7, 4)), "reverse"),
        (lambda: nn.GELU(), lambda: nnx.Sequential(nnx.gelu), "approximate"),
        (lambda: nn.ReLU(), lambda: layers.ReLU(1.0), "max_value"),
        (lambda: nn.AvgPool2d(3, padding=1, count_include_pad=False), lambda: nn.AvgPool2d(3, padding=1), "count"),
        (lambda: nn.MultiheadAttention(8, 2), lambda: nn.MultiheadAttention(8, 4), "num_heads"),
    ],
)
def test_settings_that_one_framework_lacks_are_told_too(make, other, setting, tmp_path):
    first, second = make(), other()
    if isinstance(second, nnx.Sequential):
        first = nn.Sequential(first)
    mp.save(first, tmp_path / "file.safetensors")
    report = mp.load(tmp_path / "file.safetensors", into=second)
    assert [one for _, one, _, _ in report.differences if one.startswith(setting)]


@pytest.mark.parametrize("rename", [{r"^enc\.": "rnn."}, {r"^enc": "rnn"}])
def test_settings_are_compared_under_the_new_names(rename, tmp_path):
    mp.save(nn.ModuleDict({"enc": nn.LayerNorm(4, eps=1e-2)}), tmp_path / "file.safetensors")
    report = mp.load(tmp_path / "file.safetensors", into=nn.ModuleDict({"rnn": nn.LayerNorm(4)}), rename=rename)
    assert report.differences == [("rnn", "eps", 1e-2, 1e-5)]


def test_a_kernel_of_one_needs_no_padding_whatever_the_stride(tmp_path):
    mp.save(nn.Sequential(nn.Conv2d(4, 8, 1, 2)), tmp_path / "file.safetensors")
    model = nnx.Sequential(nnx.Conv(4, 8, (1, 1), (2, 2), rngs=nnx.Rngs(0)))
    assert mp.load(tmp_path / "file.safetensors", into=model).differences == []


def test_a_projected_lstm_has_its_own_bound():
    ours = nn.LSTM(100, 64, proj_size=16)
    mp.initialize(ours, "pytorch", seed=0)
    assert float(ours.weight_ih_l0.detach().abs().max()) == pytest.approx(1 / 8, rel=0.01)


def test_a_pair_of_unlike_cells_keeps_its_own_names():
    class Mine(nnx.GRUCell):
        pass

    class Other(nnx.RNNCellBase):
        def __init__(self):
            self.w = nnx.Param(np.ones((5, 5), np.float32))

        num_feature_axes = 1

    both = nnx.Bidirectional(nnx.RNN(Mine(4, 5, rngs=nnx.Rngs(0))), nnx.RNN(Other()))
    assert "backward_rnn.cell.w" in mp.parameters(both)
    assert mp.layers(both).kind == "Bidirectional of GRU and Other"
    half = nnx.Bidirectional(nnx.RNN(Mine(4, 5, rngs=nnx.Rngs(0))), Other())
    assert "backward_rnn.w" in mp.parameters(half)
    assert mp.layers(half).kind == "Bidirectional of GRU and Other"


LOSSES = {
    "torch": lambda net, *inputs: net(*inputs)[0].square().sum(),
    "keras": lambda net, *inputs: keras.ops.sum(keras.ops.square(net(*inputs)[0])),
    "flax": lambda net, *inputs: (net(*inputs)[0] ** 2).sum(),
}


@pytest.mark.parametrize("case", ["LSTM", "GRU", "RNN, two layers, both directions", "MultiheadAttention"])
def test_gradients_of_tensors_made_of_several_are_pytorchs(case, tmp_path):
    found = {}
    for framework, loss in LOSSES.items():
        layer = LAYERS[framework][case].make()
        if framework == "torch":
            parity.draw(layer, ("bias_hh_l0", "bias_hh_l0_reverse", "bias_hh_l1", "bias_hh_l1_reverse"))
            mp.save(layer, tmp_path / "layer.safetensors")
        else:
            mp.load(tmp_path / "layer.safetensors", into=layer)
        found[framework] = mp.gradients(layer, loss, *parity.inputs(parity.CASES[case]))
        for name, one in mp.parameters(layer).items():
            assert np.array_equal(one.grad, found[framework][name])
    for framework in ("keras", "flax"):
        assert found[framework].keys() <= found["torch"].keys()
        for name, gradient in found[framework].items():
            np.testing.assert_allclose(gradient, found["torch"][name], rtol=1e-4, atol=1e-4, err_msg=name)


@pytest.mark.parametrize("case", ["LSTM, native", "GRU, native", "MultiheadAttention", "SeparableConv2d"])
@pytest.mark.parametrize("framework", ["keras", "flax"])
def test_a_tensor_made_of_several_is_one_to_its_user(case, framework):
    layer = LAYERS[framework][case].make()
    params = mp.parameters(layer)
    for name, one in params.items():
        before = {other: two.value for other, two in params.items()}
        expected = before[name].copy()
        expected[-1] = 42
        one[-1] = 42
        assert np.array_equal(one.value, expected)
        assert all(np.array_equal(two.value, before[other]) for other, two in params.items() if other != name)
    for one in params.values():
        one.trainable = False
        assert not one.trainable
        assert one.name not in params.select(trainable=True).names


@pytest.mark.parametrize("case", ["LSTM, native", "MultiheadAttention", "SeparableConv2d", "GRU"])
@pytest.mark.parametrize("framework", ["keras", "flax", "torch"])
def test_whole_layers_made_of_several_tensors_are_tied(case, framework, tmp_path):
    with mp.use(framework):
        first, second = (LAYERS[framework][case].make() for _ in range(2))
        net = Pair[framework](first, second)
    names = [name.removeprefix("a.") for name in mp.parameters(net) if name.startswith("a.")]
    mp.tie(net, "b", to="a")
    assert mp.tied(net) == [(f"a.{name}", f"b.{name}") for name in names]
    mp.parameters(net)[f"b.{names[0]}"][:] = 3
    assert (mp.parameters(net)[f"a.{names[0]}"].value == 3).all()
    mp.save(net, tmp_path / "tied.safetensors")
    with mp.use(framework):
        other = Pair[framework](*(LAYERS[framework][case].make() for _ in range(2)))
    mp.load(tmp_path / "tied.safetensors", into=other)
    assert mp.tied(other) == mp.tied(net)
    mp.untie(net, "b")
    assert mp.tied(net) == []


class KerasPair(keras.Model):
    def __init__(self, a, b):
        super().__init__()
        self.a, self.b = a, b


class FlaxPair(nnx.Module):
    def __init__(self, a, b):
        self.a, self.b = a, b


Pair = {"keras": KerasPair, "flax": FlaxPair, "torch": lambda a, b: nn.ModuleDict({"a": a, "b": b})}


def test_a_fused_activation_is_not_blamed_for_what_comes_later():
    class Fused(keras.Model):
        def __init__(self):
            super().__init__()
            self.a, self.c = built(layers.Dense(8, activation="relu"), (None, 4)), built(layers.Dense(2), (None, 8))

        def call(self, x):
            return self.c(self.a(x))

    class Apart(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.c = nn.Linear(4, 8), nn.Linear(8, 2)

        def forward(self, x):
            return self.c(self.a(x).relu())

    fused, apart, x = Fused(), Apart(), np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)
    for model in (fused, apart):
        mp.initialize(model, mp.init.XavierUniform(), seed=0)
    report = mp.verify(apart, fused, x)
    assert report.agrees
    assert report.first is None
    mp.parameters(fused)["c.bias"][:] = 1
    report = mp.verify(apart, fused, x)
    assert (report.first, report.why, report.passed) == ("c", ["c.bias differs by 1"], ["a"])
    assert "outputs of a differ before it" in str(report)


@pytest.mark.parametrize("target", ["torch", "keras", "flax"])
def test_a_layer_without_weights_that_diverges_first_is_named(target):
    def model(factor):
        return mp.nn.Sequential(
            mp.nn.BatchNorm1d(4, momentum=0.1 * factor, backend=target),
            mp.nn.Lambda(lambda x: x * factor, backend=target),
            mp.nn.Linear(4, 2, backend=target),
            backend=target,
        )

    a, b, x = model(1), model(2), np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)
    for one in (a, b):
        mp.initialize(one, mp.init.XavierUniform(), seed=0)
    mp.parameters(b)["2.bias"][:] = 1
    report = mp.verify(a, b, x)
    assert (report.first, report.why) == ("1", [])
    assert "momentum" not in str(report)  # no forward pass in eval mode depends on it


def test_a_layer_with_weights_is_not_passed_over_for_one_without():
    class Flat(nn.Module):
        def __init__(self, turned):
            super().__init__()
            self.turned, self.conv = turned, nn.Conv2d(1, 2, 3, padding=1)
            self.fc, self.act, self.out = nn.Linear(32, 4), nn.Tanh(), nn.Linear(4, 2)

        def forward(self, x):
            x = self.conv(x)
            return self.out(self.act(self.fc((x.permute(0, 2, 3, 1) if self.turned else x).flatten(1))))

    a, b = Flat(False), Flat(True)
    b.load_state_dict(a.state_dict())
    report = mp.verify(a, b, np.random.default_rng(0).standard_normal((2, 1, 4, 4)))
    assert (report.first, report.passed) == ("fc", [])


def test_names_that_fall_together_are_refused_or_told_apart():
    a = mp.nn.Sequential(mp.nn.Linear(3, 3), mp.nn.Linear(3, 3))
    b = mp.nn.Sequential(mp.nn.Linear(3, 3), mp.nn.Linear(3, 3))
    for one in (a, b):
        mp.initialize(one, mp.init.XavierUniform(), seed=0)
    mp.parameters(b)["1.bias"][:] = 1
    report = mp.verify(mp.nn.Sequential(a), b, np.ones((2, 3)), rename={r"^0\.(\d)": r"\1"})
    assert (report.first, report.why) == ("1", ["1.bias differs by 1"])
    with pytest.raises(mp.ArgumentError, match="turns both '0' and '1' into 'fc'"):
        mp.verify(a, b, np.ones((2, 3)), rename={r"^\d": "fc"})


def test_layers_of_other_names_are_compared_under_the_same():
    a = mp.nn.Sequential({"stem": mp.nn.Linear(4, 8, backend="torch"), "out": mp.nn.Linear(8, 2, backend="torch")})
    b = mp.nn.Sequential(mp.nn.Linear(4, 8, backend="flax"), mp.nn.Linear(8, 2, backend="flax"))
    mp.initialize(a, mp.init.XavierUniform(), seed=0)
    mp.initialize(b, mp.init.XavierUniform(), seed=1)
    names = {r"^stem\.": "0.", r"^out\.": "1."}
    report = mp.verify(a, b, np.ones((3, 4)))
    assert report.first == ""
    assert "rename= says which are which" in str(report)
    report = mp.verify(a, b, np.ones((3, 4)), rename=names)
    assert report.first == "0"
    assert [name for name, _ in report.layers] == ["0", "1", ""]
    assert not report.unpaired


def test_what_only_the_order_of_axes_explains_is_said():
    class Pictures(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.fc = nn.Conv2d(3, 2, 3, padding=1), nn.Linear(32, 2)

        def forward(self, x):
            return self.fc(self.conv(x).flatten(1))

    class Last(nnx.Module):
        def __init__(self):
            self.conv = nnx.Conv(3, 2, (3, 3), rngs=nnx.Rngs(0))
            self.fc = nnx.Linear(32, 2, rngs=nnx.Rngs(0))

        def __call__(self, x):
            return self.fc(self.conv(x).reshape(x.shape[0], -1))

    a, b = Pictures(), Last()
    for one in (a, b):
        mp.initialize(one, mp.init.XavierUniform(), seed=0)
    report = mp.verify(a, b, np.random.default_rng(0).standard_normal((2, 3, 4, 4)))
    assert report.first == "fc"
    assert "channels last" in str(report)


def test_outputs_are_compared_by_their_keys():
    class Heads(nn.Module):
        def __init__(self, order):
            super().__init__()
            self.order, self.p, self.q = order, nn.Linear(4, 2), nn.Linear(4, 2)

        def forward(self, x):
            return {name: getattr(self, name)(x) for name in self.order}

    class Opaque(nn.Linear):
        def forward(self, x):
            return float(super().forward(x).sum())

    a, b = Heads("pq"), Heads("qp")
    for model in (a, b):
        mp.initialize(model, mp.init.XavierUniform(), seed=0)
    assert mp.verify(a, b, np.ones((1, 4))).agrees
    with pytest.raises(mp.MismatchError, match="cannot be compared"):
        mp.verify(a, Heads("p"), np.ones((1, 4)))
    with pytest.raises(mp.MismatchError, match="no tensors"):
        mp.verify(Opaque(4, 2), Opaque(4, 2), np.ones((1, 4)))


def test_a_function_in_the_place_of_a_layer_is_said():
    layers = nn.Flatten(), mp.nn.Lambda(lambda x: x.flip(1), backend="torch")
    a, b = (nn.Sequential(first, nn.Linear(4, 2)) for first in layers)
    for model in (a, b):
        mp.initialize(model, mp.init.XavierUniform(), seed=0)
    report = mp.verify(a, b, np.arange(4.0).reshape(1, 4))
    assert (report.first, report.why) == ("0", ["0 has kind Flatten, and Lambda"])


def test_a_tensor_and_a_tuple_that_begins_with_one_are_compared():
    class Last(nn.LSTM):
        def forward(self, x):
            return super().forward(x)[0]

    a, b = (nn.Sequential(kind(4, 5), nn.Identity()) for kind in (Last, Last))
    b[0].__class__ = type("Tupled", (Last,), {"forward": lambda self, x: (nn.LSTM.forward(self, x)[0],) * 2})
    b[1].forward = lambda pair: pair[0]
    for model in (a, b):
        mp.initialize(model, mp.init.XavierUniform(), seed=0)
    mp.parameters(b)["0.bias_hh_l0"][:] = 1
    report = mp.verify(a, b, np.ones((3, 1, 4)))
    assert (report.first, report.why, report.unpaired) == ("0", ["0.bias_hh_l0 differs by 1"], [])


def test_summed_biases_are_no_difference_to_verify(tmp_path):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn, self.head = nn.LSTM(4, 5, batch_first=True), nn.Linear(5, 2)

        def forward(self, x):
            return self.head(self.rnn(x)[0])

    class KerasNet(keras.Model):
        def __init__(self):
            super().__init__()
            self.rnn = built(layers.LSTM(5, return_sequences=True, recurrent_activation="tanh"), (None, None, 4))
            self.head = built(layers.Dense(2), (None, None, 5))

        def call(self, x):
            return self.head(self.rnn(x))

    original, other = Net(), KerasNet()
    mp.save(original, tmp_path / "net.safetensors")
    mp.load(tmp_path / "net.safetensors", into=other)
    report = mp.verify(original, other, np.ones((2, 3, 4), np.float32))
    assert not report.agrees
    # the LSTM's outputs have different structures, of which the first tensors are compared
    assert report.first == "rnn"
    assert "recurrent_activation" in str(report)
    assert not any("bias" in why for why in report.why)


def test_summed_biases_are_no_difference_to_diff(tmp_path):
    original = nn.LSTM(4, 5, batch_first=True)
    layer = layers.LSTM(5, return_sequences=True)
    layer.build((None, None, 4))
    mp.save(original, tmp_path / "lstm.safetensors")
    mp.load(tmp_path / "lstm.safetensors", into=layer)
    for one in (original, tmp_path / "lstm.safetensors"):
        for report in (mp.diff(one, layer), mp.diff(layer, one)):
            assert report.equal, str(report)
            assert report.same == 3
    mp.parameters(original)["bias_hh_l0"][0] += 1
    assert [name for name, _ in mp.diff(original, layer).changed] == ["bias_ih_l0"]


def test_what_a_sum_leaves_over_is_a_difference(tmp_path):
    original = nn.GRU(4, 5, batch_first=True)
    cell = nnx.RNN(nnx.GRUCell(4, 5, rngs=nnx.Rngs(0)))
    with torch.no_grad():
        original.bias_hh_l0[10:] = 0
    mp.save(original, tmp_path / "gru.safetensors")
    mp.load(tmp_path / "gru.safetensors", into=cell)
    assert mp.diff(original, cell).equal
    with torch.no_grad():
        original.bias_hh_l0[10:] = 1
    assert mp.diff(original, cell).removed == ["bias_hh_l0"]


def test_a_number_of_batches_that_keras_does_not_count(tmp_path):
    original = nn.BatchNorm2d(4)
    layer = layers.BatchNormalization(epsilon=1e-5, momentum=0.9)
    layer.build((None, 9, 9, 4))
    mp.save(original, tmp_path / "norm.safetensors")
    for one in (original, tmp_path / "norm.safetensors"):
        assert mp.diff(one, layer).equal, str(mp.diff(one, layer))
        assert mp.diff(layer, one).equal
    original.num_batches_tracked += 3
    assert mp.diff(original, layer).removed == ["num_batches_tracked"]
    assert mp.diff(layer, original).added == ["num_batches_tracked"]


def test_a_wrapped_models_file_is_compared_with_a_model_that_counts_no_batches(tmp_path):
    original = nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 2))
    torch.save({f"module.{name}": one for name, one in original.state_dict().items()}, tmp_path / "file.pt")
    model = keras.Sequential([keras.Input((3,)), layers.BatchNormalization(epsilon=1e-5), layers.Dense(2)])
    mp.load(tmp_path / "file.pt", into=model)
    for report in (mp.diff(tmp_path / "file.pt", model), mp.diff(model, tmp_path / "file.pt")):
        assert report.equal
        assert report.same == 6
        assert report.notes == ["names were taken without 'module.', which wrappers around models put there"]
