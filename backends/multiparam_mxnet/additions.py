"""Blocks that Gluon itself lacks, or that are called in another way than PyTorch's layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mxnet import gluon, ndarray, symbol
from mxnet.gluon import nn
from mxnet.util import is_np_array

__all__ = [
    "Attention",
    "Bilinear",
    "Function",
    "GroupNorm",
    "Identity",
    "InstanceNorm",
    "Legacy",
    "RMSNorm",
    "Reshape",
    "SeparableConv",
    "Softmax",
]


class Legacy(gluon.HybridBlock):
    """A block that computes with the operators of `mx.nd`, under `npx.set_np()` too, where some have no other form."""

    def hybrid_forward(self, F: Any, *inputs: Any, **parameters: Any) -> Any:
        """The output in the form of the inputs."""
        if not is_np_array():
            return self.compute(F, *inputs, **parameters)
        plain = {name: as_legacy(one) for name, one in parameters.items()}
        return as_numpy(self.compute(F, *as_legacy(list(inputs)), **plain))

    def compute(self, F: Any, *inputs: Any, **parameters: Any) -> Any:
        """The output, from and to what `F`, `mx.nd` or `mx.sym`, computes with."""
        raise NotImplementedError


def as_legacy(given: Any) -> Any:
    """Arrays or symbols of `mx.nd`, in lists too."""
    return _converted(given, lambda one: one.as_nd_ndarray())


def as_numpy(given: Any) -> Any:
    """Arrays or symbols of `mx.np`, in lists too."""
    return _converted(given, lambda one: one.as_np_ndarray())


def _converted(given: Any, convert: Callable[[Any], Any]) -> Any:
    if isinstance(given, (list, tuple)):
        return type(given)(_converted(one, convert) for one in given)
    return convert(given) if isinstance(given, (ndarray.NDArray, symbol.Symbol)) else given


class Function(Legacy):
    """A function without parameters as a layer that knows its kind.

    Args:
        kind: the canonical kind, `"Mish"`.
        function: of `F` and the input.
    """

    def __init__(self, kind: str, function: Callable[[Any, Any], Any]) -> None:
        super().__init__()
        self.kind, self.function = kind, function

    def compute(self, F: Any, x: Any) -> Any:
        """The function's value."""
        return self.function(F, x)


class Softmax(Legacy):
    """exp(x) divided by its sum along an axis, or the logarithm of that.

    Args:
        dim: the axis.
        kind: `"Softmax"` or `"LogSoftmax"`.
    """

    def __init__(self, dim: int, kind: str) -> None:
        super().__init__()
        self.dim, self.kind = dim, kind

    def compute(self, F: Any, x: Any) -> Any:
        """The quotient or its logarithm."""
        return (F.softmax if self.kind == "Softmax" else F.log_softmax)(x, axis=self.dim)


class Identity(gluon.HybridBlock):
    """The input as it is."""

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        """The input."""
        return x


class Reshape(Legacy):
    """Each sample in another shape."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.shape = shape

    def compute(self, F: Any, x: Any) -> Any:
        """The batch in its new shape."""
        return F.reshape(x, (-1, *self.shape))


class InstanceNorm(Legacy, nn.InstanceNorm):
    """An instance norm for both interfaces; Gluon's own refuses arrays of `mx.np`."""

    def compute(self, F: Any, x: Any, gamma: Any, beta: Any) -> Any:
        """The normalized input."""
        return nn.InstanceNorm.hybrid_forward(self, F, x, gamma, beta)


class GroupNorm(Legacy):
    """A group norm that scales and shifts each channel; Gluon's own has one scale for a group.

    Args:
        num_groups: in how many groups the channels are normalized.
        num_channels: how many there are.
        eps: added to the variance.
    """

    def __init__(self, num_groups: int, num_channels: int, eps: float) -> None:
        super().__init__()
        self.num_groups, self.num_channels, self.eps = num_groups, num_channels, eps
        self.gamma = self.params.get("gamma", shape=(num_channels,), init="ones")
        self.beta = self.params.get("beta", shape=(num_channels,), init="zeros")

    def compute(self, F: Any, x: Any, gamma: Any, beta: Any) -> Any:
        """The normalized input."""
        grouped = F.reshape(x, (0, self.num_groups, -1))
        apart = F.broadcast_sub(grouped, F.mean(grouped, axis=2, keepdims=True))
        scale = F.rsqrt(F.mean(F.square(apart), axis=2, keepdims=True) + self.eps)
        normal = F.reshape(F.reshape_like(F.broadcast_mul(apart, scale), x), (0, self.num_channels, -1))
        scaled = F.broadcast_mul(normal, F.reshape(gamma, (1, -1, 1)))
        return F.reshape_like(F.broadcast_add(scaled, F.reshape(beta, (1, -1, 1))), x)


class RMSNorm(Legacy):
    """The last axis divided by its root mean square, then scaled."""

    def __init__(self, normalized_shape: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = self.params.get("weight", shape=(normalized_shape,), init="ones")

    def compute(self, F: Any, x: Any, weight: Any) -> Any:
        """The scaled quotient."""
        scale = F.rsqrt(F.mean(F.square(x), axis=-1, keepdims=True) + self.eps)
        return F.broadcast_mul(F.broadcast_mul(x, scale), weight)


class Bilinear(Legacy):
    """The bilinear form of two inputs."""

    def __init__(self, in1_features: int, in2_features: int, out_features: int, bias: bool) -> None:
        super().__init__()
        self.sizes = in1_features, in2_features, out_features
        self.weight = self.params.get("weight", shape=(out_features, in1_features, in2_features))
        self.bias = self.params.get("bias", shape=(out_features,), init="zeros") if bias else None

    def compute(self, F: Any, x1: Any, x2: Any, weight: Any, bias: Any = None) -> Any:
        """x₁ᵀ W x₂ + b."""
        first, second, out = self.sizes
        columns, lines = F.reshape(x1, (-1, first, 1)), F.reshape(x2, (-1, 1, second))
        products = F.reshape(F.batch_dot(columns, lines), (-1, first * second))
        flat = F.reshape(weight, (out, -1))
        found = F.FullyConnected(products, flat, bias, num_hidden=out, no_bias=bias is None)
        return F.reshape_like(found, x1, lhs_begin=0, lhs_end=1, rhs_begin=0, rhs_end=-1)


class SeparableConv(nn.HybridSequential):
    """A depthwise convolution, then one across the channels."""


class Attention(Legacy):
    """Attention as PyTorch has it: its parameters, and how it is called.

    Args:
        embed_dim: size of queries and outputs.
        num_heads: how many heads share it.
        dropout: of the weights, in training.
        bias: whether the projections have biases.
        kdim: size of the keys.
        vdim: size of the values.
        batch_first: inputs and outputs are (batch, time, features), not (time, batch, features).
    """

    def __init__(
        self, embed_dim: int, num_heads: int, dropout: float, bias: bool, kdim: int, vdim: int, batch_first: bool
    ) -> None:
        super().__init__()
        self.embed_dim, self.num_heads, self.dropout, self.batch_first = embed_dim, num_heads, dropout, batch_first
        if kdim == vdim == embed_dim:
            self.in_proj_weight = self.params.get("in_proj_weight", shape=(3 * embed_dim, embed_dim))
        else:
            for letter, size in zip("qkv", (embed_dim, kdim, vdim), strict=True):
                name = f"{letter}_proj_weight"
                setattr(self, name, self.params.get(name, shape=(embed_dim, size)))
        if bias:
            self.in_proj_bias = self.params.get("in_proj_bias", shape=(3 * embed_dim,), init="zeros")
        with self.name_scope():
            self.out_proj = nn.Dense(embed_dim, in_units=embed_dim, flatten=False, use_bias=bias)

    def hybrid_forward(self, F: Any, *inputs: Any, **parameters: Any) -> Any:
        """The output and the heads' mean weights."""
        heads, weights = super().hybrid_forward(F, *inputs, **parameters)
        out = self.out_proj(heads)
        return out if self.batch_first else out.swapaxes(0, 1), weights

    def compute(self, F: Any, query: Any, key: Any, value: Any, **parameters: Any) -> Any:
        """The heads' outputs behind each other, (batch, time, features), and their mean weights."""
        given = [query, key, value] if self.batch_first else [F.swapaxes(one, 0, 1) for one in (query, key, value)]
        q, k, v = (self._heads(F, one, *self._projection(F, place, parameters)) for place, one in enumerate(given))
        scores = F.batch_dot(q, k, transpose_b=True) * (self.embed_dim // self.num_heads) ** -0.5
        weights = F.Dropout(F.softmax(scores, axis=-1), p=self.dropout)
        out = F.reshape(F.batch_dot(weights, v), (-4, -1, self.num_heads, 0, 0))
        mean = F.mean(F.reshape(weights, (-4, -1, self.num_heads, 0, 0)), axis=1)
        return [F.reshape(F.transpose(out, (0, 2, 1, 3)), (0, 0, -1)), mean]

    def _projection(self, F: Any, place: int, parameters: dict[str, Any]) -> tuple[Any, Any]:
        """Weight and bias of the query's, key's or value's projection."""
        first, last = place * self.embed_dim, (place + 1) * self.embed_dim
        weight = parameters.get(f"{'qkv'[place]}_proj_weight")
        if weight is None:
            weight = F.slice_axis(parameters["in_proj_weight"], axis=0, begin=first, end=last)
        bias = parameters.get("in_proj_bias")
        return weight, None if bias is None else F.slice_axis(bias, axis=0, begin=first, end=last)

    def _heads(self, F: Any, x: Any, weight: Any, bias: Any) -> Any:
        """The projected sequence, (batch · heads, time, size)."""
        options = {"num_hidden": self.embed_dim, "flatten": False, "no_bias": bias is None}
        split = F.reshape(F.FullyConnected(x, weight, bias, **options), (0, 0, self.num_heads, -1))
        return F.reshape(F.transpose(split, (0, 2, 1, 3)), (-3, 0, 0))
