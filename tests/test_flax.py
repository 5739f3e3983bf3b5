"""The conformance kit on Flax NNX, and what only Flax has."""

import copy
import dataclasses
import functools
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from multiparam_flax.additions import LazyLinear  # NNX has none of its own

import multiparam as mp
from multiparam.testing import ConformanceSuite


def linear(inputs, outputs, **options):
    return nnx.Linear(inputs, outputs, rngs=nnx.Rngs(np.random.randint(2**31)), **options)


class Named(nnx.Module):
    def __init__(self):
        self.hidden, self.head = linear(4, 8), linear(8, 3)

    def __call__(self, x):
        return self.head(jax.nn.relu(self.hidden(x)))


class Blocks(nnx.Module):
    def __init__(self):
        for index in range(2):
            setattr(self, f"block {index}", block())

    def __call__(self, x):
        return getattr(self, "block 1")(getattr(self, "block 0")(x))


class Fancy(nnx.Module):
    def __init__(self, constant):
        self.constant = jnp.asarray(constant)
        self.linear = linear(20, 20)

    def __call__(self, x):
        x = self.linear(jax.nn.relu(self.linear(x) @ self.constant + 1))
        while jnp.abs(x).sum() > 1:
            x = x / 2
        return (x * 10 if jnp.abs(x).sum() < 0.8 else x).sum()


class Containers(nnx.Module):
    def __init__(self):
        self.blocks = nnx.List([linear(4, 4), linear(4, 4)])
        self.heads = nnx.Dict({"a": linear(4, 2), "b": linear(4, 2)})

    def __call__(self, x):
        for one in self.blocks:
            x = one(x)
        return self.heads["a"](x) + self.heads["b"](x)


class Twice(nnx.Module):
    def __init__(self):
        self.first = self.second = linear(4, 4)

    def __call__(self, x):
        return self.second(self.first(x))


class LanguageModel(nnx.Module):
    def __init__(self):
        self.embedding = nnx.Embed(7, 4, rngs=nnx.Rngs(np.random.randint(2**31)))
        self.head = linear(4, 7, use_bias=False)

    def __call__(self, x):
        return self.head(self.embedding(x))


class Buffered(nnx.Module):
    def __init__(self):
        self.linear, self.mean = linear(4, 2), nnx.BatchStat(jnp.zeros(4))

    def __call__(self, x):
        return self.linear(x - self.mean[...])


class Pair(nnx.Module):
    def __init__(self):
        self.left, self.right = linear(4, 2), linear(4, 2)

    def __call__(self, left, right):
        return self.left(left) + self.right(right)


def block():
    return nnx.Sequential(linear(4, 8), jax.nn.relu, linear(8, 4), jax.nn.relu)


class TestFlax(ConformanceSuite):
    backend = "flax"

    def mlp(self):
        return nnx.Sequential(linear(4, 8), jax.nn.relu, linear(8, 1))

    def named(self):
        return Named()

    def nested(self):
        return nnx.Sequential(Blocks(), linear(4, 1))

    def shared(self):
        layer = linear(8, 8)
        return nnx.Sequential(linear(4, 8), jax.nn.relu, layer, jax.nn.relu, layer, jax.nn.relu, linear(8, 1))

    def fancy(self, constant):
        return Fancy(constant)

    def custom(self):
        class Inner(nnx.Module):
            def __init__(self):
                self.w = nnx.Param(jnp.asarray(np.random.rand(4, 3), jnp.float32))

            def __call__(self, x):
                return x @ self.w

        class Custom(nnx.Module):
            def __init__(self):
                self.offset, self.inner = nnx.Param(jnp.ones(3)), Inner()

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
        return nnx.Sequential(LazyLinear(8, rngs=nnx.Rngs(0)), jax.nn.relu, LazyLinear(1, rngs=nnx.Rngs(1)))

    def buffered(self):
        return Buffered()

    def pair(self):
        return Pair()

    def raw_mlp(self, model):
        state = nnx.to_pure_dict(nnx.state(model))["layers"]
        return {
            f"{index}.{role}": np.ascontiguousarray(np.asarray(state[index][native]).T)
            for index in (0, 2)
            for role, native in (("weight", "kernel"), ("bias", "bias"))
        }

    def raw_language_model(self, model):
        state = nnx.to_pure_dict(nnx.state(model))
        return {
            "embedding.weight": np.asarray(state["embedding"]["embedding"]),
            "head.weight": np.ascontiguousarray(np.asarray(state["head"]["kernel"]).T),
        }

    def inventory(self, model):
        flat = nnx.to_flat_state(nnx.state(model))
        return {str(path): np.asarray(one.get_value() if isinstance(one, nnx.Variable) else one) for path, one in flat}

    def forward(self, model, x):
        return np.asarray(model(jnp.asarray(x)))

    def loss(self, model, x):
        return 0.5 * (model(x) ** 2).sum()

    def train(self, model, x, steps):
        optimizer = nnx.Optimizer(model, optax.adam(0.01), wrt=nnx.Param)

        @nnx.jit
        def step(model, optimizer, x):
            optimizer.update(model, nnx.grad(self.loss)(model, x))

        for _ in range(steps):
            step(model, optimizer, jnp.asarray(x))

    def frozen_natively(self, native):
        return not isinstance(native, nnx.Param)


def test_attributes_come_in_the_order_of_definition():
    class Net(nnx.Module):
        def __init__(self):
            self.zebra, self.ant = linear(2, 2), linear(2, 2)

    assert list(mp.parameters(Net())) == ["zebra.weight", "zebra.bias", "ant.weight", "ant.bias"]


def test_the_order_of_definition_is_known_without_the_source():
    names = {"nnx": nnx, "linear": linear}
    exec(
        "class Net(nnx.Module):\n"
        "    def __init__(self):\n"
        "        self.zebra = linear(2, 2)\n"
        "        self.further()\n"
        "    def further(self):\n"
        "        self.yak, self.yak.note = linear(2, 2), 'ant'\n"
        "        self.ant = linear(2, 2)\n",
        names,
    )
    assert [layer.name for layer in mp.layers(names["Net"]())] == ["zebra", "yak", "ant"]


def test_attributes_of_all_styles_of_classes_have_an_order():
    class Base(nnx.Module):
        def __init__(self):
            self.z = linear(1, 1)

        def later(self, other):
            other.b, other.m = 1, 2

    class Net(Base):
        def __init__(self):
            super().__init__()

            def inner():
                self.m = linear(1, 1)

            inner()
            self.b = linear(1, 1)
            self.make()

        @functools.wraps(len)
        def make(self):
            self.a = linear(1, 1)

    assert [layer.name for layer in mp.layers(Net())] == ["z", "m", "b", "a"]


def test_more_than_ten_layers_stay_in_order():
    model = nnx.Sequential(*(linear(2, 2, use_bias=False) for _ in range(12)))
    expected = [f"{index}.weight" for index in range(12)]
    assert list(mp.parameters(model)) == expected
    assert list(mp.parameters(nnx.clone(model))) == expected


def test_random_state_is_neither_parameter_nor_buffer():
    model = nnx.Sequential(linear(4, 4), nnx.Dropout(0.5, rngs=nnx.Rngs(0)), nnx.BatchNorm(4, rngs=nnx.Rngs(0)))
    model.rngs = nnx.Rngs(params=0)
    assert list(mp.parameters(model)) == ["0.weight", "0.bias", "2.weight", "2.bias"]
    assert list(mp.buffers(model)) == ["2.running_mean", "2.running_var"]


def test_run_leaves_the_mode_and_the_statistics_as_they_were():
    model = nnx.Sequential(nnx.Dropout(0.9, rngs=nnx.Rngs(0)), nnx.BatchNorm(4, rngs=nnx.Rngs(0)))
    x = np.random.rand(3, 4).astype(np.float32)
    before = jax.tree.map(np.asarray, nnx.to_pure_dict(nnx.state(model, nnx.Any(nnx.BatchStat, nnx.RngCount))))
    assert np.array_equal(mp.run(model, x), mp.run(model, x))
    assert (model.layers[0].deterministic, model.layers[1].use_running_average) == (False, False)
    jax.tree.map(
        np.testing.assert_array_equal, before, nnx.to_pure_dict(nnx.state(model, nnx.Any(nnx.BatchStat, nnx.RngCount)))
    )


@pytest.fixture
def tied():
    model = LanguageModel()
    mp.tie(model, "head.weight", to="embedding.weight")
    return model


@pytest.mark.parametrize(
    "clone",
    [
        nnx.clone,
        copy.deepcopy,
        lambda model: nnx.merge(*nnx.split(model), copy=True),
        lambda model: pickle.loads(pickle.dumps(model)),
    ],
)
def test_a_copy_of_a_transposed_tie_is_tied_to_itself(tied, clone):
    other = clone(tied)
    assert mp.tied(other) == [("embedding.weight", "head.weight")]
    mp.parameters(other)["embedding.weight"][...] = 5
    assert (other.head.kernel[...] == 5).all()
    assert not (tied.head.kernel[...] == 5).any()


def test_a_transposed_tie_is_one_parameter_to_flax(tied):
    assert jax.tree.map(jnp.shape, nnx.to_pure_dict(nnx.state(tied, nnx.Param))) == {"embedding": {"embedding": (7, 4)}}


def test_ties_and_freezing_hold_in_compiled_steps(tied):
    mp.parameters(tied)["embedding.weight"].trainable = False
    before = mp.parameters(tied)["embedding.weight"].value
    TestFlax().train(tied, np.array([[1, 2]]), 2)
    assert np.array_equal(mp.parameters(tied)["embedding.weight"].value, before)
    mp.parameters(tied)["head.weight"].trainable = True
    assert type(tied.embedding.embedding) is nnx.Param
    TestFlax().train(tied, np.array([[1, 2]]), 2)
    assert not np.array_equal(mp.parameters(tied)["embedding.weight"].value, before)
    assert mp.tied(tied) == [("embedding.weight", "head.weight")]


def test_a_users_own_parameter_type_comes_back_after_thawing():
    class Special(nnx.Param):
        pass

    class Net(nnx.Module):
        def __init__(self):
            self.w = Special(jnp.ones(3))

    model = Net()
    param = mp.parameters(model)["w"]
    param.trainable = False
    assert not isinstance(model.w, nnx.Param)
    param.trainable = True
    assert type(model.w) is Special


def test_a_lazy_layer_can_have_its_first_batch_in_a_compiled_function():
    model, known = TestFlax().lazy(), TestFlax().mlp()
    for one in (model, known):
        mp.initialize(one, mp.init.Normal(0.3), seed=2)
    x = jnp.ones((2, 4))
    out = nnx.jit(lambda net, x: net(x))(model, x)
    np.testing.assert_allclose(out, known(x), rtol=1e-6)
    assert np.array_equal(mp.parameters(model)["0.weight"].value, mp.parameters(known)["0.weight"].value)


def test_a_write_does_not_share_memory_with_the_array():
    model = linear(4, 8)
    value = np.zeros((8, 4), np.float32)
    mp.parameters(model)["weight"].assign(value)
    value[...] = 9
    assert not np.asarray(model.kernel[...]).any()


def test_bfloat16_parameters(tmp_path):
    model = nnx.Linear(4, 8, param_dtype=jnp.bfloat16, rngs=nnx.Rngs(0))
    param = mp.parameters(model)["weight"]
    assert param.dtype == jnp.bfloat16
    param[0, 0] = 42
    assert model.kernel[0, 0] == 42
    assert model.kernel.dtype == jnp.bfloat16
    mp.save(model, tmp_path / "model.safetensors")
    before = param.value
    param[...] = 0
    mp.load(tmp_path / "model.safetensors", into=model)
    assert np.array_equal(param.value, before)


def test_a_module_built_for_shapes_only_is_uninitialized():
    model = nnx.eval_shape(lambda: linear(4, 8))
    param = mp.parameters(model)["weight"]
    assert param.initialized is False
    with pytest.raises(mp.UninitializedError):
        _ = param.value


def test_plain_functions_are_layers_of_a_sequential_model():
    model = nnx.Sequential(linear(4, 8), jax.nn.relu, jnp.tanh)
    assert [child.kind for child in mp.layers(model)] == ["Linear", "ReLU", "Tanh"]


def test_private_attributes_are_found():
    class Private(nnx.Module):
        def __init__(self):
            self._dense = linear(2, 2)
            self._w = nnx.Param(jnp.ones(3))

    assert sorted(mp.parameters(Private())) == ["_dense.bias", "_dense.weight", "_w"]


def test_layers_in_a_plain_pytree_are_found():
    class Holder(nnx.Pytree):
        def __init__(self):
            self.inner = linear(2, 2)

    class Net(nnx.Module):
        def __init__(self):
            self.holder = Holder()

    assert list(mp.parameters(Net())) == ["holder.inner.weight", "holder.inner.bias"]


def test_a_stack_of_layers_is_a_stack_of_canonical_tensors(tmp_path):
    @nnx.vmap(in_axes=0, out_axes=0)
    def stack(key):
        return nnx.Linear(2, 5, rngs=nnx.Rngs(key))

    model = stack(jax.random.split(jax.random.key(0), 3))
    param = mp.parameters(model)["weight"]
    assert param.shape == (3, 5, 2)
    assert np.array_equal(param.value, np.asarray(model.kernel[...]).transpose(0, 2, 1))
    mp.initialize(model, {"weight": mp.init.Normal()}, seed=0)
    assert model.kernel.shape == (3, 2, 5)
    assert np.array_equal(param.value, mp.init.Normal().values(0, "weight", (3, 5, 2)))
    mp.save(model, tmp_path / "stack.safetensors")
    mp.load(tmp_path / "stack.safetensors", into=model)


class Table(nnx.Module):
    """Its attributes are defined in another order than that of their names."""

    def __init__(self):
        self.table = nnx.Embed(5, 4, rngs=nnx.Rngs(0))
        self.decoder = linear(4, 5, use_bias=False)

    def __call__(self, x):
        return self.decoder(self.table(x))


def test_names_and_order_do_not_depend_on_what_was_done_with_the_model():
    model = Table()
    mp.tie(model, "decoder.weight", to="table.weight")
    mp.initialize(model, mp.init.Normal(), seed=0)
    first = mp.parameters(model)["table.weight"].value
    for change in (
        lambda: mp.gradients(model, lambda net, x: net(x).sum(), np.arange(3)),
        lambda: nnx.jit(lambda net, x: net(x))(model, jnp.arange(3)),
    ):
        change()
        assert mp.tied(model) == [("table.weight", "decoder.weight")]
        mp.initialize(model, mp.init.Normal(), seed=0)
        assert np.array_equal(mp.parameters(model)["table.weight"].value, first)
    assert mp.tied(nnx.clone(model)) == [("table.weight", "decoder.weight")]


def test_attributes_set_by_computed_names_come_in_natural_order():
    class Net(nnx.Module):
        def __init__(self):
            for index in (10, 9, 1):
                setattr(self, f"block {index}", linear(1, 1, use_bias=False))

    assert list(mp.parameters(Net())) == ["block 1.weight", "block 9.weight", "block 10.weight"]


def test_integer_parameters_have_no_gradients():
    class Counting(nnx.Module):
        def __init__(self):
            self.steps, self.w = nnx.Param(jnp.zeros(2, jnp.int32)), nnx.Param(jnp.ones(2))

        def __call__(self, x):
            return x * self.w[...] + self.steps[...]

    found = mp.gradients(Counting(), lambda net, x: net(x).sum(), np.ones(2))
    assert list(found) == ["w"]


def test_a_dataclass_is_a_module_too():
    @dataclasses.dataclass
    class Net(nnx.Module):
        inner: nnx.Linear

        def __call__(self, x):
            return self.inner(x)

    model = Net(linear(2, 2))
    assert list(mp.parameters(model)) == ["inner.weight", "inner.bias"]
    found = mp.gradients(model, lambda net, x: net(x).sum(), np.ones((1, 2)))
    assert np.array_equal(mp.parameters(model)["inner.weight"].grad, found["inner.weight"])


def test_a_module_of_shapes_cannot_be_initialized():
    model = nnx.eval_shape(lambda: linear(4, 8))
    assert mp.parameters(model)["weight"].shape == (8, 4)
    with pytest.raises(mp.UninitializedError, match="eval_shape"):
        mp.initialize(model, mp.init.Ones())


def test_integers_that_do_not_fit_are_refused():
    model = nnx.Embed(5, 4, rngs=nnx.Rngs(0))
    with pytest.raises(mp.ArgumentError, match="jax_enable_x64"):
        mp.run(model, np.array([2**40 + 3]))


def test_fans_of_a_stack_are_those_of_one_layer():
    @nnx.vmap(in_axes=0, out_axes=0)
    def stacked(key):
        return nnx.Linear(6, 10, rngs=nnx.Rngs(key))

    layer = stacked(jax.random.split(jax.random.key(0), 50))
    mp.initialize(layer, mp.init.XavierUniform(), seed=0)
    weight = mp.parameters(layer)["weight"]
    assert weight.shape == (50, 10, 6)
    assert (weight.fans().fan_in, weight.fans().fan_out) == (6, 10)
    assert np.abs(weight.value).max() == pytest.approx(np.sqrt(6 / 16), rel=0.01)
