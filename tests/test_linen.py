"""The conformance kit on Flax Linen, and what only Linen has.

The kit's models give their submodules the names that the kit asks for, as Linen lets one.
"""

import flax
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import safetensors.torch
import torch
from flax import linen as nn
from flax import serialization, traverse_util
from multiparam_linen import Linen

import multiparam as mp
from multiparam.adapter import Capability
from multiparam.testing import ConformanceSuite


class Named(nn.Module):
    def setup(self):
        self.hidden, self.head = nn.Dense(8), nn.Dense(3)

    def __call__(self, x):
        return self.head(nn.relu(self.hidden(x)))


class Mlp(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(1, name="2")(nn.relu(nn.Dense(8, name="0")(x)))


class Block(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.relu(nn.Dense(4, name="2")(nn.relu(nn.Dense(8, name="0")(x))))


class Blocks(nn.Module):
    @nn.compact
    def __call__(self, x):
        return Block(name="block 1")(Block(name="block 0")(x))


class Nested(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(1, name="1")(Blocks(name="0")(x))


class Fancy(nn.Module):
    constant: object

    @nn.compact
    def __call__(self, x):
        linear = nn.Dense(20, name="linear")
        x = linear(nn.relu(linear(x) @ self.constant + 1))
        while jnp.abs(x).sum() > 1:
            x = x / 2
        return (x * 10 if jnp.abs(x).sum() < 0.8 else x).sum()


class LanguageModel(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(7, use_bias=False, name="head")(nn.Embed(7, 4, name="embedding")(x))


class Buffered(nn.Module):
    @nn.compact
    def __call__(self, x):
        mean = self.variable("batch_stats", "mean", jnp.zeros, (4,))
        return nn.Dense(2, name="linear")(x - mean.value)


class Pair(nn.Module):
    @nn.compact
    def __call__(self, left, right):
        return nn.Dense(2, name="left")(left) + nn.Dense(2, name="right")(right)


def made(module, *sample, **options):
    key = jax.random.key(np.random.randint(2**31))
    return Linen(module, module.init(key, *sample, **options), *sample, **options)


class TestLinen(ConformanceSuite):
    backend = "linen"

    def mlp(self):
        return made(Mlp(), np.ones((1, 4)))

    def named(self):
        return made(Named(), np.ones((1, 4)))

    def nested(self):
        return made(Nested(), np.ones((1, 4)))

    def shared(self):
        return self.require(Capability.TIE)  # a shared submodule has one name, see below

    def fancy(self, constant):
        return made(Fancy(jnp.asarray(constant)), np.ones((1, 20)))

    def custom(self):
        class Inner(nn.Module):
            @nn.compact
            def __call__(self, x):
                return x @ self.param("w", nn.initializers.normal(), (4, 3))

        class Custom(nn.Module):
            @nn.compact
            def __call__(self, x):
                return self.param("offset", nn.initializers.ones, (3,)) + Inner(name="inner")(x)

        return made(Custom(), np.ones((1, 4)))

    def containers(self):
        pytest.skip("Linen has no containers: the layers of a list are called blocks_0, blocks_1, see below")

    def twice(self):
        return self.require(Capability.TIE)

    def language_model(self):
        return made(LanguageModel(), np.zeros((1, 2), np.int32))

    def lazy(self):
        return self.require(Capability.LAZY)

    def buffered(self):
        return made(Buffered(), np.ones((1, 4)))

    def pair(self):
        return made(Pair(), np.ones((1, 4)), np.ones((1, 4)))

    def raw_mlp(self, model):
        found = model.variables["params"]
        return {
            f"{index}.{role}": np.ascontiguousarray(np.asarray(found[index][native]).T)
            for index in "02"
            for role, native in (("weight", "kernel"), ("bias", "bias"))
        }

    def raw_language_model(self, model):
        found = model.variables["params"]
        return {
            "embedding.weight": np.asarray(found["embedding"]["embedding"]),
            "head.weight": np.ascontiguousarray(np.asarray(found["head"]["kernel"]).T),
        }

    def inventory(self, model):
        flat = traverse_util.flatten_dict(serialization.to_state_dict(model.variables))
        return {"/".join(path): np.asarray(one) for path, one in flat.items()}

    def forward(self, model, x):
        return np.asarray(model.module.apply(model.variables, jnp.asarray(x)))

    def loss(self, model, x):
        return 0.5 * (model(x) ** 2).sum()

    def train(self, model, x, steps):
        optimizer = optax.sgd(0.01)
        params = model.variables["params"]
        state = optimizer.init(params)

        @jax.jit
        def step(params, state):
            grads = jax.grad(lambda params: 0.5 * (model.module.apply({"params": params}, x) ** 2).sum())(params)
            updates, state = optimizer.update(grads, state)
            return optax.apply_updates(params, updates), state

        for _ in range(steps):
            params, state = step(params, state)
        model.variables["params"] = params

    def frozen_natively(self, native):
        return False

    def test_the_tree_is_reached_by_index_and_name(self):
        # as the kit's, but that layers without parameters are not in Linen's variables
        model = self.nested()
        tree = mp.layers(model)
        assert tree[0]["block 1"]["0"].bias.name == "0.block 1.0.bias"
        assert tree["0.block 1.2"].weight.shape == (4, 8)
        assert [child.name for child in tree.children] == ["0", "1"]
        assert list(tree[1].parameters) == ["weight", "bias"]
        assert tree.native is model
        assert [one.kind for one in tree[0][0]] == ["Linear", "Linear"]


class Network(nn.Module):
    """Layers of each sort, under automatic names."""

    @nn.compact
    def __call__(self, x, train=False):
        x = nn.Conv(6, (3, 3))(x)
        x = nn.relu(nn.BatchNorm(use_running_average=not train)(x))
        x = nn.ConvTranspose(4, (3, 3), (2, 2), padding="VALID", transpose_kernel=True)(x)
        x = nn.LayerNorm()(x.mean((1, 2)))
        return nn.Dense(3, name="head")(x)


class Setup(nn.Module):
    def setup(self):
        self.blocks = [nn.Dense(4), nn.Dense(4)]
        self.up = nn.ConvTranspose(2, (3,))
        self.inner = nn.Sequential([nn.Dense(4), nn.relu, nn.Dense(4)])

    def __call__(self, x):
        for block in self.blocks:
            x = block(x)
        return self.inner(x)[..., 0] + self.up(x).sum()


IMAGE = np.ones((1, 8, 8, 3), np.float32)
STATE = [
    *("Conv_0.weight", "Conv_0.bias", "BatchNorm_0.weight", "BatchNorm_0.bias"),
    *("BatchNorm_0.running_mean", "BatchNorm_0.running_var", "ConvTranspose_0.weight", "ConvTranspose_0.bias"),
    *("LayerNorm_0.weight", "LayerNorm_0.bias", "head.weight", "head.bias"),
]


def test_names_are_linens_paths_with_canonical_roles():
    net = made(Network(), IMAGE)
    assert sorted(mp.state(net)) == sorted(STATE)
    assert sorted(mp.buffers(net)) == ["BatchNorm_0.running_mean", "BatchNorm_0.running_var"]
    kinds = {one.name: one.kind for one in mp.layers(net)}
    assert kinds == {
        "Conv_0": "Conv2d",
        "BatchNorm_0": "BatchNorm2d",
        "ConvTranspose_0": "ConvTranspose2d",
        "LayerNorm_0": "LayerNorm",
        "head": "Linear",
    }
    conv = net.variables["params"]["Conv_0"]["kernel"]
    assert np.array_equal(mp.parameters(net)["Conv_0.weight"].value, np.asarray(conv).transpose(3, 2, 0, 1))
    up = net.variables["params"]["ConvTranspose_0"]["kernel"]
    assert np.array_equal(mp.parameters(net)["ConvTranspose_0.weight"].value, np.asarray(up).transpose(3, 2, 0, 1))


def test_layers_of_setup_are_known_without_a_sample():
    module = Setup()
    net = Linen(module, module.init(jax.random.key(0), np.ones((2, 5, 4))))
    assert {"blocks_0.weight", "blocks_1.weight", "inner.layers_0.weight", "inner.layers_2.bias", "up.weight"} <= set(
        mp.parameters(net)
    )
    kernel = np.asarray(net.variables["params"]["up"]["kernel"])
    # Flax keeps (k, in, out) back to front of PyTorch's
    assert np.array_equal(mp.parameters(net)["up.weight"].value, kernel.transpose(1, 2, 0)[..., ::-1])


def test_without_a_sample_only_what_is_certain_gets_a_canonical_name():
    module = Network()
    net = Linen(module, module.init(jax.random.key(0), IMAGE))
    # which of two layouts a transposed convolution has cannot be told, nor what a name of one's own stands for
    assert set(STATE) - set(mp.state(net)) == {"ConvTranspose_0.weight", "head.weight"}
    assert {"ConvTranspose_0.kernel", "head.kernel"} <= set(mp.parameters(net))


class Odd(nn.Module):
    """Variables that look like those of layers of Linen's own, and are none."""

    @nn.compact
    def __call__(self, x):
        return x @ Kernel(name="flat")(x).T + nn.Dense(4, name="i")(x) + nn.Dense(4, name="h")(x)


class Kernel(nn.Module):
    @nn.compact
    def __call__(self, x):
        return self.param("kernel", nn.initializers.normal(), (4, 4))


def test_nothing_is_guessed_from_the_look_of_variables():
    module = Odd()
    variables = module.init(jax.random.key(0), np.ones((1, 4)))
    for net in (Linen(module, variables), Linen(module, variables, np.ones((1, 4)))):
        assert np.array_equal(mp.parameters(net)["flat.kernel"].value, variables["params"]["flat"]["kernel"])
        assert not any("weight_ih" in name for name in mp.parameters(net))


class Stack(nn.Module):
    @nn.compact
    def __call__(self, x):
        def block(layer, x, _):
            return layer(x), None

        layers = nn.scan(block, variable_axes={"params": 0}, split_rngs={"params": True}, length=3)
        x, _ = layers(nn.Dense(4, name="dense"), x, None)
        return nn.vmap(nn.Conv, variable_axes={"params": 0}, split_rngs={"params": True}, in_axes=0, axis_size=2)(
            4, (3,), name="convs"
        )(jnp.stack([x[:, None], x[:, None]]))


def test_a_stack_of_layers_is_a_stack_of_canonical_tensors():
    net = made(Stack(), np.ones((1, 4)))
    params = mp.parameters(net)
    assert {name: one.shape for name, one in params.items() if "weight" in name} == {
        "dense.weight": (3, 4, 4),
        "convs.weight": (2, 4, 4, 3),
    }
    kernels = {name: np.asarray(net.variables["params"][name]["kernel"]) for name in ("dense", "convs")}
    assert np.array_equal(params["dense.weight"].value, kernels["dense"].transpose(0, 2, 1))
    assert np.array_equal(params["convs.weight"].value, kernels["convs"].transpose(0, 3, 2, 1))
    assert mp.layers(net)["convs"].kind == "Conv1d"


def test_a_stack_that_nothing_tells_of_keeps_its_own_names_and_layouts():
    module = Stack()
    net = Linen(module, module.init(jax.random.key(0), np.ones((1, 4))))  # no sample, so that nothing is traced
    assert mp.parameters(net)["dense.kernel"].shape == (3, 4, 4)


def test_variables_of_one_name_in_several_collections_are_all_there(tmp_path):
    class Several(nn.Module):
        @nn.compact
        def __call__(self, x):
            w = self.param("w", nn.initializers.ones, (4,))
            for collection in ("ema", "old"):
                self.variable(collection, "w", jnp.zeros, (4,))
            return x * w

    net = made(Several(), np.ones((1, 4)))
    assert sorted(mp.state(net)) == ["ema:w", "old:w", "w"]
    mp.state(net)["old:w"][:] = 3
    assert (net.variables["old"]["w"] == 3).all()
    mp.save(net, tmp_path / "net.safetensors")
    assert len(mp.load(tmp_path / "net.safetensors", into=made(Several(), np.ones((1, 4)))).loaded) == 3


def test_settings_are_those_of_the_modules_arguments(tmp_path):
    for module, other, expected in (
        (nn.RNN(nn.LSTMCell(5), reverse=True), torch.nn.LSTM(4, 5), ("reverse", False, True)),
        (nn.GroupNorm(num_groups=None, group_size=1), torch.nn.GroupNorm(2, 4, eps=1e-6), ("num_groups", 2, 4)),
        (nn.Conv(8, (3, 3), padding="CIRCULAR"), torch.nn.Conv2d(4, 8, 3, padding=1), None),
    ):
        x = np.ones((1, 3, 4)) if isinstance(other, torch.nn.LSTM) else np.ones((1, 9, 9, 4))
        mp.save(other, tmp_path / "file.safetensors")
        report = mp.load(tmp_path / "file.safetensors", into=made(module, x))
        found = [difference[1:] for difference in report.differences]
        assert (expected or ("padding_mode", "zeros", "circular")) in found


def test_a_bound_module_is_changed_in_place():
    module = Network()
    variables = flax.core.unfreeze(module.init(jax.random.key(0), IMAGE))
    bound = module.bind(variables)
    mp.parameters(bound)["head.bias"][:] = 7
    assert (variables["params"]["head"]["bias"] == 7).all()
    np.testing.assert_array_equal(mp.run(bound, np.moveaxis(IMAGE, -1, 1)), np.asarray(bound(IMAGE)))
    found = mp.gradients(bound, lambda net, x: net(x).sum(), np.ones((2, 3, 8, 8)))
    assert (found["head.bias"] == 2).all()
    with pytest.raises(mp.UnsupportedError, match="one place"):
        mp.tie(bound, "head.bias", to="head.bias")


def test_a_module_bound_as_a_part_of_another_has_its_own_names():
    module = Setup()
    bound = module.bind(module.init(jax.random.key(0), np.ones((2, 5, 4))))
    assert list(mp.parameters(bound.inner)) == [f"layers_{i}.{role}" for i in (0, 2) for role in ("weight", "bias")]


def test_frozen_variables_cannot_be_written_through_a_bound_module():
    module = Mlp()
    variables = flax.core.freeze(module.init(jax.random.key(0), np.ones((1, 4))))
    with pytest.raises(mp.ArgumentError, match="unfreeze"):
        mp.parameters(module.bind(variables))["0.bias"][:] = 1
    net = Linen(module, variables)  # which has dicts of its own
    mp.parameters(net)["0.bias"][:] = 1
    assert (net.variables["params"]["0"]["bias"] == 1).all()
    assert not variables["params"]["0"]["bias"].any()


def test_the_native_object_is_the_array():
    net = made(Mlp(), np.ones((1, 4)))
    assert mp.parameters(net)["0.bias"].native is net.variables["params"]["0"]["bias"]


def test_variables_in_boxes_keep_them():
    init = nn.with_partitioning(nn.initializers.lecun_normal(), ("in", "out"))
    module = nn.Dense(3, kernel_init=init)
    net = made(module, np.ones((1, 4)))
    mp.parameters(net)["weight"][:] = 2
    box = net.variables["params"]["kernel"]
    assert isinstance(box, nn.Partitioned)
    assert (box.value == 2).all()


def test_what_linen_cannot_do_is_refused_with_what_to_do_instead():
    net = made(Mlp(), np.ones((1, 4)))
    for attempt, words in (
        (lambda: mp.tie(net, "0", to="2"), "share the submodule"),
        (lambda: mp.untie(net, "0"), "share the submodule"),
        (lambda: setattr(mp.parameters(net)["0.weight"], "trainable", False), "optax"),
        (lambda: mp.nn.Linear(4, 8, backend="linen"), "multiparam_linen.Linen"),
    ):
        with pytest.raises(mp.UnsupportedError, match=words):
            attempt()


def test_wrong_models_are_refused():
    module = Mlp()
    variables = module.init(jax.random.key(0), np.ones((1, 4)))
    for attempt, words in (
        (lambda: mp.parameters(module), "has no variables"),
        (lambda: Linen(module.bind(variables), variables), "not bound"),
        (lambda: Linen(module, variables["params"]["0"]), "what module.init gave"),
        (lambda: Linen(module, variables["params"]), "no collection 'params'"),
        (lambda: Linen(None, variables), "takes an instance"),
        (lambda: Linen(Mlp, variables), "takes an instance"),
        (lambda: mp.run(mp.layers(Linen(module, variables))[0].native, np.ones((1, 4))), "cannot be called by itself"),
    ):
        with pytest.raises(mp.ArgumentError, match=words):
            attempt()


def test_a_file_goes_to_pytorch_and_back(tmp_path):
    net = made(Network(), IMAGE)
    other = torch.nn.ModuleDict(
        {
            "Conv_0": torch.nn.Conv2d(3, 6, 3, padding=1),
            "BatchNorm_0": torch.nn.BatchNorm2d(6),
            "ConvTranspose_0": torch.nn.ConvTranspose2d(6, 4, 3, 2),
            "LayerNorm_0": torch.nn.LayerNorm(4, eps=1e-6),
            "head": torch.nn.Linear(4, 3),
        }
    )
    mp.initialize(other, mp.init.KaimingNormal(), seed=0)
    mp.save(other, tmp_path / "net.safetensors")
    report = mp.load(tmp_path / "net.safetensors", into=net)
    assert report.differences == [("BatchNorm_0", "momentum", 0.1, pytest.approx(0.01))]
    x = np.random.default_rng(0).standard_normal((2, 3, 8, 8)).astype(np.float32)
    with torch.no_grad():
        y = other["BatchNorm_0"].eval()(other["Conv_0"](torch.from_numpy(x))).relu()
        expected = other["head"](other["LayerNorm_0"](other["ConvTranspose_0"](y).mean((2, 3)))).numpy()
    np.testing.assert_allclose(mp.run(net, x), expected, rtol=1e-4, atol=1e-5)
    mp.save(net, tmp_path / "back.safetensors")
    other.load_state_dict(safetensors.torch.load_file(tmp_path / "back.safetensors"), strict=True)


def test_verify_names_the_layer_by_its_path():
    a, b = made(Network(), IMAGE), made(Network(), IMAGE)
    for net in (a, b):
        mp.initialize(net, mp.init.KaimingNormal(), seed=0)
    x = np.random.default_rng(0).standard_normal((2, 3, 8, 8)).astype(np.float32)
    assert mp.verify(a, b, x).agrees
    mp.parameters(b)["BatchNorm_0.bias"][:] += 0.5
    assert mp.verify(a, b, x).first == "BatchNorm_0"


def test_options_are_passed_to_each_call():
    module = Network()
    net = Linen(module, module.init(jax.random.key(0), IMAGE), train=True)
    with pytest.raises(flax.errors.ModifyScopeVariableError):
        mp.run(net, np.moveaxis(IMAGE, -1, 1))


def test_a_part_of_a_bias_that_has_no_place_is_refused_where_the_other_is_missing(tmp_path):
    class Model(nn.Module):
        @nn.compact
        def __call__(self, carry, x):
            return nn.GRUCell(5, name="cell")(carry, x)

    module, carry, x = Model(), np.zeros((2, 5), np.float32), np.ones((2, 4), np.float32)
    variables = jax.tree.map(np.array, module.init(jax.random.key(0), carry, x))
    net = Linen(module, variables, carry, x)
    before = {name: one.value for name, one in mp.parameters(net).items()}
    given = {name: value + 1 for name, value in before.items() if name != "cell.bias_ih"}
    mp.save(given, tmp_path / "part.safetensors")
    with pytest.raises(mp.MismatchError, match=r"cell\.bias_hh cannot be represented"):
        mp.load(tmp_path / "part.safetensors", into=net, strict=False)
    for name, one in mp.parameters(net).items():
        np.testing.assert_array_equal(one.value, before[name])


class Optional(nn.Module):
    @nn.compact
    def __call__(self, x, mask, more=None, plain=True):
        y = nn.Dense(3)(x["x"])
        y = y if mask is None else y * mask
        return y if more is None or not plain else y + more["y"]


@pytest.mark.parametrize("sample", [(None,), (np.ones((1, 3)),), (None, {"y": np.ones(3)}), (None, None, False)])
def test_a_sample_may_have_inputs_that_are_left_out_or_are_no_arrays(sample):
    module, x = Optional(), {"x": jnp.ones((1, 4))}
    variables = module.init(jax.random.key(0), x, *sample)
    net = Linen(module, variables, x, *sample)
    assert list(mp.parameters(net)) == ["Dense_0.weight", "Dense_0.bias"]
    arrays = tuple(one for one in sample if not isinstance(one, bool))
    assert np.allclose(mp.run(net, (x, *arrays)), module.apply(variables, x, *arrays))


class OneAxis(nn.Module):
    name_of_it: str | None = None

    @nn.compact
    def __call__(self, x):
        return nn.Conv(4, (3,), name=self.name_of_it)(x)


def test_what_a_convolution_over_time_takes_is_turned():
    x = np.random.default_rng(0).standard_normal((2, 5, 5)).astype(np.float32)  # either way round fits
    native = np.moveaxis(x, 1, -1)
    for module in (OneAxis(), OneAxis("convolution"), nn.Conv(4, (3,))):
        variables = module.init(jax.random.key(0), native)
        want = np.moveaxis(np.asarray(module.apply(variables, native)), -1, 1)
        nets = [Linen(module, variables, native), Linen(module, variables)]
        if module.__class__ is OneAxis and module.name_of_it:
            untold = nets.pop()
            with pytest.raises(mp.ArgumentError, match=r"whether 'convolution' takes images, .* cannot be told"):
                mp.run(untold, x)
            assert np.allclose(np.moveaxis(mp.run(untold, native, native=True), -1, 1), want, atol=1e-6)
        for net in nets:
            assert np.allclose(mp.run(net, x), want, atol=1e-6)
    dense = nn.Dense(3)
    variables = dense.init(jax.random.key(0), native)
    assert np.allclose(mp.run(Linen(dense, variables), x), np.asarray(dense.apply(variables, x)), atol=1e-6)
