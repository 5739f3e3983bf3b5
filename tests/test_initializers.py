"""Rules beside the initializers of the frameworks that they are the counterparts of."""

import paddle  # before TensorFlow, whose import crashes it

# isort: split
import jax
import keras
import numpy as np
import pytest
import torch
from flax import nnx
from scipy import stats

import multiparam as mp

SHAPE = (200, 300)  # canonical: 300 inputs, 200 outputs


def by_torch(name, **options):
    def make():
        torch.manual_seed(0)
        return getattr(torch.nn.init, name)(torch.empty(SHAPE), **options).numpy()

    return make


def by_keras(name, **options):
    return lambda: np.asarray(getattr(keras.initializers, name)(seed=0, **options)(SHAPE[::-1])).T


def by_jax(name, *arguments, **options):
    make = getattr(jax.nn.initializers, name)
    return lambda: np.asarray(make(*arguments, **options)(jax.random.key(0), SHAPE[::-1])).T


COUNTERPARTS = {
    "torch uniform": (mp.init.Uniform(-2, 3), by_torch("uniform_", a=-2, b=3)),
    "torch normal": (mp.init.Normal(0.5, 2), by_torch("normal_", mean=2, std=0.5)),
    "torch trunc_normal": (
        mp.init.TruncatedNormal(1.5, 0.5, -2, 2),
        by_torch("trunc_normal_", mean=0.5, std=1.5, a=-2, b=2),
    ),
    "torch xavier_uniform": (mp.init.XavierUniform(2.0), by_torch("xavier_uniform_", gain=2.0)),
    "torch xavier_normal": (mp.init.XavierNormal(), by_torch("xavier_normal_")),
    "torch kaiming_uniform": (mp.init.KaimingUniform(a=5**0.5), by_torch("kaiming_uniform_", a=5**0.5)),
    "torch kaiming_normal": (
        mp.init.KaimingNormal(mode="fan_out", nonlinearity="relu"),
        by_torch("kaiming_normal_", mode="fan_out", nonlinearity="relu"),
    ),
    "keras random_uniform": (mp.init.Uniform(-0.05, 0.05), by_keras("RandomUniform")),
    "keras random_normal": (mp.init.Normal(0.05), by_keras("RandomNormal")),
    "keras truncated_normal": (mp.init.TruncatedNormal(0.05), by_keras("TruncatedNormal")),
    "keras variance_scaling": (
        mp.init.VarianceScaling(2.0, "fan_avg", "untruncated_normal"),
        by_keras("VarianceScaling", scale=2.0, mode="fan_avg", distribution="untruncated_normal"),
    ),
    "keras glorot_uniform": (mp.init.XavierUniform(), by_keras("GlorotUniform")),
    "keras glorot_normal": (mp.init.VarianceScaling(1.0, "fan_avg"), by_keras("GlorotNormal")),
    "keras he_normal": (mp.init.VarianceScaling(2.0), by_keras("HeNormal")),
    "keras he_uniform": (mp.init.KaimingUniform(), by_keras("HeUniform")),
    "keras lecun_normal": (mp.init.LecunNormal(), by_keras("LecunNormal")),
    "keras lecun_uniform": (mp.init.LecunUniform(), by_keras("LecunUniform")),
    "jax uniform": (mp.init.Uniform(0, 0.01), by_jax("uniform")),
    "jax normal": (mp.init.Normal(0.01), by_jax("normal")),
    "jax truncated_normal": (mp.init.TruncatedNormal(0.01), by_jax("truncated_normal")),
    "jax variance_scaling": (
        mp.init.VarianceScaling(0.5, "fan_out", "uniform"),
        by_jax("variance_scaling", 0.5, "fan_out", "uniform"),
    ),
    "jax glorot_normal": (mp.init.VarianceScaling(1.0, "fan_avg"), by_jax("glorot_normal")),
    "jax glorot_uniform": (mp.init.XavierUniform(), by_jax("glorot_uniform")),
    "jax he_normal": (mp.init.VarianceScaling(2.0), by_jax("he_normal")),
    "jax he_uniform": (mp.init.KaimingUniform(), by_jax("he_uniform")),
    "jax lecun_normal": (mp.init.LecunNormal(), by_jax("lecun_normal")),
    "jax lecun_uniform": (mp.init.LecunUniform(), by_jax("lecun_uniform")),
}


@pytest.mark.parametrize("what", COUNTERPARTS)
def test_the_distribution_is_the_frameworks(what):
    rule, make = COUNTERPARTS[what]
    ours, theirs = rule.values(0, "w", SHAPE).ravel().astype(float), make().ravel().astype(float)
    assert stats.ks_2samp(ours, theirs).pvalue > 0.001
    assert ours.mean() == pytest.approx(theirs.mean(), abs=float(0.02 * theirs.std()))
    assert ours.std() == pytest.approx(theirs.std(), rel=0.01)
    if np.abs(theirs).max() < 2.5 * theirs.std() + abs(theirs.mean()):  # it has bounds
        assert np.abs(ours).max() == pytest.approx(np.abs(theirs).max(), rel=0.01)


@pytest.mark.parametrize("shape", [(5, 8), (8, 5), (4, 3, 2, 2), (6, 2, 2)])
def test_orthogonal_is_orthogonal(shape):
    value = mp.init.Orthogonal(gain=3).values(0, "w", shape).reshape(shape[0], -1)
    product = value @ value.T if shape[0] <= value.shape[1] else value.T @ value
    np.testing.assert_allclose(product, 9 * np.eye(len(product)), atol=1e-5)
    theirs = torch.nn.init.orthogonal_(torch.empty(shape), gain=3).numpy()
    assert value.std() == pytest.approx(theirs.std(), rel=0.2)


def test_orthogonal_matrices_have_no_preferred_sign():
    signs = [np.sign(mp.init.Orthogonal().values(seed, "w", (3, 3))[0, 0]) for seed in range(200)]
    assert abs(sum(signs)) < 50


@pytest.mark.parametrize(
    ("shape", "groups"), [((4, 4, 3), 1), ((6, 2, 3, 3), 1), ((6, 3, 3, 2), 2), ((2, 5, 3, 3, 3), 1)]
)
def test_dirac_is_pytorchs(shape, groups):
    expected = torch.nn.init.dirac_(torch.empty(shape), groups).numpy()
    assert np.array_equal(mp.init.Dirac(groups).values(0, "w", shape), expected)


def test_identity_is_pytorchs():
    for shape in ((3, 3), (2, 4)):
        expected = torch.nn.init.eye_(torch.empty(shape)).numpy()
        assert np.array_equal(mp.init.Identity().values(0, "w", shape), expected)


def test_sparse_is_pytorchs():
    ours = mp.init.Sparse(0.3, std=0.5).values(0, "w", SHAPE)
    theirs = torch.nn.init.sparse_(torch.empty(SHAPE), 0.3, std=0.5).numpy()
    assert ((ours == 0).sum(0) == (theirs == 0).sum(0)).all()
    assert stats.ks_2samp(ours[ours != 0], theirs[theirs != 0]).pvalue > 0.001


@pytest.mark.parametrize(
    ("rule", "shape"),
    [
        (mp.init.Orthogonal(), (3,)),
        (mp.init.Identity(), (3, 3, 3)),
        (mp.init.Dirac(), (3, 3)),
        (mp.init.Dirac(2), (3, 3, 3)),
        (mp.init.Sparse(0.5), (3,)),
        (mp.init.LecunNormal(), (3,)),
    ],
)
def test_a_rule_is_undefined_for_other_shapes(rule, shape):
    with pytest.raises(mp.ArgumentError):
        rule.check(shape)


@pytest.mark.parametrize(
    "make",
    [
        lambda: mp.init.TruncatedNormal(-1),
        lambda: mp.init.TruncatedNormal(1, 0, 2, 1),
        lambda: mp.init.TruncatedNormal(1, 0, 5, 6),
        lambda: mp.init.VarianceScaling(0),
        lambda: mp.init.VarianceScaling(1, "fan"),
        lambda: mp.init.VarianceScaling(1, "fan_in", "normal"),
        lambda: mp.init.Dirac(0),
        lambda: mp.init.Sparse(2),
    ],
)
def test_wrong_arguments_are_refused(make):
    with pytest.raises(mp.ArgumentError):
        make()


LAYERS = {
    "Linear": lambda: mp.nn.Linear(300, 200),
    "Conv2d": lambda: mp.nn.Conv2d(40, 60, (3, 4)),
    "Conv2d grouped": lambda: mp.nn.Conv2d(40, 60, 3, groups=4),
    "Conv1d": lambda: mp.nn.Conv1d(60, 90, 5),
    "Embedding": lambda: mp.nn.Embedding(300, 64),
    "LayerNorm": lambda: mp.nn.LayerNorm(8),
    "BatchNorm2d": lambda: mp.nn.BatchNorm2d(8),
    "PReLU": lambda: mp.nn.PReLU(),
}


def drawn_by(native, make):
    """A layer of the framework with its own first numbers, many of them for small tensors."""
    np.random.seed(0)
    torch.manual_seed(0)
    paddle.seed(0)
    keras.utils.set_random_seed(0)
    with mp.use(native):
        layers = [make() for _ in range(20)]
    return {
        name: np.concatenate([mp.parameters(layer)[name].value.ravel().astype(float) for layer in layers])
        for name in mp.parameters(layers[0])
    }


@pytest.mark.parametrize(
    ("kind", "native", "recipe"),
    [
        (kind, *which)
        for kind in LAYERS
        for which in (("torch", "pytorch"), ("keras", "keras"), ("flax", "flax"), ("paddle", "paddle"))
        if kind != "PReLU" or which[0] == "torch"  # the builder's 1/4 is PyTorch's; the others' are tested below
    ],
)
def test_a_recipe_is_the_frameworks_default(kind, native, recipe):
    theirs = drawn_by(native, LAYERS[kind])
    with mp.use("torch"):
        layers = [LAYERS[kind]() for _ in range(20)]
    for seed, layer in enumerate(layers):
        mp.initialize(layer, recipe, seed=seed)
    for name, expected in theirs.items():
        ours = np.concatenate([mp.parameters(layer)[name].value.ravel().astype(float) for layer in layers])
        if expected.std() == 0:
            assert (ours == expected[0]).all()
            continue
        assert stats.ks_2samp(ours, expected).pvalue > 0.001, name
        assert ours.std() == pytest.approx(expected.std(), rel=0.05)
        if np.abs(expected).max() < 2.5 * expected.std():
            assert np.abs(ours).max() == pytest.approx(np.abs(expected).max(), rel=0.05)


@pytest.mark.parametrize("make", [lambda: torch.nn.LSTM(9, 400), lambda: torch.nn.GRUCell(9, 400)])
def test_recurrent_layers_of_pytorch(make):
    torch.manual_seed(0)
    theirs, ours = make(), make()
    mp.initialize(ours, "pytorch", seed=0)
    for name, one in mp.parameters(theirs).items():
        value, expected = mp.parameters(ours)[name].value, one.value
        assert np.abs(value).max() == pytest.approx(np.abs(expected).max(), rel=0.02)
        assert stats.ks_2samp(value.ravel(), expected.ravel()).pvalue > 0.001


def test_attention_of_pytorch():
    torch.manual_seed(0)
    theirs, ours = torch.nn.MultiheadAttention(96, 4), torch.nn.MultiheadAttention(96, 4)
    mp.initialize(ours, "pytorch", seed=0)
    for name, one in mp.parameters(theirs).items():
        value, expected = mp.parameters(ours)[name].value, one.value
        if not expected.any():
            assert not value.any()
        else:
            assert stats.ks_2samp(value.ravel(), expected.ravel()).pvalue > 0.001


def built(layer, *shapes):
    layer.build(*shapes)
    return layer


NATIVE = {
    "keras LSTM": lambda: built(keras.layers.LSTM(120), (None, None, 60)),
    "keras GRU": lambda: built(keras.layers.GRU(120), (None, None, 60)),
    "keras SimpleRNN": lambda: built(keras.layers.SimpleRNN(120), (None, None, 60)),
    "keras MultiHeadAttention": lambda: built(
        keras.layers.MultiHeadAttention(4, 20), (None, None, 96), (None, None, 96)
    ),
    "keras DepthwiseConv2D": lambda: built(keras.layers.DepthwiseConv2D(3, depth_multiplier=8), (None, 9, 9, 60)),
    "keras SeparableConv2D": lambda: built(keras.layers.SeparableConv2D(90, 3, depth_multiplier=8), (None, 9, 9, 60)),
    "flax LSTMCell": lambda: nnx.LSTMCell(60, 120, rngs=nnx.Rngs(0)),
    "flax GRUCell": lambda: nnx.GRUCell(60, 120, rngs=nnx.Rngs(0)),
    "flax MultiHeadAttention": lambda: nnx.MultiHeadAttention(4, 96, decode=False, rngs=nnx.Rngs(0)),
    "paddle LSTM": lambda: paddle.nn.LSTM(60, 400),
    "paddle GRU": lambda: paddle.nn.GRU(60, 120, direction="bidirect"),
    "paddle SimpleRNNCell": lambda: paddle.nn.SimpleRNNCell(60, 120),
    "paddle MultiHeadAttention": lambda: paddle.nn.MultiHeadAttention(96, 4),
    "paddle Conv2DTranspose": lambda: paddle.nn.Conv2DTranspose(40, 60, (3, 4)),
    "paddle Conv2D grouped": lambda: paddle.nn.Conv2D(40, 60, 3, groups=4),
    "paddle Bilinear": lambda: paddle.nn.Bilinear(30, 40, 20),
    "paddle PReLU": lambda: paddle.nn.PReLU(5),
    "paddle InstanceNorm2D": lambda: paddle.nn.InstanceNorm2D(5),
    "flax LinearGeneral": lambda: nnx.LinearGeneral((8, 10), (9, 7), axis=(-2, -1), rngs=nnx.Rngs(0)),
}


@pytest.mark.parametrize("which", NATIVE)
def test_a_recipe_is_the_default_of_the_frameworks_own_layers(which):
    keras.utils.set_random_seed(0)
    paddle.seed(0)
    theirs, ours = NATIVE[which](), NATIVE[which]()
    mp.initialize(ours, which.partition(" ")[0], seed=0)
    for name, one in mp.parameters(theirs).items():
        value, expected = mp.parameters(ours)[name].value, one.value
        if name == "weight_hh" or len(set(expected.ravel())) < 3:
            # orthogonal gates, and constants
            check = np.array_equal if expected.ndim == 1 else orthogonal_alike
            assert check(value, expected), name
            continue
        assert stats.ks_2samp(value.ravel(), expected.ravel()).pvalue > 0.001, name
        assert value.std() == pytest.approx(expected.std(), rel=0.05)


def orthogonal_alike(value, expected):
    return np.allclose(value.std(), expected.std(), rtol=0.05)


def test_transposed_convolutions_of_flax_and_pytorch():
    native = {
        "flax": nnx.ConvTranspose(40, 60, (3, 4), rngs=nnx.Rngs(0)),
        "pytorch": torch.nn.ConvTranspose2d(40, 60, (3, 4)),
        "keras": keras.layers.Conv2DTranspose(60, (3, 4)),
    }
    native["keras"].build((None, 9, 9, 40))
    for recipe, layer in native.items():
        expected = mp.parameters(layer)["weight"].value.ravel().astype(float)
        ours = torch.nn.ConvTranspose2d(40, 60, (3, 4))
        mp.initialize(ours, recipe, seed=0)
        assert stats.ks_2samp(mp.parameters(ours)["weight"].value.ravel(), expected).pvalue > 0.001, recipe


@pytest.mark.parametrize(
    ("make", "role", "fan_in", "fan_out"),
    [
        (lambda: mp.nn.Conv2d(8, 16, 3, groups=4), "weight", 2 * 9, 4 * 9),
        (lambda: mp.nn.Conv2d(8, 16, 3, groups=8), "weight", 9, 2 * 9),
        (lambda: mp.nn.ConvTranspose2d(8, 16, 3), "weight", 8 * 9, 16 * 9),
        (lambda: mp.nn.LSTM(5, 7), "weight_ih_l0", 5, 7),
        (lambda: mp.nn.GRU(5, 7), "weight_hh_l0", 7, 7),
        (lambda: mp.nn.MultiheadAttention(8, 2), "in_proj_weight", 8, 8),
        (lambda: mp.nn.MultiheadAttention(8, 2), "out_proj.weight", 8, 8),
        (lambda: mp.nn.SeparableConv2d(8, 6, 3, depth_multiplier=2), "depthwise.weight", 9, 2 * 9),
    ],
)
@pytest.mark.parametrize("backend", ["torch", "keras", "flax"])
def test_fans_are_what_is_connected(make, role, fan_in, fan_out, backend):
    with mp.use(backend):
        layer = make()
    fans = mp.parameters(layer)[role].fans()
    assert (fans.fan_in, fan_out) == (fan_in, fans.fan_out)
    mp.initialize(layer, mp.init.XavierUniform(), seed=0)
    bound = np.sqrt(6 / (fan_in + fan_out))
    value = np.abs(mp.parameters(layer)[role].value)
    assert 0.8 * bound < value.max() <= bound


@pytest.mark.parametrize(
    ("recipe", "weight", "convolution", "embedding", "slope"),
    [
        ("paddle", mp.init.XavierUniform(), mp.init.KaimingNormal(), mp.init.XavierUniform(), 0.25),
        ("mxnet", mp.init.Uniform(-0.07, 0.07), mp.init.Uniform(-0.07, 0.07), mp.init.Uniform(-0.07, 0.07), 0.25),
        ("keras", mp.init.XavierUniform(), mp.init.XavierUniform(), mp.init.Uniform(-0.05, 0.05), 0.0),
        ("flax", mp.init.LecunNormal(), mp.init.LecunNormal(), None, 0.01),
    ],
)
def test_recipes_are_the_same_bits_on_every_backend(recipe, weight, convolution, embedding, slope):
    values = []
    for backend in ("torch", "keras", "flax"):
        with mp.use(backend):
            layers = (mp.nn.Linear(30, 20), mp.nn.Conv2d(4, 6, 3), mp.nn.Embedding(9, 5), mp.nn.PReLU())
            net = mp.nn.Sequential(*layers)
        mp.initialize(net, recipe, seed=3)
        values.append({name: one.value for name, one in mp.parameters(net).items()})
    for other in values[1:]:
        assert all(np.array_equal(other[name], values[0][name]) for name in values[0])
    found = values[0]
    assert np.array_equal(found["0.weight"], weight.values(3, "0.weight", (20, 30)))
    assert np.array_equal(found["1.weight"], convolution.values(3, "1.weight", (6, 4, 3, 3)))
    assert embedding is None or np.array_equal(found["2.weight"], embedding.values(3, "2.weight", (9, 5)))
    assert found["3.weight"][0] == np.float32(slope)
    assert not found["0.bias"].any()


def test_slopes_of_prelu_are_the_frameworks():
    native = keras.layers.PReLU()
    native.build((None, 3))
    for recipe, layer in {"keras": native, "flax": nnx.PReLU(), "pytorch": torch.nn.PReLU()}.items():
        expected = mp.parameters(layer)["weight"].value[0]
        mp.initialize(layer, recipe)
        assert mp.parameters(layer)["weight"].value[0] == expected


@pytest.mark.filterwarnings("ignore:Lazy modules are a new feature:UserWarning")
def test_a_recipe_waits_for_lazy_layers():
    lazy = torch.nn.Sequential(torch.nn.LazyLinear(20))
    known = torch.nn.Sequential(torch.nn.Linear(30, 20))
    for net in (lazy, known):
        mp.initialize(net, "pytorch", seed=0)
    mp.materialize(lazy, np.ones((1, 30)))
    for name, one in mp.parameters(known).items():
        assert np.array_equal(one.value, mp.parameters(lazy)[name].value)


def test_what_a_recipe_does_not_know_is_refused_and_named():
    class Odd(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.w = torch.nn.Parameter(torch.ones(3))

    net = torch.nn.Sequential(torch.nn.Linear(2, 2), Odd())
    before = net[0].weight.detach().clone()
    with pytest.raises(mp.ArgumentError, match=r"'keras' has no rule for 1\.w \(Odd\)"):
        mp.initialize(net, "keras")
    assert torch.equal(net[0].weight, before)
    mp.initialize(mp.parameters(net).select("0.*"), "keras")
    assert not net[0].bias.any()
    with pytest.raises(mp.ArgumentError, match="did you mean 'pytorch'"):
        mp.initialize(net, "pytroch")
