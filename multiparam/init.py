"""Initialization rules.

A rule turns a seed, a parameter's name and its canonical shape into numbers, the same bits in every framework: the
numbers are drawn in float32 and converted to the parameter's dtype, so that a model has the same initialization in
every precision.
"""

from __future__ import annotations

import inspect
import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from .errors import ArgumentError, MismatchError, MismatchReport
from .kinds import fans
from .layout import Array, Shape
from .rng import fill, generator

if TYPE_CHECKING:
    from .parameter import Parameter

__all__ = [
    "Constant",
    "Custom",
    "KaimingNormal",
    "KaimingUniform",
    "Normal",
    "Ones",
    "Rule",
    "RuleLike",
    "Uniform",
    "XavierNormal",
    "XavierUniform",
    "Zeros",
    "as_rule",
]

Mode = Literal["fan_in", "fan_out"]


class Rule(ABC):
    """How a parameter's first numbers are made."""

    @abstractmethod
    def values(self, seed: int, name: str, shape: Shape, parameter: Parameter | None = None) -> Array:
        """The numbers, a fresh array of the given shape.

        Args:
            seed: a non-negative integer.
            name: the canonical name; with the seed it decides the random numbers.
            shape: the canonical shape.
            parameter: the parameter they are for, where there is one.
        """

    def check(self, shape: Shape) -> None:
        """Raises ArgumentError if the rule is undefined for a shape; most are defined for all."""
        return

    @property
    def eager(self) -> bool:
        """Whether only trying can tell that the rule works, so that its numbers are made before the first write.

        It costs memory for all of them at once; the rules of this module do without.
        """
        return True

    def __repr__(self) -> str:
        arguments = ", ".join(f"{key}={value!r}" for key, value in vars(self).items())
        return f"{type(self).__name__}({arguments})"

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash((type(self), tuple(vars(self).values())))


class _BuiltIn(Rule):
    @property
    def eager(self) -> bool:
        return False


class Constant(_BuiltIn):
    """Every element the same.

    Args:
        value: the number.

    >>> Constant(42).values(0, "w", (2,))
    array([42., 42.])
    """

    def __init__(self, value: float) -> None:
        self.value = _number("value", value)

    def values(self, seed: int, name: str, shape: Shape, parameter: Parameter | None = None) -> Array:
        return np.full(shape, self.value, np.float64)


class Zeros(Constant):
    """Zeros."""

    def __init__(self) -> None:
        super().__init__(0.0)

    def __repr__(self) -> str:
        return "Zeros()"


class Ones(Constant):
    """Ones."""

    def __init__(self) -> None:
        super().__init__(1.0)

    def __repr__(self) -> str:
        return "Ones()"


class Uniform(_BuiltIn):
    """Uniform on [low, high).

    Args:
        low: the lower bound.
        high: the upper bound.

    >>> Uniform(-1, 1).values(0, "0.weight", (3,))
    array([-0.35017478, -0.3116678 ,  0.8889729 ], dtype=float32)
    """

    def __init__(self, low: float = 0.0, high: float = 1.0) -> None:
        self.low = _number("low", low)
        self.high = _number("high", high)
        if self.low > self.high:
            raise ArgumentError(f"low must not exceed high, and {low} > {high}")
        if self.high - self.low > float(np.finfo(np.float32).max):
            raise ArgumentError(f"{low} to {high} is wider than float32")

    def values(self, seed: int, name: str, shape: Shape, parameter: Parameter | None = None) -> Array:
        return _uniform(seed, name, shape, self.low, self.high)


class Normal(_BuiltIn):
    """Normally distributed.

    Args:
        std: the standard deviation.
        mean: the mean.

    >>> Normal(std=0.01).values(0, "0.weight", (3,))
    array([-0.01120714, -0.00466085, -0.01977169], dtype=float32)
    """

    def __init__(self, std: float = 1.0, mean: float = 0.0) -> None:
        self.std = _number("std", std)
        self.mean = _number("mean", mean)
        if self.std < 0:
            raise ArgumentError(f"std must not be negative, and is {std}")

    def values(self, seed: int, name: str, shape: Shape, parameter: Parameter | None = None) -> Array:
        return _normal(seed, name, shape, self.std, self.mean)


class _Scaled(_BuiltIn):
    """A distribution whose spread follows from the shape's fans."""

    @abstractmethod
    def std(self, shape: Shape) -> float:
        """The standard deviation for a canonical shape."""

    def check(self, shape: Shape) -> None:
        fans(shape)


class _ScaledUniform(_Scaled):
    def values(self, seed: int, name: str, shape: Shape, parameter: Parameter | None = None) -> Array:
        bound = math.sqrt(3.0) * self.std(shape)
        return _uniform(seed, name, shape, -bound, bound)


class _ScaledNormal(_Scaled):
    def values(self, seed: int, name: str, shape: Shape, parameter: Parameter | None = None) -> Array:
        return _normal(seed, name, shape, self.std(shape), 0.0)


class _Xavier(_Scaled):
    def __init__(self, gain: float = 1.0) -> None:
        self.gain = _number("gain", gain)

    def std(self, shape: Shape) -> float:
        both = fans(shape)
        return self.gain * math.sqrt(2.0 / max(1, both.fan_in + both.fan_out))


class XavierUniform(_Xavier, _ScaledUniform):
    """Uniform with variance gain² · 2 / (fan_in + fan_out) (Glorot and Bengio, 2010).

    Args:
        gain: a factor of the bound.
    """


class XavierNormal(_Xavier, _ScaledNormal):
    """Normal with variance gain² · 2 / (fan_in + fan_out) (Glorot and Bengio, 2010).

    Args:
        gain: a factor of the standard deviation.
    """


class _Kaiming(_Scaled):
    def __init__(self, a: float = 0.0, mode: Mode = "fan_in", nonlinearity: str = "leaky_relu") -> None:
        self.a = _number("a", a)
        if mode not in ("fan_in", "fan_out"):
            raise ArgumentError(f"mode is 'fan_in' or 'fan_out', not {mode!r}")
        if nonlinearity not in _GAINS:
            raise ArgumentError(f"nonlinearity is one of {', '.join(sorted(_GAINS))}, not {nonlinearity!r}")
        self.mode: Mode = mode
        self.nonlinearity = nonlinearity

    def std(self, shape: Shape) -> float:
        both = fans(shape)
        fan = both.fan_in if self.mode == "fan_in" else both.fan_out
        return _GAINS[self.nonlinearity](self.a) / math.sqrt(max(1, fan))


class KaimingUniform(_Kaiming, _ScaledUniform):
    """Uniform with variance gain² / fan (He et al., 2015).

    Args:
        a: the negative slope of a leaky ReLU.
        mode: `"fan_in"` keeps the forward pass's variance, `"fan_out"` the backward pass's.
        nonlinearity: what follows the layer, by PyTorch's names; it decides the gain.
    """


class KaimingNormal(_Kaiming, _ScaledNormal):
    """Normal with variance gain² / fan (He et al., 2015).

    Args:
        a: the negative slope of a leaky ReLU.
        mode: `"fan_in"` keeps the forward pass's variance, `"fan_out"` the backward pass's.
        nonlinearity: what follows the layer, by PyTorch's names; it decides the gain.
    """


class Custom(Rule):
    """A function of yours as a rule.

    Args:
        function: called by keyword with those of `shape` (the canonical shape), `rng` (a numpy Generator that
            depends on seed and name) and `param` (the `Parameter`) that it has arguments for; a function with other
            argument names is called as `function(shape, rng)`. It returns an array of that shape.

    Raises:
        ArgumentError: the function takes other arguments.
        MismatchError: (when used) it returns another shape, or no numbers.

    >>> Custom(lambda shape, rng: rng.integers(0, 9, shape)).values(0, "w", (3,)).shape
    (3,)
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self._keywords = _keywords(function)

    def values(self, seed: int, name: str, shape: Shape, parameter: Parameter | None = None) -> Array:
        given = {"shape": shape, "rng": generator(seed, name), "param": parameter}
        if self._keywords is None:
            made = self.function(given["shape"], given["rng"])
        else:
            made = self.function(**{key: given[key] for key in self._keywords})
        array = np.asarray(made)
        if array.shape != shape:
            raise MismatchError(
                f"the initializer {_name(self.function)} made another shape",
                MismatchReport(misshaped=[(name, shape, array.shape)]),
            )
        return array

    def __repr__(self) -> str:
        return _name(self.function)


RuleLike = Rule | Callable[..., Any]


def as_rule(given: Any) -> Rule:
    """A rule, or a function as a rule.

    Raises:
        ArgumentError: it is neither.
    """
    if isinstance(given, Rule):
        return given
    if isinstance(given, type) and issubclass(given, Rule):
        raise ArgumentError(f"an initializer is a rule, not its class: write {given.__name__}(...)")
    if callable(given):
        return Custom(given)
    raise ArgumentError(
        f"an initializer is a rule of multiparam.init or a function of (shape, rng), not {given!r}"
        + ("; for a number write multiparam.init.Constant(...)" if isinstance(given, (int, float)) else "")
    )


# PyTorch's torch.nn.init.calculate_gain
_GAINS: dict[str, Callable[[float], float]] = {
    "linear": lambda a: 1.0,
    "sigmoid": lambda a: 1.0,
    "tanh": lambda a: 5.0 / 3.0,
    "relu": lambda a: math.sqrt(2.0),
    "leaky_relu": lambda a: math.sqrt(2.0 / (1.0 + a * a)),
    "selu": lambda a: 0.75,
}


def _uniform(seed: int, name: str, shape: Shape, low: float, high: float) -> Array:
    scale, shift = np.float32(high - low), np.float32(low)

    def sample(rng: np.random.Generator, block: npt.NDArray[np.float32]) -> None:
        rng.random(dtype=np.float32, out=block)
        block *= scale
        block += shift

    return fill(seed, name, shape, sample)


def _normal(seed: int, name: str, shape: Shape, std: float, mean: float) -> Array:
    scale, shift = np.float32(std), np.float32(mean)

    def sample(rng: np.random.Generator, block: npt.NDArray[np.float32]) -> None:
        rng.standard_normal(dtype=np.float32, out=block)
        block *= scale
        block += shift

    return fill(seed, name, shape, sample)


def _number(what: str, value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise ArgumentError(f"{what} is a number, not {value!r}") from None
    if not math.isfinite(number):
        raise ArgumentError(f"{what} must be finite, and is {number}")
    return number


def _keywords(function: Callable[..., Any]) -> list[str] | None:
    """Which of shape, rng and param a function takes by keyword; None: call it with (shape, rng)."""
    known = ("shape", "rng", "param")
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return None  # a builtin without a signature
    arguments = signature.parameters.values()
    if any(argument.kind is argument.VAR_KEYWORD for argument in arguments):
        return list(known)
    names = [a.name for a in arguments if a.kind in (a.POSITIONAL_OR_KEYWORD, a.KEYWORD_ONLY)]
    required = [a.name for a in arguments if a.default is a.empty and a.kind is not a.VAR_POSITIONAL]
    if set(required) <= set(known) and set(names) & set(known):
        return [name for name in known if name in names]
    try:
        signature.bind(None, None)
    except TypeError:
        raise ArgumentError(
            f"an initializer is called with (shape, rng), and with param= if it asks for it; "
            f"{_name(function)}{signature} cannot be"
        ) from None
    return None


def _name(function: Callable[..., Any]) -> str:
    return getattr(function, "__name__", type(function).__name__)
