"""Flax NNX's layer table, and the small modules that NNX itself lacks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from multiparam.adapter import (
    At,
    Flip,
    Insert,
    LayerTable,
    Row,
    Setting,
    Source,
    Transpose,
    Transposed,
    out_in_first,
)

_LINEAR = {"weight": Transposed("kernel"), "bias": At("bias")}
_AFFINE = {"weight": At("scale"), "bias": At("bias")}
_STATISTICS = {"running_mean": At("mean"), "running_var": At("var")}
_COUNT = {"num_batches_tracked": np.zeros((), np.int64)}


class NamedSequential(nnx.Module):
    """Modules applied one after the other, with names; `nnx.Sequential` knows positions only.

    Args:
        children: the modules by name, in order.
    """

    def __init__(self, children: Mapping[str, Any]) -> None:
        self.names = tuple(children)
        self.layers = nnx.List(children.values())

    def __call__(self, x: Any) -> Any:
        for layer in self.layers:
            x = layer(x)
        return x

    def __getitem__(self, key: int | str) -> Any:
        return self.layers[self.names.index(key) if isinstance(key, str) else key]

    def __len__(self) -> int:
        return len(self.names)


class LazyLinear(nnx.Module):
    """A Linear whose input size is known at the first batch.

    Args:
        out_features: size of the output's last axis.
        use_bias: whether there is a bias.
        rngs: for the parameters' first numbers.
    """

    def __init__(self, out_features: int, *, use_bias: bool = True, rngs: nnx.Rngs) -> None:
        self.out_features = out_features
        self.use_bias = use_bias
        self.kernel: nnx.Param[Any] | None = nnx.data(None)
        self.bias: nnx.Param[Any] | None = nnx.data(None)
        self.seed = int(jax.random.bits(rngs.params()))
        self.when_ready: tuple[Callable[[Any], None], ...] = ()

    def __call__(self, x: Any) -> Any:
        if self.kernel is None:
            made = nnx.Linear(x.shape[-1], self.out_features, use_bias=self.use_bias, rngs=nnx.Rngs(self.seed))
            self.kernel, self.bias = made.kernel, made.bias
            waiting, self.when_ready = self.when_ready, ()
            for call in waiting:
                call(self)
        y = x @ self.kernel[...]
        return y if self.bias is None else y + self.bias[...]


class Lambda(nnx.Module):
    """A function as a layer."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self.function = function

    def __call__(self, x: Any) -> Any:
        return self.function(x)


class ReLU(nnx.Module):
    """max(x, 0)."""

    def __call__(self, x: Any) -> Any:
        return jax.nn.relu(x)


class GELU(nnx.Module):
    """x Φ(x), or its tanh approximation."""

    def __init__(self, approximate: str = "none") -> None:
        self.approximate = approximate

    def __call__(self, x: Any) -> Any:
        return jax.nn.gelu(x, approximate=self.approximate == "tanh")


class Tanh(nnx.Module):
    """The hyperbolic tangent."""

    def __call__(self, x: Any) -> Any:
        return jnp.tanh(x)


class Sigmoid(nnx.Module):
    """1 / (1 + exp(-x))."""

    def __call__(self, x: Any) -> Any:
        return jax.nn.sigmoid(x)


class Softmax(nnx.Module):
    """exp(x) divided by its sum along an axis."""

    def __init__(self, dim: int = -1) -> None:
        self.dim = dim

    def __call__(self, x: Any) -> Any:
        return jax.nn.softmax(x, axis=self.dim)


class Flatten(nnx.Module):
    """Everything but the first axis as one."""

    def __call__(self, x: Any) -> Any:
        return x.reshape(x.shape[0], -1)


class Identity(nnx.Module):
    """The input as it is."""

    def __call__(self, x: Any) -> Any:
        return x


def table() -> LayerTable:
    """The rows."""
    plain = (Lambda, ReLU, Tanh, Sigmoid, Softmax, Flatten, Identity)
    return LayerTable(
        [
            Row("Sequential", nnx.Sequential, builds={"Sequential": _sequential}),
            Row("Sequential", NamedSequential),
            Row("Linear", nnx.Linear, _LINEAR, builds={"Linear": _linear}),
            Row("Linear", LazyLinear, _LINEAR, lazy=_lazy_linear, builds={"LazyLinear": _build_lazy_linear}),
            Row("Embedding", nnx.Embed, {"weight": At("embedding")}, builds={"Embedding": _embedding}),
            Row(
                "LayerNorm",
                nnx.LayerNorm,
                _AFFINE,
                settings=_norm,
                builds={"LayerNorm": _layer_norm},
            ),
            Row(_ranked("Conv"), nnx.Conv, _conv),
            Row(_ranked("ConvTranspose"), nnx.ConvTranspose, _conv_transpose),
            Row("BatchNorm", nnx.BatchNorm, _AFFINE, _STATISTICS, file_only=_COUNT, settings=_norm),
            Row("GroupNorm", nnx.GroupNorm, _AFFINE, settings=_norm),
            Row("InstanceNorm", nnx.InstanceNorm, _AFFINE, settings=_norm),
            Row("RMSNorm", nnx.RMSNorm, _AFFINE, settings=_norm),
            Row("PReLU", nnx.PReLU, {"weight": At("negative_slope", Insert(0))}),
            Row("Dropout", nnx.Dropout, builds={"Dropout": lambda p: nnx.Dropout(p, rngs=_rngs())}),
            Row("GELU", GELU, settings=lambda native: {"approximate": native.approximate}, builds={"GELU": GELU}),
            *(Row(layer.__name__, layer, builds={layer.__name__: layer}) for layer in plain),
        ]
    )


def _norm(native: Any) -> dict[str, Setting]:
    momentum = getattr(native, "momentum", None)  # of the old statistics, where PyTorch's is of the new
    return {"eps": native.epsilon} | ({"momentum": 1 - momentum} if momentum is not None else {})


def _ranked(name: str) -> Callable[[Any], str]:
    return lambda native: f"{name}{len(native.kernel_size)}d"


def _conv(native: nnx.Conv) -> dict[str, Source]:
    return {"weight": At("kernel", axes=out_in_first(len(native.kernel_size) + 2)), "bias": At("bias")}


def _conv_transpose(native: nnx.ConvTranspose) -> dict[str, Source]:
    rank = len(native.kernel_size)
    if native.transpose_kernel:  # (k, O, I), as the gradient of a convolution has it
        return {"weight": At("kernel", axes=out_in_first(rank + 2)), "bias": At("bias")}
    # (k, I, O), and the kernel of a correlation, back to front of PyTorch's
    axes = Transpose((rank, rank + 1, *range(rank)))
    return {"weight": At("kernel", axes, Flip(tuple(range(2, rank + 2)))), "bias": At("bias")}


def _rngs() -> nnx.Rngs:
    # NNX has no global generator; numpy's makes layers differ, and np.random.seed makes them reproducible
    return nnx.Rngs(int(np.random.randint(2**31)))


def _sequential(children: Mapping[str, Any], named: bool) -> nnx.Module:
    return NamedSequential(children) if named else nnx.Sequential(*children.values())


def _linear(in_features: int, out_features: int, bias: bool) -> nnx.Linear:
    return nnx.Linear(in_features, out_features, use_bias=bias, rngs=_rngs())


def _build_lazy_linear(out_features: int, bias: bool) -> LazyLinear:
    return LazyLinear(out_features, use_bias=bias, rngs=_rngs())


def _lazy_linear(native: LazyLinear) -> dict[str, tuple[int | None, ...]]:
    if native.kernel is not None:
        return {}
    roles: dict[str, tuple[int | None, ...]] = {"weight": (native.out_features, None)}
    return roles | ({"bias": (native.out_features,)} if native.use_bias else {})


def _embedding(num_embeddings: int, embedding_dim: int) -> nnx.Embed:
    return nnx.Embed(num_embeddings, embedding_dim, rngs=_rngs())


def _layer_norm(normalized_shape: int, eps: float, bias: bool) -> nnx.LayerNorm:
    return nnx.LayerNorm(normalized_shape, epsilon=eps, use_bias=bias, rngs=_rngs())
