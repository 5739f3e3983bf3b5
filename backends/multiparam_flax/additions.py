"""Modules that NNX itself lacks."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx


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


class SeparableConv(NamedSequential):
    """A depthwise convolution, then one across the channels."""


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
        while self.when_ready:
            self.when_ready[0](self)
            self.when_ready = self.when_ready[1:]  # only now: one that fails is due again
        y = x @ self.kernel[...]
        return y if self.bias is None else y + self.bias[...]


class Lambda(nnx.Module):
    """A function as a layer."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self.function = function

    def __call__(self, x: Any) -> Any:
        return self.function(x)


class GELU(nnx.Module):
    """x Φ(x), or its tanh approximation."""

    def __init__(self, approximate: str = "none") -> None:
        self.approximate = approximate

    def __call__(self, x: Any) -> Any:
        return jax.nn.gelu(x, approximate=self.approximate == "tanh")


class Softmax(nnx.Module):
    """exp(x) divided by its sum along an axis."""

    def __init__(self, dim: int = -1) -> None:
        self.dim = dim

    def __call__(self, x: Any) -> Any:
        return jax.nn.softmax(x, axis=self.dim)


class LogSoftmax(nnx.Module):
    """The logarithm of exp(x) divided by its sum along an axis."""

    def __init__(self, dim: int = -1) -> None:
        self.dim = dim

    def __call__(self, x: Any) -> Any:
        return jax.nn.log_softmax(x, axis=self.dim)


class LeakyReLU(nnx.Module):
    """max(x, 0) + negative_slope · min(x, 0)."""

    def __init__(self, negative_slope: float) -> None:
        self.negative_slope = negative_slope

    def __call__(self, x: Any) -> Any:
        return jax.nn.leaky_relu(x, self.negative_slope)


class ELU(nnx.Module):
    """x above 0, alpha · (exp(x) - 1) below."""

    def __init__(self, alpha: float) -> None:
        self.alpha = alpha

    def __call__(self, x: Any) -> Any:
        return jax.nn.elu(x, self.alpha)


class Activation(nnx.Module):
    """A function of `jax.nn` without settings, as a layer that knows its name.

    Args:
        kind: the canonical kind, `"ReLU"`.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def __call__(self, x: Any) -> Any:
        return getattr(jax.nn, ACTIVATIONS[self.kind])(x)


# the functions of jax.nn (and of nnx and linen, which are the same) that are whole layers elsewhere
ACTIVATIONS: Mapping[str, str] = {
    "ReLU": "relu",
    "ReLU6": "relu6",
    "SELU": "selu",
    "SiLU": "silu",
    "Mish": "mish",
    "Softplus": "softplus",
    "Tanh": "tanh",
    "Sigmoid": "sigmoid",
    "Softsign": "soft_sign",
    "LogSigmoid": "log_sigmoid",
    "Hardtanh": "hard_tanh",
    "Hardsigmoid": "hard_sigmoid",
    "Hardswish": "hard_swish",
}


class Pool(nnx.Module):
    """Pools each window.

    Args:
        kernel_size: the window's extents.
        stride: its steps.
        padding: what is put around the input on both sides.
    """

    def __init__(self, kernel_size: tuple[int, ...], stride: tuple[int, ...], padding: tuple[int, ...]) -> None:
        self.kernel_size, self.stride, self.padding = kernel_size, stride, padding

    def _around(self) -> list[tuple[int, int]]:
        return [(one, one) for one in self.padding]


class MaxPool(Pool):
    """The largest of each window."""

    def __call__(self, x: Any) -> Any:
        return nnx.max_pool(x, self.kernel_size, self.stride, self._around())


class AvgPool(Pool):
    """The mean of each window."""

    def __call__(self, x: Any) -> Any:
        return nnx.avg_pool(x, self.kernel_size, self.stride, self._around())


class GlobalAvgPool(nnx.Module):
    """The mean of each channel, keeping extents of 1.

    Args:
        kind: the canonical kind, `"AdaptiveAvgPool2d"`.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def __call__(self, x: Any) -> Any:
        return x.mean(tuple(range(1, x.ndim - 1)), keepdims=True)


class Flatten(nnx.Module):
    """Everything but the first axis as one, in C, H, W order.

    Attributes:
        channels_last: what comes in is an image with channels last; a Sequential of `multiparam.nn` sees to it.
    """

    def __init__(self) -> None:
        self.channels_last = False

    def orient(self, from_images: bool, to_images: bool) -> None:
        """Says what comes in; what goes out is flat."""
        self.channels_last = from_images

    def __call__(self, x: Any) -> Any:
        x = jnp.moveaxis(x, -1, 1) if self.channels_last else x
        return x.reshape(x.shape[0], math.prod(x.shape[1:]))


class Reshape(nnx.Module):
    """Each sample in another shape, channels first.

    Attributes:
        from_images: what comes in is an image with channels last.
        to_images: what comes out is one; a Sequential of `multiparam.nn` sees to both.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape
        self.to_images = False
        self.from_images = False

    def orient(self, from_images: bool, to_images: bool) -> None:
        """Says what comes in and what goes out."""
        self.from_images, self.to_images = from_images, to_images

    def __call__(self, x: Any) -> Any:
        x = jnp.moveaxis(x, -1, 1) if self.from_images else x
        x = x.reshape(x.shape[0], *self.shape)
        return jnp.moveaxis(x, 1, -1) if self.to_images else x


class Identity(nnx.Module):
    """The input as it is."""

    def __call__(self, x: Any) -> Any:
        return x
