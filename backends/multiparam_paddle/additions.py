"""Layers that Paddle itself lacks, or that are called in another way than PyTorch's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import paddle
from paddle import nn


class Lambda(nn.Layer):
    """A function as a layer."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Any) -> Any:
        """The function's value."""
        return self.function(x)


class Reshape(nn.Layer):
    """Each sample in another shape."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.shape = shape

    def forward(self, x: Any) -> Any:
        """The batch in its new shape."""
        return x.reshape((x.shape[0], *self.shape))


class LazyLinear(nn.Linear):
    """A Linear whose input size is known at the first batch.

    Args:
        out_features: size of the output's last axis.
        bias: whether there is a bias.
    """

    def __init__(self, out_features: int, bias: bool) -> None:
        nn.Layer.__init__(self)  # nn.Linear's own makes the parameters
        self.out_features = out_features
        self.with_bias = bias
        self.name = None
        self.add_parameter("weight", None)
        self.add_parameter("bias", None)
        self.when_ready: tuple[Callable[[Any], None], ...] = ()

    def forward(self, x: Any) -> Any:
        """The product, with parameters made for the first batch."""
        if self.weight is None:
            made = nn.Linear(x.shape[-1], self.out_features, bias_attr=None if self.with_bias else False)
            self.weight, self.bias = made.weight, made.bias
        while self.when_ready:
            self.when_ready[0](self)
            self.when_ready = self.when_ready[1:]  # only now: one that fails is due again
        return super().forward(x)

    def extra_repr(self) -> str:
        """The sizes that are known."""
        return f"out_features={self.out_features}"


class LayerNorm(nn.LayerNorm):
    """A layer norm with any epsilon; Paddle's own kernel takes none above 1e-3."""

    def forward(self, x: Any) -> Any:
        """The normalized, scaled and shifted input."""
        if self._epsilon <= 1e-3:
            return super().forward(x)
        apart = x - x.mean(-1, keepdim=True)
        normal = apart * paddle.rsqrt((apart * apart).mean(-1, keepdim=True) + self._epsilon) * self.weight
        return normal if self.bias is None else normal + self.bias


class RMSNorm(nn.Layer):
    """The last axis divided by its root mean square, then scaled."""

    def __init__(self, normalized_shape: int, eps: float) -> None:
        super().__init__()
        self.weight = self.create_parameter([normalized_shape], default_initializer=nn.initializer.Constant(1.0))
        self.eps = eps

    def forward(self, x: Any) -> Any:
        """The scaled quotient."""
        return x * paddle.rsqrt((x * x).mean(-1, keepdim=True) + self.eps) * self.weight


class SeparableConv(nn.Sequential):
    """A depthwise convolution, then one across the channels."""


class RNNCell(nn.SimpleRNNCell):
    """A cell that gives its new state only, as PyTorch's does."""

    def forward(self, inputs: Any, states: Any = None) -> Any:
        """The new state."""
        return super().forward(inputs, states)[1]


class LSTMCell(nn.LSTMCell):
    """A cell that gives its new states only, as PyTorch's does."""

    def forward(self, inputs: Any, states: Any = None) -> Any:
        """The new state and cell."""
        return super().forward(inputs, states)[1]


class GRUCell(nn.GRUCell):
    """A cell that gives its new state only, as PyTorch's does."""

    def forward(self, inputs: Any, states: Any = None) -> Any:
        """The new state."""
        return super().forward(inputs, states)[1]


class Attention(nn.MultiHeadAttention):
    """Attention called as PyTorch's is: query, key, value to the output and the heads' mean weights.

    Args:
        batch_first: inputs and outputs are (batch, time, features), not (time, batch, features).
        **options: as for `nn.MultiHeadAttention`.
    """

    def __init__(self, *, batch_first: bool, **options: Any) -> None:
        super().__init__(need_weights=True, **options)
        self.batch_first = batch_first

    def forward(self, query: Any, key: Any = None, value: Any = None, attn_mask: Any = None, cache: Any = None) -> Any:
        """The output and the weights."""
        given = [query, query if key is None else key, query if value is None else value]
        if not self.batch_first:
            given = [one.transpose([1, 0, 2]) for one in given]
        out, weights, *rest = super().forward(*given, attn_mask, cache)
        out = out if self.batch_first else out.transpose([1, 0, 2])
        return (out, weights.mean(1), *rest)
