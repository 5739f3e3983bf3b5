"""The conformance kit on PaddlePaddle, and what only PaddlePaddle has."""

import copy
import subprocess
import sys

import numpy as np
import paddle
import pytest
import safetensors.numpy
import torch
from paddle import nn

import multiparam as mp
from multiparam.testing import ConformanceSuite


class Named(nn.Layer):
    def __init__(self):
        super().__init__()
        self.hidden, self.head = nn.Linear(4, 8), nn.Linear(8, 3)

    def forward(self, x):
        return self.head(nn.functional.relu(self.hidden(x)))


class Fancy(nn.Layer):
    def __init__(self, constant):
        super().__init__()
        self.constant = [paddle.to_tensor(constant)]
        self.linear = nn.Linear(20, 20)

    def forward(self, x):
        x = self.linear(nn.functional.relu(self.linear(x) @ self.constant[0] + 1))
        while x.abs().sum() > 1:
            x = x / 2
        return (x * 10 if x.abs().sum() < 0.8 else x).sum()


class Containers(nn.Layer):
    def __init__(self):
        super().__init__()
        self.blocks = nn.LayerList([nn.Linear(4, 4), nn.Linear(4, 4)])
        self.heads = nn.LayerDict({"a": nn.Linear(4, 2), "b": nn.Linear(4, 2)})

    def forward(self, x):
        for block in self.blocks:
            x = block(x)
        return self.heads["a"](x) + self.heads["b"](x)


class Twice(nn.Layer):
    def __init__(self):
        super().__init__()
        self.first = self.second = nn.Linear(4, 4)

    def forward(self, x):
        return self.second(self.first(x))


class LanguageModel(nn.Layer):
    def __init__(self):
        super().__init__()
        self.embedding, self.head = nn.Embedding(7, 4), nn.Linear(4, 7, bias_attr=False)

    def forward(self, x):
        return self.head(self.embedding(x))


class Buffered(nn.Layer):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 2)
        self.register_buffer("mean", paddle.zeros([4]))

    def forward(self, x):
        return self.linear(x - self.mean)


class Pair(nn.Layer):
    def __init__(self):
        super().__init__()
        self.left, self.right = nn.Linear(4, 2), nn.Linear(4, 2)

    def forward(self, left, right):
        return self.left(left) + self.right(right)


def block():
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 4), nn.ReLU())


class TestPaddle(ConformanceSuite):
    backend = "paddle"

    def mlp(self):
        return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))

    def named(self):
        return Named()

    def nested(self):
        blocks = nn.Sequential(*[(f"block {index}", block()) for index in range(2)])
        return nn.Sequential(blocks, nn.Linear(4, 1))

    def shared(self):
        layer = nn.Linear(8, 8)
        return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), layer, nn.ReLU(), layer, nn.ReLU(), nn.Linear(8, 1))

    def fancy(self, constant):
        return Fancy(constant)

    def custom(self):
        class Inner(nn.Layer):
            def __init__(self):
                super().__init__()
                self.w = self.create_parameter([4, 3])

            def forward(self, x):
                return x @ self.w

        class Custom(nn.Layer):
            def __init__(self):
                super().__init__()
                self.offset = self.create_parameter([3], default_initializer=nn.initializer.Constant(1.0))
                self.inner = Inner()

            def forward(self, x):
                return self.inner(x) + self.offset

        return Custom()

    def containers(self):
        return Containers()

    def twice(self):
        return Twice()

    def language_model(self):
        return LanguageModel()

    def lazy(self):
        with mp.use("paddle"):  # Paddle itself has no lazy layers
            return mp.nn.Sequential(mp.nn.LazyLinear(8), mp.nn.ReLU(), mp.nn.LazyLinear(1))

    def buffered(self):
        return Buffered()

    def pair(self):
        return Pair()

    def raw_mlp(self, model):
        found = {name: one.numpy() for name, one in model.named_parameters()}
        return {name: one.T if one.ndim == 2 else one for name, one in found.items()}

    def raw_language_model(self, model):
        return {"embedding.weight": model.embedding.weight.numpy(), "head.weight": model.head.weight.numpy().T}

    def inventory(self, model):
        return {name: one.numpy() for name, one in model.state_dict().items()}

    def forward(self, model, x):
        with paddle.no_grad():
            return model(paddle.to_tensor(x)).numpy()

    def loss(self, model, x):
        return 0.5 * (model(x) ** 2).sum()

    def train(self, model, x, steps):
        optimizer = paddle.optimizer.Adam(0.01, parameters=model.parameters())
        for _ in range(steps):
            self.loss(model, paddle.to_tensor(x)).backward()
            optimizer.step()
            optimizer.clear_grad()

    def frozen_natively(self, native):
        return native.stop_gradient


def tied_model():
    model = LanguageModel()
    layer = nn.Linear(4, 7, bias_attr=False)
    layer.weight = model.head.weight
    return nn.Sequential(("first", model), ("second", layer))


ZOO = {
    "transformer": lambda: nn.TransformerEncoderLayer(8, 2, 16),
    "decoder": lambda: nn.TransformerDecoderLayer(8, 2, 16),
    "lstm": lambda: nn.LSTM(4, 8, num_layers=2, direction="bidirect"),
    "projected lstm": lambda: nn.LSTM(4, 8, num_layers=2, proj_size=3),
    "convolutions": lambda: nn.Sequential(nn.Conv2D(3, 8, 3), nn.BatchNorm2D(8), nn.Conv2DTranspose(8, 3, 3)),
    "norms": lambda: nn.Sequential(nn.LayerNorm([4, 5]), nn.InstanceNorm1D(4), nn.GroupNorm(2, 4), nn.PReLU(4)),
    "weight norm": lambda: nn.utils.weight_norm(nn.Linear(4, 8)),
    "spectral norm": lambda: nn.SpectralNorm([4, 8]),
    "parameters": lambda: nn.ParameterList([paddle.create_parameter([20], "float32") for _ in range(2)]),
    "tied": tied_model,
}


@pytest.mark.parametrize("what", ZOO)
def test_whole_models_are_saved_and_loaded_to_the_bit(what, tmp_path):
    model, other = ZOO[what](), ZOO[what]()
    rules = ["weight_*", "bias"] if what == "weight norm" else ["*"]  # what Paddle's computes is refused
    mp.initialize(model, dict.fromkeys(rules, mp.init.Normal()), seed=1)
    mp.save(model, tmp_path / "file.safetensors")
    mp.load(tmp_path / "file.safetensors", into=other)
    ours, theirs = model.state_dict(), other.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(np.array_equal(one.numpy(), theirs[name].numpy()) for name, one in ours.items())
    assert any(one.numpy().std() > 0.5 for one in ours.values())


def test_every_number_of_a_model_is_reached():
    for what, make in ZOO.items():
        model = make()
        native = {
            id(one): one.size for one in (*model.parameters(), *model.buffers()) if "dropout_state" not in one.name
        }
        ours = {id(part): part.size for one in mp.state(model).values() for part in parts(one)}
        assert ours == native, what


def parts(parameter):
    return parameter.native if isinstance(parameter.native, tuple) else (parameter.native,)


@pytest.mark.parametrize(
    "dtype", ["bfloat16", "float16", "float64", "float8_e4m3fn", "float8_e5m2", "complex64", "int32", "bool"]
)
def test_dtypes_are_read_written_and_saved(dtype, tmp_path):
    model = nn.Layer()
    model.register_buffer("weight", paddle.zeros([8, 4]).astype(dtype))
    param = mp.buffers(model)["weight"]
    assert param.dtype.name == dtype
    param[...] = np.eye(8, 4, dtype=param.dtype)
    assert np.array_equal(model.weight.astype("float32").numpy(), np.eye(8, 4))
    assert model.weight.dtype == getattr(paddle, dtype)
    mp.save(model, tmp_path / "model.safetensors")
    before = param.value
    param[...] = np.zeros((8, 4), param.dtype)
    mp.load(tmp_path / "model.safetensors", into=model)
    assert param.value.tobytes() == before.tobytes()
    mp.save({"x": model.weight}, tmp_path / "x.safetensors")
    assert mp.load(tmp_path / "x.safetensors", backend="paddle")["x"].dtype == model.weight.dtype


@pytest.mark.parametrize("dtype", ["uint16", "uint32", "uint64"])
def test_dtypes_that_paddle_lacks_are_refused(dtype, tmp_path):
    mp.save(np.zeros(3, dtype), tmp_path / "x.safetensors")
    with pytest.raises(mp.MultiparamError, match=f"{dtype} have no counterpart in Paddle"):
        mp.load(tmp_path / "x.safetensors", backend="paddle")


def test_empty_and_scalar_tensors():
    model = nn.Layer()
    model.register_buffer("scalar", paddle.zeros([]))
    model.register_buffer("empty", paddle.zeros([0, 3]))
    state = mp.buffers(model)
    state["scalar"][...] = 5
    state["empty"][...] = 1
    assert float(model.scalar) == 5
    assert state["empty"].value.shape == (0, 3)


def test_writes_are_not_recorded_by_autograd():
    model = nn.Linear(4, 8)
    loss = model(paddle.ones([1, 4])).sum()
    mp.parameters(model)["weight"][...] = 3
    assert model.weight.is_leaf
    loss.backward()
    assert float(model.weight.grad.sum()) == 32


def test_gradients_of_the_framework_show_through():
    model = nn.Linear(4, 8)
    params = mp.parameters(model)
    assert params["weight"].grad is None
    model(paddle.ones([1, 4])).sum().backward()
    assert np.array_equal(params["weight"].grad, np.ones((8, 4)))
    mp.gradients(model, lambda net, x: 2 * net(x).sum(), np.ones((1, 4), np.float32))
    assert np.array_equal(model.weight.grad.numpy(), np.full((4, 8), 2.0))


def test_sparse_gradients_are_made_dense():
    model = nn.Embedding(5, 3, sparse=True)
    found = mp.gradients(model, lambda net, x: net(x).sum(), np.array([0, 2]))
    assert found["weight"].sum(1).tolist() == [3, 0, 3, 0, 0]
    assert np.array_equal(mp.parameters(model)["weight"].grad, found["weight"])


def test_run_leaves_the_mode_as_it_was():
    still = nn.Dropout(0.9)
    still.eval()
    model = nn.Sequential(nn.Dropout(0.9), nn.BatchNorm1D(4), still)
    before = [layer.training for layer in model.sublayers(include_self=True)]
    x = np.ones((3, 4), np.float32)
    assert np.array_equal(mp.run(model, x), mp.run(model, x))
    assert [layer.training for layer in model.sublayers(include_self=True)] == before


def test_a_tie_within_fused_recurrent_layers_is_what_the_kernel_computes_with():
    model = nn.LSTM(4, 4, num_layers=2, direction="bidirect")
    x = np.random.default_rng(0).standard_normal((2, 3, 4)).astype(np.float32)
    before = mp.run(model, x)[0]
    mp.tie(model, "weight_hh_l1_reverse", to="weight_hh_l0")
    mp.tie(model, "bias_ih_l1", to="bias_ih_l0")
    reference = mp.nn.LSTM(4, 4, 2, batch_first=True, bidirectional=True, backend="torch")
    for name, one in mp.state(reference).items():
        one.assign(mp.parameters(model)[name].value)
    tied = mp.run(model, x)[0]
    assert np.abs(tied - before).max() > 1e-3
    np.testing.assert_allclose(tied, mp.run(reference, x)[0], atol=1e-6)
    assert len(model.parameters()) == len(mp.parameters(model))
    found = mp.gradients(model, lambda net, x: (net(x)[0] ** 2).sum(), x)
    theirs = mp.gradients(reference, lambda net, x: (net(x)[0] ** 2).sum(), x)
    both = theirs["weight_hh_l0"] + theirs["weight_hh_l1_reverse"]
    np.testing.assert_allclose(found["weight_hh_l0"], both, atol=1e-5)
    mp.untie(model, "weight_hh_l1_reverse")
    mp.parameters(model)["weight_hh_l1_reverse"][...] = 0
    mp.parameters(reference)["weight_hh_l1_reverse"][...] = 0
    np.testing.assert_allclose(mp.run(model, x)[0], mp.run(reference, x)[0], atol=1e-6)


def test_a_fused_layer_cannot_see_anothers_transpose():
    model = nn.Sequential(nn.LSTM(4, 4), nn.Linear(4, 16))
    with pytest.raises(mp.UnsupportedError, match="own layout only"):
        mp.tie(model, "0.weight_hh_l0", to="1.weight")


def test_recurrent_layers_without_biases_run():
    for name in ("RNN", "LSTM", "GRU"):
        layer = getattr(mp.nn, name)(4, 5, 2, bias=False, bidirectional=True, backend="paddle")
        assert not [one for one in mp.parameters(layer) if "bias" in one]
        assert mp.run(layer, np.ones((3, 2, 4), np.float32))[0].shape == (3, 2, 10)
        assert copy.deepcopy(layer)(paddle.ones([3, 2, 4]))[0].shape == [3, 2, 10]


@pytest.mark.filterwarnings("ignore:LSTM with projections:UserWarning")
def test_projections_of_an_lstm_are_pytorchs(tmp_path):
    model, other = nn.LSTM(4, 6, num_layers=2, proj_size=3), torch.nn.LSTM(4, 6, 2, batch_first=True, proj_size=3)
    mp.initialize(model, {"*": mp.init.Normal()}, seed=0)
    mp.save(model, tmp_path / "lstm.safetensors")
    mp.load(tmp_path / "lstm.safetensors", into=other)
    x = np.ones((2, 5, 4), np.float32)
    expected = other(torch.from_numpy(x))[0].detach().numpy()
    np.testing.assert_allclose(model(paddle.to_tensor(x))[0].numpy(), expected, atol=1e-6)


def test_a_layer_norm_over_several_axes_has_pytorchs_shape():
    layer = nn.LayerNorm([4, 5])
    assert layer.weight.shape == [20]
    assert mp.parameters(layer)["weight"].shape == (4, 5)
    mp.parameters(layer)["bias"][1] = 3
    assert layer.bias.numpy()[5:10].tolist() == [3] * 5


@pytest.mark.filterwarnings("ignore::UserWarning")  # Paddle's own, about devices
def test_a_model_compiled_to_a_static_graph_follows_a_tie():
    for options in ({}, {"full_graph": True}):
        model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))
        plain = copy.deepcopy(model)
        compiled = paddle.jit.to_static(model, **options)
        x = paddle.rand([2, 4])
        compiled(x)
        for one in (compiled, plain):
            mp.tie(one, "2.weight", to="0.weight")
            mp.parameters(one)["0.weight"][0] = 2
        np.testing.assert_allclose(compiled(x).numpy(), plain(x).numpy(), atol=1e-6)


def test_a_tie_and_an_untie_leave_the_order_of_parameters():
    model = nn.Sequential(nn.Embedding(7, 4), nn.Linear(4, 7), nn.LayerNorm(7), nn.LayerNorm(7))
    names = list(model.state_dict())
    for name, to in (("1.weight", "0.weight"), ("3.weight", "2.weight")):
        mp.tie(model, name, to=to)
        mp.untie(model, name)
    assert list(model.state_dict()) == names


def test_a_copy_of_a_transposed_tie_is_tied_to_itself():
    model = LanguageModel()
    mp.tie(model, "head.weight", to="embedding.weight")
    other = copy.deepcopy(model)
    assert mp.tied(other) == [("embedding.weight", "head.weight")]
    mp.parameters(other)["embedding.weight"][...] = 5
    assert (other.head.weight.numpy() == 5).all()
    assert not (model.head.weight.numpy() == 5).any()


def test_channels_last_layers_get_their_inputs_turned():
    first, last = nn.Conv2D(3, 8, 3), nn.Conv2D(3, 8, 3, data_format="NHWC")
    for one in (first, last):
        mp.initialize(one, mp.init.Normal(), seed=0)
    x = np.random.default_rng(0).standard_normal((2, 3, 6, 5)).astype(np.float32)
    np.testing.assert_allclose(mp.run(first, x), mp.run(last, x), atol=1e-4)
    given = mp.run(last, np.moveaxis(x, 1, -1), native=True)
    np.testing.assert_allclose(np.moveaxis(given, -1, 1), mp.run(first, x), atol=1e-4)


@pytest.mark.parametrize(
    ("padding", "options", "same"),
    [
        ([1, 2], {}, {"padding": (1, 2)}),
        ("VALID", {}, {"padding": 0}),
        ([2, 2, 3, 3], {}, {"padding": (2, 3)}),
        ([[0, 0], [0, 0], [3, 3], [1, 1]], {}, {"padding": (3, 1)}),
        ([[0, 0], [0, 0], [0, 0], [1, 1]], {}, {"padding": (0, 1)}),
        ([[0, 0], [1, 1], [0, 0], [0, 0]], {"data_format": "NHWC"}, {"padding": (1, 0)}),
        ("SAME", {"dilation": 2}, {"padding": "same"}),
        (1, {"dilation": 2, "groups": 3, "stride": 2}, {"padding": 1, "dilation": 2, "groups": 3, "stride": 2}),
    ],
)
def test_paddings_of_every_form_are_pytorchs(padding, options, same, tmp_path):
    ours, theirs = nn.Conv2D(3, 6, 3, padding=padding, **options), torch.nn.Conv2d(3, 6, 3, **same)
    mp.save(ours, tmp_path / "conv.safetensors")
    report = mp.load(tmp_path / "conv.safetensors", into=theirs)
    assert report.differences == []
    x = np.random.default_rng(0).standard_normal((2, 3, 11, 9)).astype(np.float32)
    np.testing.assert_allclose(mp.run(ours, x), mp.run(theirs, x), atol=1e-5)


@pytest.mark.parametrize(
    ("ours", "theirs", "setting"),
    [
        (nn.BatchNorm(3, act="relu"), torch.nn.BatchNorm2d(3), "fused_activation"),
        (nn.BatchNorm2D(3, use_global_stats=False), torch.nn.BatchNorm2d(3), "statistics"),
        (nn.BatchNorm2D(3, use_global_stats=True), torch.nn.BatchNorm2d(3), "training_statistics"),
        (nn.Dropout(0.5, mode="downscale_in_infer"), torch.nn.Dropout(0.5), "dropout_mode"),
        (nn.AvgPool2D(3, 2, exclusive=False, divisor_override=5), torch.nn.AvgPool2d(3, 2), "divisor_override"),
        (nn.AvgPool2D(3, 2, padding=1), torch.nn.AvgPool2d(3, 2, padding=1), "count_include_pad"),
        (nn.Embedding(4, 3, padding_idx=0), torch.nn.Embedding(4, 3), "zero_index"),
        (nn.Conv2DTranspose(3, 3, 4, 2, padding="SAME"), torch.nn.ConvTranspose2d(3, 3, 4, 2, padding=1), "padding"),
    ],
    ids=lambda given: type(given).__name__,
)
def test_what_makes_outputs_differ_is_told(ours, theirs, setting, tmp_path):
    mp.save(ours, tmp_path / "layer.safetensors")
    report = mp.load(tmp_path / "layer.safetensors", into=theirs)
    assert [name for _, name, _, _ in report.differences] == [setting]


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (nn.AvgPool2D(2), torch.nn.AvgPool2d(2)),
        (nn.Conv1D(4, 6, 3, padding=[2, 2]), torch.nn.Conv1d(4, 6, 3, padding=2)),
        (nn.AdaptiveAvgPool2D((2, 3)), torch.nn.AdaptiveAvgPool2d((2, 3))),
        (nn.BatchNorm(3), torch.nn.BatchNorm2d(3)),
    ],
    ids=lambda given: type(given).__name__,
)
def test_what_is_the_same_raises_no_alarm(ours, theirs, tmp_path):
    mp.save(ours, tmp_path / "layer.safetensors")
    assert mp.load(tmp_path / "layer.safetensors", into=theirs).differences == []


def test_recurrent_layers_without_biases_are_trained():
    for name in ("RNN", "LSTM", "GRU"):
        layer = getattr(mp.nn, name)(3, 4, bias=False, bidirectional=True, backend="paddle")
        reference = getattr(mp.nn, name)(3, 4, bias=False, bidirectional=True, backend="torch")
        for role, one in mp.parameters(reference).items():
            one.assign(mp.parameters(layer)[role].value)
        x = np.random.default_rng(0).standard_normal((2, 5, 3)).astype(np.float32)
        found, expected = (mp.gradients(one, lambda net, x: net(x)[0].sum(), x) for one in (layer, reference))
        assert found.keys() == expected.keys()
        for role in found:
            np.testing.assert_allclose(found[role], expected[role], atol=1e-4)
        layer(paddle.to_tensor(x))[0].sum().backward()
        assert len(layer.parameters()) == len(found)


def test_a_fused_layer_is_frozen_whole_or_not_at_all():
    layer = nn.LSTM(3, 4)
    mp.parameters(layer)["bias_ih_l0"].trainable = False
    with pytest.raises(mp.ArgumentError, match="freeze them all, or none"):
        mp.gradients(layer, lambda net, x: net(x)[0].sum(), np.ones((2, 5, 3), np.float32))
    for one in mp.parameters(layer).values():
        one.trainable = False
    assert mp.gradients(layer, lambda net, x: net(x)[0].sum(), np.ones((2, 5, 3), np.float32)) == {}


def test_a_tie_in_a_projected_lstm_leaves_nothing_behind():
    layer = nn.LSTM(3, 4, 2, proj_size=2)
    mp.tie(layer, "weight_hh_l1", to="weight_hh_l0")
    assert len(layer.parameters()) == len(mp.parameters(layer))


def test_an_untied_parameter_keeps_what_it_tells_optimizers():
    about = paddle.ParamAttr(learning_rate=0.1, regularizer=paddle.regularizer.L2Decay(0.5), need_clip=False)
    net = nn.Sequential(nn.Linear(3, 3, weight_attr=about), nn.Linear(3, 3))
    mp.tie(net, "1.weight", to="0.weight")
    mp.untie(net, "0.weight")
    weight = net[0].weight
    assert weight.optimize_attr["learning_rate"] == 0.1
    assert (weight.regularizer is not None, weight.need_clip) == (True, False)


def test_a_transposed_tie_says_what_paddles_own_files_lack():
    model = LanguageModel()
    assert "state_dict" in str(mp.tie(model, "head.weight", to="embedding.weight"))


def test_parts_of_several_dtypes_are_written():
    model = nn.MultiHeadAttention(8, 2)
    model.q_proj.to(dtype="float64")
    mp.parameters(model)["in_proj_weight"][:] = 0.5
    assert all((one.weight.numpy() == 0.5).all() for one in (model.q_proj, model.k_proj, model.v_proj))


def test_an_initializer_of_paddles_is_refused():
    with pytest.raises(mp.ArgumentError, match=r"XavierNormal is an initializer of paddle.*multiparam\.init"):
        mp.initialize(TestPaddle().mlp(), nn.initializer.XavierNormal())


def test_tensorflow_first_is_an_error_and_no_crash():
    code = "import sys; sys.modules['tensorflow'] = sys; import multiparam as mp; mp.nn.Linear(2, 2, backend='paddle')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "import paddle" in done.stderr.splitlines()[-1]
    assert "before tensorflow" in done.stderr.splitlines()[-1]


def test_files_are_read_by_safetensors_alone(tmp_path):
    model = TestPaddle().mlp()
    mp.save(model, tmp_path / "mlp.safetensors")
    found = safetensors.numpy.load_file(tmp_path / "mlp.safetensors")
    assert all(np.array_equal(found[name], one) for name, one in TestPaddle().raw_mlp(model).items())


def names(model):
    return [one.name for one in mp.parameters(model).values()]


def test_names_alone_follow_the_order_of_parameters():
    class Two(nn.Layer):
        def __init__(self):
            super().__init__()
            self.w, self.z = (self.create_parameter((1,)) for _ in range(2))

    model = nn.Sequential(Two(), Two())
    params = mp.parameters(model)
    assert list(params) == names(model) == ["0.w", "0.z", "1.w", "1.z"]
    model[1]._parameters.move_to_end("w")
    assert list(params) == names(model) == ["0.w", "0.z", "1.z", "1.w"]


def test_names_alone_of_norms_over_one_axis_and_several_are_in_one_order():
    def made_late(*shape):
        norm = nn.LayerNorm(shape, weight_attr=False)
        norm.weight = paddle.create_parameter([norm.bias.shape[0]], "float32")
        return norm

    model = nn.Sequential(made_late(4), made_late(2, 2), made_late(4))
    assert list(mp.parameters(model)) == names(model)
    assert names(model)[:4] == ["0.weight", "0.bias", "1.weight", "1.bias"]


def test_names_alone_see_a_child_that_is_called_like_a_statistic():
    norm = nn.BatchNorm1D(2)
    norm.add_sublayer("running_mean", nn.Linear(2, 2))
    with pytest.raises(mp.AmbiguousMatchError, match="two things in '0' are called 'running_mean'"):
        mp.parameters(nn.Sequential(norm))


def test_names_alone_of_a_parameter_and_a_child_that_are_written_alike():
    layer = nn.Linear(2, 2)
    layer.add_parameter("a%2Eb", paddle.create_parameter([1], "float32"))
    layer.add_sublayer("a.b", nn.Linear(2, 2))
    with pytest.raises(mp.AmbiguousMatchError, match="are called 'a%2Eb'"):
        mp.parameters(layer)


def test_names_alone_leave_out_what_fused_layers_hold_within():
    model = nn.Sequential(nn.LSTM(2, 3))
    del model[0]._sub_layers["0"]
    model[0].more = nn.Linear(1, 1)
    assert list(mp.parameters(model)) == names(model)


def test_names_alone_of_a_child_without_a_name():
    model = nn.Sequential()
    model.add_sublayer("", nn.Linear(1, 1))
    assert list(mp.parameters(model)) == names(model) == ["weight", "bias"]


def test_a_buffer_called_like_a_layer_is_refused():
    model = nn.Sequential(nn.Linear(1, 1))
    model.register_buffer("buf", paddle.zeros([1]))
    model.add_sublayer("buf", nn.Linear(1, 1))
    with pytest.raises(mp.AmbiguousMatchError, match="'buf'"):
        mp.parameters(model)


@pytest.mark.filterwarnings("ignore:The program will return to single-card operation")
def test_a_data_parallel_layer_has_the_names_of_what_it_wraps(tmp_path):
    plain = paddle.nn.Sequential(paddle.nn.Linear(2, 2), paddle.nn.Sequential(paddle.nn.Linear(2, 2)))
    net = paddle.DataParallel(plain)
    names = ["0.weight", "0.bias", "1.0.weight", "1.0.bias"]
    assert list(mp.parameters(net)) == names
    assert list(mp.parameters(paddle.nn.Sequential(net))) == [f"0.{name}" for name in names]
    x = np.ones((1, 2), np.float32)
    assert np.array_equal(mp.run(net, x), mp.run(plain, x))
    mp.save(net, tmp_path / "net.safetensors")
    assert mp.load(tmp_path / "net.safetensors", into=plain).loaded == names
    mp.save({f"_layers.{name}": one.value for name, one in mp.state(net).items()}, tmp_path / "wrapped.safetensors")
    assert mp.load(tmp_path / "wrapped.safetensors", into=plain).loaded == names
