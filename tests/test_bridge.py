"""Linen modules in NNX, and NNX modules in Linen."""

import jax
import jax.numpy as jnp
import numpy as np
import torch
from flax import linen, nnx
from multiparam_linen import Linen

import multiparam as mp


class Inner(linen.Module):
    @linen.compact
    def __call__(self, x):
        return linen.Dense(3)(linen.BatchNorm(use_running_average=True)(linen.Dense(5)(x)))


class Outer(linen.Module):
    @linen.compact
    def __call__(self, x):
        return nnx.bridge.ToLinen(nnx.Linear, args=(6, 5), name="inner")(x)


def test_a_linen_module_in_nnx_has_canonical_names_and_layouts(tmp_path):
    x = np.random.default_rng(0).random((2, 6), np.float32)
    model = nnx.bridge.ToNNX(Inner(), rngs=nnx.Rngs(0))
    model.lazy_init(jnp.asarray(x))
    params = mp.parameters(model)
    assert sorted(params) == [
        f"{name}.{role}" for name in ("BatchNorm_0", "Dense_0", "Dense_1") for role in ("bias", "weight")
    ]
    assert sorted(mp.buffers(model)) == ["BatchNorm_0.running_mean", "BatchNorm_0.running_var"]
    assert params["Dense_0.weight"].kind == "Linear"
    assert np.array_equal(params["Dense_0.weight"].value, np.asarray(model.Dense_0["kernel"][...]).T)
    mp.initialize(model, mp.init.XavierUniform(), seed=0)
    module = Inner()
    other = Linen(module, module.init(jax.random.key(1), x), x)
    mp.save(model, tmp_path / "file.safetensors")
    mp.load(tmp_path / "file.safetensors", into=other, strict=False)
    np.testing.assert_allclose(mp.run(model, x), mp.run(other, x), atol=1e-6)
    assert mp.gradients(model, lambda net, x: net(x).sum(), x)["Dense_0.weight"].shape == (3, 5)


def test_one_layer_in_nnx_is_a_linear(tmp_path):
    x = np.random.default_rng(0).random((2, 6), np.float32)
    model = nnx.bridge.ToNNX(linen.Dense(5), rngs=nnx.Rngs(0))
    model.lazy_init(jnp.asarray(x))
    theirs = torch.nn.Linear(6, 5)
    mp.save(theirs, tmp_path / "file.safetensors")
    mp.load(tmp_path / "file.safetensors", into=model)
    np.testing.assert_allclose(mp.run(model, x), theirs(torch.from_numpy(x)).detach().numpy(), atol=1e-6)


def test_an_nnx_module_in_linen_has_canonical_names_and_layouts():
    x = np.ones((1, 6), np.float32)
    module = Outer()
    net = Linen(module, module.init(jax.random.key(0), x), x)
    assert {name: one.shape for name, one in mp.parameters(net).items()} == {
        "inner.weight": (5, 6),
        "inner.bias": (5,),
    }
    kernel = net.variables["params"]["inner"]["kernel"]
    assert np.array_equal(mp.parameters(net)["inner.weight"].value, np.asarray(linen.meta.unbox(kernel)).T)
