"""Rules and their random numbers."""

import hashlib
import math
import os

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import multiparam as mp
from multiparam.arrays import random as rng
from multiparam.testing.initialization import digest

SCALE = int(os.environ.get("MULTIPARAM_TEST_SCALE", "1"))
shapes = st.lists(st.integers(0, 6), max_size=4).map(tuple)
spans = st.floats(0, 2**99, width=32)
RANDOM = [mp.init.Normal(2.0, 1.0), mp.init.Uniform(-3, 5)]


@settings(max_examples=50 * SCALE)
@given(shape=shapes, seed=st.integers(0, 2**70), name=st.text(max_size=20))
@pytest.mark.parametrize("rule", RANDOM, ids=str)
def test_values_depend_on_seed_name_and_position_only(rule, shape, seed, name):
    values = rule.values(seed, name, shape)
    assert (values.shape, values.dtype) == (shape, np.float32)
    assert np.array_equal(values, rule.values(seed, name, (values.size,)).reshape(shape))


@pytest.mark.parametrize("rule", RANDOM, ids=str)
def test_another_name_or_seed_gives_other_numbers(rule):
    first = rule.values(0, "0.weight", (8, 4))
    assert not np.array_equal(first, rule.values(1, "0.weight", (8, 4)))
    assert not np.array_equal(first, rule.values(0, "2.weight", (8, 4)))


def test_golden_bits_across_blocks():
    # 3 blocks of 65,536 and a part of one; the digest holds for every numpy and every number of threads
    assert digest(mp.init.Normal().values(3, "big", (400, 500))) == "d3b7947d827825c6"
    assert digest(mp.init.Uniform().values(3, "big", (400, 500))) == "ef0193ed02db4c67"


def test_threads_make_the_same_numbers(monkeypatch):
    threaded = mp.init.Normal().values(3, "big", (17, rng.BLOCK))
    monkeypatch.setattr(rng, "SHARE", 100 * rng.BLOCK)  # all in one
    alone = mp.init.Normal().values(3, "big", (17, rng.BLOCK))
    assert hashlib.sha256(threaded).digest() == hashlib.sha256(alone).digest()


@given(seed=st.integers(0, 2**100), name=st.text(max_size=5), block=st.integers(0, 2**40))
def test_generators_are_those_of_numpys_seed_sequence(seed, name, block):
    digest = int.from_bytes(hashlib.sha256(name.encode()).digest()[:16], "little")
    sequence = np.random.SeedSequence([seed, digest], spawn_key=(block,))
    expected = np.random.Generator(np.random.SFC64(sequence)).random(4)
    assert np.array_equal(rng.generator(seed, name, block).random(4), expected)


@given(low=st.floats(-(2**99), 2**99, width=32), span=spans, size=st.integers(1, 9), seed=st.integers(0, 9))
@example(low=0.0, span=1e-37, size=9, seed=0)
def test_uniform_numbers_are_numpys_own(low, span, size, seed):
    high = low + span
    unit = rng.generator(seed, "w", 0).random(size, np.float32)
    expected = unit * np.float32(high - low) + np.float32(low)
    assert mp.init.Uniform(low, high).values(seed, "w", (size,)).tobytes() == expected.tobytes()


def test_a_block_can_be_made_by_itself():
    whole = mp.init.Normal().values(3, "big", (3 * rng.BLOCK,))
    block = rng.generator(3, "big", 1).standard_normal(rng.BLOCK, np.float32)
    assert np.array_equal(whole[rng.BLOCK : 2 * rng.BLOCK], block)


@pytest.mark.parametrize(
    ("rule", "mean", "std"),
    [
        (mp.init.Normal(0.5, 2.0), 2.0, 0.5),
        (mp.init.Uniform(-1, 3), 1.0, 4 / math.sqrt(12)),
        (mp.init.XavierUniform(), 0.0, math.sqrt(2 / 500)),
        (mp.init.XavierNormal(gain=3), 0.0, 3 * math.sqrt(2 / 500)),
        (mp.init.KaimingUniform(), 0.0, math.sqrt(2 / 300)),
        (mp.init.KaimingNormal(a=2.0), 0.0, math.sqrt(2 / 5 / 300)),
        (mp.init.KaimingNormal(mode="fan_out", nonlinearity="tanh"), 0.0, 5 / 3 / math.sqrt(200)),
        (mp.init.Ones(), 1.0, 0.0),
    ],
    ids=str,
)
def test_moments_are_those_of_the_published_formulas(rule, mean, std):
    values = rule.values(0, "w", (200, 300)).astype(np.float64)
    assert values.mean() == pytest.approx(mean, abs=5 * std / math.sqrt(values.size) + 1e-12)
    assert values.std() == pytest.approx(std, rel=0.02)


def test_bounds():
    values = mp.init.Uniform(-1, 3).values(0, "w", (100_000,))
    assert -1 <= values.min() < -0.99
    assert 2.99 < values.max() <= 3
    bound = math.sqrt(6 / 500)
    assert np.abs(mp.init.XavierUniform().values(0, "w", (200, 300))).max() == pytest.approx(bound, rel=1e-3)


@pytest.mark.parametrize(
    "make",
    [
        lambda: mp.init.Normal(std=-1),
        lambda: mp.init.Normal(std="wide"),
        lambda: mp.init.Uniform(2, 1),
        lambda: mp.init.Constant(math.nan),
        lambda: mp.init.KaimingNormal(mode="fan_avg"),
        lambda: mp.init.KaimingNormal(nonlinearity="rleu"),
        lambda: mp.init.Custom(lambda a, b, c: None),
    ],
)
def test_wrong_arguments_are_refused(make):
    with pytest.raises(mp.ArgumentError):
        make()


@pytest.mark.parametrize(
    "function",
    [
        lambda shape, rng: rng.random(shape),
        lambda rng, shape: rng.random(shape),
        lambda s, r: r.random(s),
        lambda *arguments: arguments[1].random(arguments[0]),
        lambda **named: named["rng"].random(named["shape"]),
        lambda shape, rng, scale=1.0: scale * rng.random(shape),
        lambda param, rng: rng.random(param.shape),
    ],
)
def test_a_custom_function_gets_what_it_asks_for(function):
    layer = mp.nn.Linear(3, 2, bias=False, backend="numpy")
    mp.initialize(layer, function, seed=5)
    expected = rng.generator(5, "weight").random((2, 3)).astype(np.float32)
    assert np.array_equal(mp.parameters(layer)["weight"].value, expected)


def test_wider_and_narrower_dtypes_get_the_same_numbers():
    from multiparam_numpy import Module, Variable

    class Wide(Module):
        def __init__(self, dtype):
            self.w = Variable(np.zeros((4, 4), dtype))

    values = {}
    for dtype in ("float16", "float32", "float64"):
        model = Wide(dtype)
        mp.initialize(model, mp.init.Normal(), seed=0)
        values[dtype] = mp.parameters(model)["w"].value
        assert values[dtype].dtype == dtype
    assert np.array_equal(values["float64"].astype(np.float32), values["float32"])
    assert np.array_equal(values["float32"].astype(np.float16), values["float16"])


def test_integers_take_whole_numbers_only():
    from multiparam_numpy import Module, Variable

    class Counting(Module):
        def __init__(self):
            self.w = Variable(np.zeros((4, 4), np.int64))

    model = Counting()
    mp.initialize(model, mp.init.Constant(3), seed=0)
    assert (mp.parameters(model)["w"].value == 3).all()
    with pytest.raises(mp.MismatchError, match="do not fit into its dtype"):
        mp.initialize(model, mp.init.Normal(), seed=0)
    assert (mp.parameters(model)["w"].value == 3).all()


def test_parameters_of_two_models_are_refused():
    one, other = mp.nn.Linear(2, 2, backend="numpy"), mp.nn.Linear(2, 2, backend="numpy")
    both = [*mp.parameters(one).values(), *mp.parameters(other).values()]
    with pytest.raises(mp.ArgumentError, match="different models"):
        mp.initialize(both, mp.init.Ones())


def test_a_selection_without_weights_gets_the_rule_as_it_is():
    layer = mp.nn.Linear(2, 2, backend="numpy")
    mp.initialize(mp.parameters(layer).select("bias"), mp.init.Constant(7))
    assert (mp.parameters(layer)["bias"].value == 7).all()


def test_norm_scales_become_one_and_biases_zero():
    layer = mp.nn.LayerNorm(4, backend="numpy")
    mp.initialize(layer, mp.init.Normal(), seed=0)
    assert (mp.parameters(layer)["weight"].value == 1).all()
    assert (mp.parameters(layer)["bias"].value == 0).all()


def test_a_rule_of_which_the_values_alone_are_redefined_has_those():
    class Clipped(mp.init.Normal):
        def values(self, *arguments):
            return np.clip(super().values(*arguments), -0.1, 0.1)

    class Eye(mp.init.Zeros):
        def values(self, seed, name, shape, parameter=None):
            return np.eye(*shape)

    class Doubled(Clipped):
        def __init__(self):
            super().__init__(std=2.0)

    net = mp.nn.Linear(30, 30)
    weight = mp.parameters(net)["weight"]
    for rule in (Clipped(), Eye(), Doubled()):
        mp.initialize(net, {"weight": rule}, seed=0)
        assert np.array_equal(weight.value, rule.values(0, "weight", (30, 30)))


def test_a_layer_is_initialized_by_the_whole_models_names():
    net, other = (mp.nn.Sequential(mp.nn.Linear(2, 3), mp.nn.Sequential(mp.nn.Linear(3, 4))) for _ in range(2))
    report = mp.initialize(mp.layers(net)[1], mp.init.Normal(), seed=0)
    assert [entry.name for entry in report.entries] == ["1.0.weight", "1.0.bias"]
    mp.initialize(other, mp.init.Normal(), seed=0)
    assert np.array_equal(mp.parameters(net)["1.0.weight"].value, mp.parameters(other)["1.0.weight"].value)


class Holder:
    """Makes modules of the reference backend of arrays by name."""

    def __new__(cls, **arrays):
        from multiparam_numpy import Module, Variable

        module = type("Odd", (Module,), {})()
        for name, array in arrays.items():
            setattr(module, name, Variable(np.asarray(array)))
        return module


@pytest.mark.parametrize(
    ("rule", "variance"),
    [
        (mp.init.Normal(2.0), 4.0),
        (mp.init.TruncatedNormal(2.0), 4.0 * 0.7737),
        (mp.init.XavierUniform(), 2 / 500),
        (mp.init.XavierNormal(), 2 / 500),
        (mp.init.KaimingUniform(), 2 / 300),
        (mp.init.LecunNormal(), 1 / 300),
        (mp.init.Sparse(0.0, std=3.0), 9.0),
    ],
    ids=str,
)
def test_complex_numbers_have_the_variance_in_both_parts_together(rule, variance):
    model = Holder(w=np.zeros((200, 300), np.complex64))
    mp.initialize(model, rule, seed=0)
    value = mp.parameters(model)["w"].value
    assert value.real.var() == pytest.approx(variance / 2, rel=0.03)
    assert value.imag.var() == pytest.approx(variance / 2, rel=0.03)
    assert abs(np.corrcoef(value.real.ravel(), value.imag.ravel())[0, 1]) < 0.02
    mp.initialize(model, rule, seed=0)
    assert np.array_equal(mp.parameters(model)["w"].value, value)


def test_bounds_are_those_of_each_part_and_constants_are_real():
    model = Holder(w=np.zeros((200, 300), np.complex128))
    mp.initialize(model, mp.init.Uniform(-1, 3), seed=0)
    value = mp.parameters(model)["w"].value
    for part in (value.real, value.imag):
        assert -1 <= part.min() < -0.99
        assert 2.99 < part.max() <= 3
    mp.initialize(model, mp.init.Constant(3), seed=0)
    assert (mp.parameters(model)["w"].value == 3).all()


@pytest.mark.parametrize("shape", [(5, 8), (8, 5), (4, 3, 2)])
def test_a_complex_orthogonal_matrix_is_unitary(shape):
    model = Holder(w=np.zeros(shape, np.complex128))
    mp.initialize(model, mp.init.Orthogonal(gain=2), seed=0)
    value = mp.parameters(model)["w"].value.reshape(shape[0], -1)
    product = value @ value.conj().T if shape[0] <= value.shape[1] else value.conj().T @ value
    np.testing.assert_allclose(product, 4 * np.eye(len(product)), atol=1e-5)
    assert np.abs(value.imag).max() > 0.1


def test_in_unknown_layers_matrices_are_weights_and_vectors_are_left_out():
    arrays = {
        "b": np.ones((2, 6)),
        "gamma": np.ones(6),
        "weight": np.full(6, 5.0),
        "t": np.float64(7),
        "bias": np.ones(6),
    }
    model = Holder(**arrays)
    report = mp.initialize(model, mp.init.Normal(), seed=0)
    params = mp.parameters(model)
    assert sorted(report.left_out) == ["gamma", "t", "weight"]
    assert params["b"].value.std() > 0.3
    assert not params["bias"].value.any()
    for name in report.left_out:
        assert np.array_equal(params[name].value, arrays[name])
        assert f"  {name}\n" in str(report)
    mp.initialize(params.select("gamma"), mp.init.Constant(2))
    assert (params["gamma"].value == 2).all()
    mp.initialize(model, {"*": mp.init.Constant(3)})
    assert all((one.value == 3).all() for one in params.values())
    with pytest.raises(mp.ArgumentError, match="register_layer"):
        mp.initialize(Holder(weight=np.ones(6)), mp.init.Normal())


def test_integers_as_the_weight_of_a_known_layer_are_quantized():
    layer = mp.nn.Linear(3, 2, backend="numpy")
    from multiparam_numpy import Variable

    layer.weight = Variable(np.ones((2, 3), np.int8))
    for rule in (mp.init.Constant(2), {"weight": mp.init.Constant(2)}, "pytorch"):
        with pytest.raises(mp.ArgumentError, match="'weight' is quantized"):
            mp.initialize(layer, rule)
    assert (mp.parameters(layer)["weight"].value == 1).all()
