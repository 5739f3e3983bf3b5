"""Stacks of layers, as the transforms of NNX and Linen make them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx
from multiparam_linen import Linen

import multiparam as mp


def stacked(make, n=5, axis=0):
    # counts and keys of random streams, which a layer may keep, have no further axis than the stack's
    @nnx.split_rngs(splits=n)
    @nnx.vmap(in_axes=(0,), out_axes=nnx.StateAxes({nnx.RngState: 0, ...: axis}))
    def build(rngs):
        return make(rngs)

    return build(nnx.Rngs(0))


def one_of(stack, position, axis=0):
    """A layer of a stack, taken out by NNX itself."""
    graph, streams, state = nnx.split(stack, nnx.RngState, ...)
    streams = jax.tree.map(lambda one: one[position], streams)
    return nnx.merge(graph, streams, jax.tree.map(lambda one: jnp.take(one, position, axis % one.ndim), state))


LAYERS = {
    "Linear": lambda rngs: nnx.Linear(3, 4, rngs=rngs),
    "Linear, no bias": lambda rngs: nnx.Linear(3, 4, use_bias=False, rngs=rngs),
    "LinearGeneral": lambda rngs: nnx.LinearGeneral((2,), (3, 4), rngs=rngs),
    "Einsum": lambda rngs: nnx.Einsum("ab,bc->ac", (3, 4), (4,), rngs=rngs),
    "Embed": lambda rngs: nnx.Embed(7, 2, rngs=rngs),
    "Conv": lambda rngs: nnx.Conv(2, 6, (3, 4), feature_group_count=2, rngs=rngs),
    "ConvTranspose": lambda rngs: nnx.ConvTranspose(2, 3, (4,), rngs=rngs),
    "LayerNorm": lambda rngs: nnx.LayerNorm(4, rngs=rngs),
    "RMSNorm": lambda rngs: nnx.RMSNorm(4, rngs=rngs),
    "GroupNorm": lambda rngs: nnx.GroupNorm(4, num_groups=2, rngs=rngs),
    "InstanceNorm": lambda rngs: nnx.InstanceNorm(4, rngs=rngs),
    "BatchNorm": lambda rngs: nnx.BatchNorm(4, rngs=rngs),
    "MultiHeadAttention": lambda rngs: nnx.MultiHeadAttention(2, 6, decode=False, rngs=rngs),
    "LSTMCell": lambda rngs: nnx.LSTMCell(2, 3, rngs=rngs),
    "OptimizedLSTMCell": lambda rngs: nnx.OptimizedLSTMCell(2, 3, rngs=rngs),
    "GRUCell": lambda rngs: nnx.GRUCell(2, 3, rngs=rngs),
    "RNN": lambda rngs: nnx.RNN(nnx.SimpleCell(2, 3, rngs=rngs)),
}


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("what", LAYERS)
def test_a_stack_is_its_layers_one_behind_the_other(what, axis):
    stack, alone = stacked(LAYERS[what], axis=axis), LAYERS[what](nnx.Rngs(0))
    kinds = [mp.layers(one).kind for one in (stack, alone)]
    assert kinds[0] == kinds[1]
    state = mp.state(stack)
    assert list(state) == list(mp.state(alone))
    for position in range(5):
        for name, one in mp.state(one_of(stack, position, axis)).items():
            assert np.array_equal(state[name].value[position], one.value), name
    before = {name: one.value for name, one in state.items()}
    for one in state.values():
        one[:] += 1
        assert np.array_equal(one.value, before[one.name] + 1)


@pytest.mark.parametrize("rule", [mp.init.Orthogonal(), mp.init.XavierUniform(), "flax", "pytorch", "keras"])
@pytest.mark.parametrize("what", ["Linear", "Conv", "MultiHeadAttention", "LSTMCell", "BatchNorm"])
def test_a_rule_is_one_for_each_layer(what, rule):
    stack = stacked(LAYERS[what], n=40)
    mp.initialize(stack, rule, seed=0)
    alone = LAYERS[what](nnx.Rngs(0))
    tops = {}
    for seed in range(40):
        mp.initialize(alone, rule, seed=seed)
        for name, one in mp.parameters(alone).items():
            tops.setdefault(name, []).append(np.abs(one.value).max())
    for name, one in mp.parameters(stack).items():
        assert np.abs(one.value).max() == pytest.approx(max(tops[name]), rel=0.2), name
        if isinstance(rule, mp.init.Orthogonal) and one.role == "weight" and what == "Linear":
            for matrix in one.value:
                np.testing.assert_allclose(matrix.T @ matrix, np.eye(3), atol=1e-5)


def test_stacks_of_stacks():
    stack = stacked(lambda rngs: stacked_within(rngs), n=3)
    weight = mp.parameters(stack)["weight"]
    assert weight.shape == (3, 2, 4, 5)
    mp.initialize(stack, mp.init.Orthogonal(), seed=0)
    for matrix in weight.value.reshape(6, 4, 5):
        np.testing.assert_allclose(matrix @ matrix.T, np.eye(4), atol=1e-5)


def stacked_within(rngs):
    @nnx.split_rngs(splits=2)
    @nnx.vmap(in_axes=(0,), out_axes=0)
    def build(inner):
        return nnx.Linear(5, 4, rngs=inner)

    return build(rngs)


def test_what_no_size_tells_keeps_its_own_names_and_is_not_initialized():
    stack = nnx.Sequential(stacked(lambda rngs: nnx.Linear(4, 4, rngs=rngs), n=4))
    assert mp.parameters(stack)["0.kernel"].shape == (4, 4, 4)
    with pytest.raises(mp.ArgumentError, match="do not tell"):
        mp.initialize(stack, mp.init.Orthogonal(), seed=0)


@pytest.mark.parametrize("first", ["untold", "stack", "alone"])
def test_a_stack_before_or_behind_a_layer_of_its_class_changes_nothing_of_it(first):
    makes = {
        "untold": lambda: stacked(lambda rngs: nnx.Linear(4, 4, rngs=rngs), n=4),
        "stack": lambda: stacked(lambda rngs: nnx.Linear(4, 4, rngs=rngs), n=3),
        "alone": lambda: nnx.Linear(4, 4, rngs=nnx.Rngs(0)),
    }
    shapes = {
        "untold": {"kernel": (4, 4, 4), "bias": (4, 4)},
        "stack": {"weight": (3, 4, 4), "bias": (3, 4)},
        "alone": {"weight": (4, 4), "bias": (4,)},
    }
    order = [first, *(what for what in makes if what != first), "alone"]
    net = nnx.Sequential(*(makes[what]() for what in order))
    expected = {f"{i}.{role}": shape for i, what in enumerate(order) for role, shape in shapes[what].items()}
    assert {name: one.shape for name, one in mp.parameters(net).items()} == expected


class Blocks(nnx.Module):
    def __init__(self):
        self.layers = stacked(lambda rngs: nnx.Linear(6, 6, rngs=rngs), n=3)

    def __call__(self, x):
        return nnx.scan(lambda x, layer: nnx.tanh(layer(x)), in_axes=(nnx.Carry, 0), out_axes=nnx.Carry)(x, self.layers)


class LinenBlocks(linen.Module):
    axis: int = 0

    @linen.compact
    def __call__(self, x):
        def block(layer, x, _):
            return linen.tanh(layer(x)), None

        scan = linen.scan(block, variable_axes={"params": self.axis}, split_rngs={"params": True}, length=3)
        return scan(linen.Dense(6, name="layers"), x, None)[0]


@pytest.mark.parametrize("axis", [0, 1])
def test_linen_and_nnx_read_each_others_stacks(axis, tmp_path):
    x = np.random.default_rng(0).random((2, 6), np.float32)
    module = LinenBlocks(axis)
    theirs, ours = Linen(module, module.init(jax.random.key(0), x), x), Blocks()
    mp.save(theirs, tmp_path / "file.safetensors")
    mp.load(tmp_path / "file.safetensors", into=ours)
    np.testing.assert_allclose(mp.run(ours, x), mp.run(theirs, x), atol=1e-6)
    for net in (theirs, ours):
        mp.initialize(net, mp.init.Orthogonal(), seed=0)
    np.testing.assert_allclose(mp.run(ours, x), mp.run(theirs, x), atol=1e-6)
    found = mp.gradients(ours, lambda net, x: net(x).sum(), x)
    assert found["layers.weight"].shape == (3, 6, 6)
    mp.save(ours, tmp_path / "back.safetensors")
    assert len(mp.load(tmp_path / "back.safetensors", into=theirs).loaded) == 2


def test_a_stack_of_a_linen_module_of_its_own_axes_is_told_by_its_arguments():
    class Named(linen.Module):
        def setup(self):
            many = linen.vmap(linen.Dense, variable_axes={"params": 0}, split_rngs={"params": True}, axis_size=3)
            self.layers = many(5)

        def __call__(self, x):
            return self.layers(x)

    module = Named()
    net = Linen(module, module.init(jax.random.key(0), np.ones((3, 4))))  # no sample: the bias tells which axis it is
    assert {name: one.shape for name, one in mp.parameters(net).items()} == {
        "layers.weight": (3, 5, 4),
        "layers.bias": (3, 5),
    }
