"""Layers on numpy arrays. Subclass `Module` for your own: its `Variable` attributes are its parameters."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np


class Variable:
    """A parameter: an array that layers may share.

    Attributes:
        value: the array.
        trainable: a mark for whoever trains; nothing here does.
    """

    def __init__(self, value: Any, trainable: bool = True) -> None:
        self.value = np.array(value)
        self.trainable = trainable

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.value!r})"


class Buffer(Variable):
    """State that is no parameter: running statistics, counters."""

    def __init__(self, value: Any) -> None:
        super().__init__(value, trainable=False)


class TransposedVariable:
    """Another layer's variable with its axes in another order."""

    def __init__(self, variable: Variable, axes: tuple[int, ...]) -> None:
        self.variable = variable
        self.axes = axes

    @property
    def value(self) -> Any:
        """The transposed array, a view."""
        return self.variable.value.transpose(self.axes)


class Module:
    """A layer or model: define `forward`, and put variables and modules into attributes, lists and dicts."""

    def forward(self, *inputs: Any) -> Any:
        """The outputs for numpy inputs."""
        raise NotImplementedError(f"{type(self).__name__} defines no forward")

    def __call__(self, *inputs: Any) -> Any:
        return self.forward(*inputs)


class Sequential(Module):
    """Modules applied one after the other, by name or position."""

    def __init__(self, *layers: Module, **named: Module) -> None:
        self.layers: dict[str, Module] = {str(index): layer for index, layer in enumerate(layers)} | named

    @classmethod
    def of(cls, children: Mapping[str, Module]) -> Sequential:
        """From names that need not be identifiers."""
        made = cls()
        made.layers = dict(children)
        return made

    def forward(self, x: Any) -> Any:
        for layer in self.layers.values():
            x = layer(x)
        return x

    def __getitem__(self, key: int | str) -> Module:
        return self.layers[key] if isinstance(key, str) else list(self.layers.values())[key]

    def __iter__(self) -> Iterator[Module]:
        return iter(self.layers.values())

    def __len__(self) -> int:
        return len(self.layers)


class Linear(Module):
    """y = x Wᵀ + b."""

    def __init__(self, in_features: int | None, out_features: int, bias: bool = True) -> None:
        self.out_features = out_features
        self.weight: Variable | None = None
        self.bias: Variable | None = None
        self.has_bias = bias
        if in_features is not None:
            self.build(in_features)

    def build(self, in_features: int) -> None:
        """Makes the parameters: U(±1/√in_features), from numpy's global generator."""
        bound = 1 / math.sqrt(in_features)
        self.weight = Variable(_uniform(bound, (self.out_features, in_features)))
        self.bias = Variable(_uniform(bound, (self.out_features,))) if self.has_bias else None

    def forward(self, x: Any) -> Any:
        y = x @ self.weight.value.T
        return y if self.bias is None else y + self.bias.value


class LazyLinear(Linear):
    """A Linear whose input size is known at the first batch."""

    def __init__(self, out_features: int, bias: bool = True) -> None:
        self.when_ready: list[Callable[[Any], None]] = []
        super().__init__(None, out_features, bias)

    def forward(self, x: Any) -> Any:
        if self.weight is None:
            self.build(x.shape[-1])
        self._carry_out()
        return super().forward(x)

    def build(self, in_features: int) -> None:
        """Makes the parameters, and carries out what was waiting for them."""
        super().build(in_features)
        self._carry_out()

    def _carry_out(self) -> None:
        while self.when_ready:
            self.when_ready[0](self)
            self.when_ready.pop(0)  # only now: one that fails is due again


class Embedding(Module):
    """A table of vectors looked up by integers."""

    def __init__(self, num_embeddings: int, embedding_dim: int) -> None:
        self.weight = Variable(np.random.standard_normal((num_embeddings, embedding_dim)).astype(np.float32))

    def forward(self, x: Any) -> Any:
        return self.weight.value[x]


class LayerNorm(Module):
    """Normalizes the last axis."""

    def __init__(self, normalized_shape: int, eps: float = 1e-5, bias: bool = True) -> None:
        self.weight = Variable(np.ones(normalized_shape, np.float32))
        self.bias = Variable(np.zeros(normalized_shape, np.float32)) if bias else None
        self.eps = eps

    def forward(self, x: Any) -> Any:
        centred = x - x.mean(-1, keepdims=True)
        scale = np.sqrt(np.mean(centred * centred, -1, keepdims=True) + np.asarray(self.eps, x.dtype))
        y = centred / scale * self.weight.value
        return y if self.bias is None else y + self.bias.value


class Lambda(Module):
    """A function as a layer."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self.function = function

    def forward(self, x: Any) -> Any:
        return self.function(x)


class ReLU(Module):
    """max(x, 0)."""

    def forward(self, x: Any) -> Any:
        return np.maximum(x, 0)


class GELU(Module):
    """x Φ(x), or its tanh approximation."""

    def __init__(self, approximate: str = "none") -> None:
        self.approximate = approximate

    def forward(self, x: Any) -> Any:
        if self.approximate == "tanh":
            inner = math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)
            return (0.5 * x * (1 + np.tanh(inner))).astype(x.dtype)
        phi = np.vectorize(math.erf, otypes=[np.float64])(x / math.sqrt(2)) if x.size else x
        return (0.5 * x * (1 + phi)).astype(x.dtype)


class Tanh(Module):
    """The hyperbolic tangent."""

    def forward(self, x: Any) -> Any:
        return np.tanh(x)


class Sigmoid(Module):
    """1 / (1 + exp(-x)), without overflow."""

    def forward(self, x: Any) -> Any:
        small = np.exp(-np.abs(x))
        return np.where(x >= 0, 1, small) / (1 + small)


class Softmax(Module):
    """exp(x) divided by its sum along an axis."""

    def __init__(self, dim: int = -1) -> None:
        self.dim = dim

    def forward(self, x: Any) -> Any:
        exponential = np.exp(x - x.max(self.dim, keepdims=True))
        return exponential / exponential.sum(self.dim, keepdims=True)


class ReLU6(Module):
    """min(max(x, 0), 6)."""

    def forward(self, x: Any) -> Any:
        return np.clip(x, 0, 6)


class LeakyReLU(Module):
    """max(x, 0) + negative_slope · min(x, 0)."""

    def __init__(self, negative_slope: float = 0.01) -> None:
        self.negative_slope = negative_slope

    def forward(self, x: Any) -> Any:
        return np.where(x >= 0, x, x * np.asarray(self.negative_slope, x.dtype))


class ELU(Module):
    """x above 0, alpha · (exp(x) - 1) below."""

    def __init__(self, alpha: float = 1.0) -> None:
        self.alpha = alpha

    def forward(self, x: Any) -> Any:
        return np.where(x >= 0, x, np.asarray(self.alpha, x.dtype) * np.expm1(np.minimum(x, 0)))


class SELU(Module):
    """A scaled ELU that keeps mean and variance."""

    def forward(self, x: Any) -> Any:
        below = 1.6732632423543772 * np.expm1(np.minimum(x, 0))
        return (1.0507009873554805 * np.where(x >= 0, x, below)).astype(x.dtype)


class Softplus(Module):
    """log(1 + exp(x)), without overflow."""

    def forward(self, x: Any) -> Any:
        return np.logaddexp(x, np.zeros((), x.dtype))


class SiLU(Sigmoid):
    """x times its sigmoid."""

    def forward(self, x: Any) -> Any:
        return x * super().forward(x)


class Mish(Softplus):
    """x · tanh(softplus(x))."""

    def forward(self, x: Any) -> Any:
        return x * np.tanh(super().forward(x))


class LogSoftmax(Module):
    """The logarithm of exp(x) divided by its sum along an axis."""

    def __init__(self, dim: int = -1) -> None:
        self.dim = dim

    def forward(self, x: Any) -> Any:
        shifted = x - x.max(self.dim, keepdims=True)
        return shifted - np.log(np.exp(shifted).sum(self.dim, keepdims=True))


class Reshape(Module):
    """Each sample of the batch in another shape."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape

    def forward(self, x: Any) -> Any:
        return x.reshape(x.shape[0], *self.shape)


class Flatten(Module):
    """Everything but the first axis as one."""

    def forward(self, x: Any) -> Any:
        return x.reshape(x.shape[0], math.prod(x.shape[1:]))


class Dropout(Module):
    """The input as it is, since this backend does not train."""

    def __init__(self, p: float = 0.5) -> None:
        self.p = p

    def forward(self, x: Any) -> Any:
        return x


class Identity(Module):
    """The input as it is."""

    def forward(self, x: Any) -> Any:
        return x


def _uniform(bound: float, shape: tuple[int, ...]) -> Any:
    return np.random.uniform(-bound, bound, shape).astype(np.float32)
