"""The conformance kit on Flax NNX, and what only Flax has."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from multiparam_flax.layers import LazyLinear  # NNX has none of its own

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
