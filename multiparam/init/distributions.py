"""Constants and distributions, whose elements are drawn one by one."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from ..arrays.random import Sampler, draw_integers
from ..arrays.types import Array, Shape
from ..errors import ArgumentError
from ..layer_table.kinds import Fans, fans
from .rule import BuiltIn, Drawn, number

if TYPE_CHECKING:
    from ..model.parameter import Parameter

__all__ = [
    "Constant",
    "KaimingNormal",
    "KaimingUniform",
    "LecunNormal",
    "LecunUniform",
    "Normal",
    "Ones",
    "TruncatedNormal",
    "Uniform",
    "VarianceScaling",
    "XavierNormal",
    "XavierUniform",
    "Zeros",
]

Mode = Literal["fan_in", "fan_out"]


class Constant(BuiltIn):
    """Every element the same.

    Args:
        value: the number.

    >>> Constant(42).values(0, "w", (2,))
    array([42., 42.])
    """

    def __init__(self, value: float) -> None:
        self.value = number("value", value, limit=math.inf)

    def values(self, seed: int, name: str, shape: Shape, parameter: Parameter | None = None) -> Array:
        return np.full(shape, self.value, np.float64)

    def sampler(self, shape: Shape, parameter: Parameter | None = None) -> Sampler:
        return lambda rng, block: block.fill(self.value)


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


class Uniform(Drawn):
    """Uniform on [low, high); of a complex parameter each part is, as in PyTorch.

    Args:
        low: the lower bound.
        high: the upper bound.

    >>> Uniform(-1, 1).values(0, "0.weight", (3,))
    array([-0.35017478, -0.3116678 ,  0.8889729 ], dtype=float32)
    """

    def __init__(self, low: float = 0.0, high: float = 1.0) -> None:
        self.low = number("low", low)
        self.high = number("high", high)
        if self.low > self.high:
            raise ArgumentError(f"low must not exceed high, and {low} > {high}")
        if self.high - self.low > float(np.finfo(np.float32).max):
            raise ArgumentError(f"{low} to {high} is wider than float32")

    def sampler(self, shape: Shape, parameter: Parameter | None = None) -> Sampler:
        return _uniform(self.low, self.high)

    def part(self, values: Array) -> Array:
        return values


def _spread(std: float, mean: float) -> tuple[float, float]:
    """The two, checked."""
    spread, middle = number("std", std), number("mean", mean)
    if spread < 0:
        raise ArgumentError(f"std must not be negative, and is {std}")
    if not spread and middle:
        swapped = f"std={mean} if PyTorch's order was meant, or " if middle > 0 else ""
        raise ArgumentError(f"std comes first and is 0 here, and mean is {mean}: {swapped}Constant({mean})")
    return spread, middle


class Normal(Drawn):
    """Normally distributed.

    Args:
        std: the standard deviation; of complex numbers that of the whole, of which each part has half of the variance.
        mean: the mean; of complex numbers that of each part, as in PyTorch.

    >>> Normal(std=0.01).values(0, "0.weight", (3,))
    array([-0.01120714, -0.00466085, -0.01977169], dtype=float32)
    """

    def __init__(self, std: float = 1.0, mean: float = 0.0) -> None:
        self.std, self.mean = _spread(std, mean)

    def sampler(self, shape: Shape, parameter: Parameter | None = None) -> Sampler:
        return _normal(self.std, self.mean)

    def part(self, values: Array) -> Array:
        return super().part(values - np.float32(self.mean)) + np.float32(self.mean)


class TruncatedNormal(Drawn):
    """Normally distributed, and drawn again while outside of the bounds.

    Args:
        std: the standard deviation before the truncation, as PyTorch, Keras and JAX have it.
        mean: the mean before the truncation.
        low: the lower bound; None is two standard deviations below the mean.
        high: the upper bound; None is two standard deviations above the mean.

    >>> TruncatedNormal(std=0.01).values(0, "0.weight", (3,))
    array([-0.01120714, -0.00466085, -0.01977169], dtype=float32)
    """

    def __init__(
        self, std: float = 1.0, mean: float = 0.0, low: float | None = None, high: float | None = None
    ) -> None:
        self.std, self.mean = _spread(std, mean)
        self.low = self.mean - 2 * self.std if low is None else number("low", low)
        self.high = self.mean + 2 * self.std if high is None else number("high", high)
        if self.std and not self.low < self.high:
            raise ArgumentError(f"low must be less than high, and {self.low} >= {self.high}")
        # farther out than this nearly all draws would be rejected
        if self.std and (self.low > self.mean + 4 * self.std or self.high < self.mean - 4 * self.std):
            raise ArgumentError(f"the bounds {self.low} to {self.high} lie more than 4 std from the mean {self.mean}")

    def sampler(self, shape: Shape, parameter: Parameter | None = None) -> Sampler:
        return _truncated(self.std, self.mean, self.low, self.high)

    def part(self, values: Array) -> Array:
        return super().part(values - np.float32(self.mean)) + np.float32(self.mean)


class Scaled(Drawn):
    """A distribution whose spread follows from the parameter's fans."""

    @abstractmethod
    def std(self, fans: Fans) -> float:
        """The standard deviation for a parameter's fans."""

    @abstractmethod
    def drawn(self, fans: Fans) -> Sampler:
        """What draws a block, for fans that are known."""

    def sampler(self, shape: Shape, parameter: Parameter | None = None) -> Sampler:
        return self.drawn(fans(shape) if parameter is None else parameter.found_fans())

    def check(self, shape: Shape) -> None:
        fans(shape)


class ScaledUniform(Scaled):
    """One that is uniform about zero."""

    def drawn(self, fans: Fans) -> Sampler:
        bound = math.sqrt(3.0) * self.std(fans)
        return _uniform(-bound, bound)


class _ScaledNormal(Scaled):
    def drawn(self, fans: Fans) -> Sampler:
        return _normal(self.std(fans), 0.0)


Distribution = Literal["truncated_normal", "untruncated_normal", "uniform"]


class VarianceScaling(Scaled):
    """Variance scale / fan, as in Keras and JAX.

    Args:
        scale: a positive factor of the variance.
        mode: `"fan_in"`, `"fan_out"`, or `"fan_avg"` for their mean.
        distribution: `"truncated_normal"` at two standard deviations, and widened so that the variance is right all the
            same; `"untruncated_normal"`; or `"uniform"`.
    """

    def __init__(
        self,
        scale: float = 1.0,
        mode: Literal["fan_in", "fan_out", "fan_avg"] = "fan_in",
        distribution: Distribution = "truncated_normal",
    ) -> None:
        self.scale = number("scale", scale)
        if self.scale <= 0:
            raise ArgumentError(f"scale must be positive, and is {scale}")
        if mode not in ("fan_in", "fan_out", "fan_avg"):
            raise ArgumentError(f"mode is 'fan_in', 'fan_out' or 'fan_avg', not {mode!r}")
        if distribution not in ("truncated_normal", "untruncated_normal", "uniform"):
            raise ArgumentError(
                f"distribution is 'truncated_normal', 'untruncated_normal' or 'uniform', not {distribution!r}"
            )
        self.mode = mode
        self.distribution = distribution

    def std(self, fans: Fans) -> float:
        fan = {"fan_in": fans.fan_in, "fan_out": fans.fan_out, "fan_avg": (fans.fan_in + fans.fan_out) / 2}[self.mode]
        return math.sqrt(self.scale / max(1.0, fan))

    def drawn(self, fans: Fans) -> Sampler:
        std = self.std(fans)
        if self.distribution == "uniform":
            return _uniform(-math.sqrt(3.0) * std, math.sqrt(3.0) * std)
        if self.distribution == "untruncated_normal":
            return _normal(std, 0.0)
        wide = std / _STD_WITHIN_TWO
        return _truncated(wide, 0.0, -2 * wide, 2 * wide)


class LecunNormal(VarianceScaling):
    """Truncated normal with variance 1 / fan_in (LeCun et al., 1998), as in Keras and JAX."""

    def __init__(self) -> None:
        super().__init__(1.0, "fan_in", "truncated_normal")

    def __repr__(self) -> str:
        return "LecunNormal()"


class LecunUniform(VarianceScaling):
    """Uniform with variance 1 / fan_in (LeCun et al., 1998), as in Keras and JAX."""

    def __init__(self) -> None:
        super().__init__(1.0, "fan_in", "uniform")

    def __repr__(self) -> str:
        return "LecunUniform()"


class _Xavier(Scaled):
    def __init__(self, gain: float = 1.0) -> None:
        self.gain = number("gain", gain)

    def std(self, fans: Fans) -> float:
        return self.gain * math.sqrt(2.0 / max(1, fans.fan_in + fans.fan_out))


class XavierUniform(_Xavier, ScaledUniform):
    """Uniform with variance gain² · 2 / (fan_in + fan_out) (Glorot and Bengio, 2010).

    Args:
        gain: a factor of the bound.
    """


class XavierNormal(_Xavier, _ScaledNormal):
    """Normal with variance gain² · 2 / (fan_in + fan_out) (Glorot and Bengio, 2010).

    Args:
        gain: a factor of the standard deviation.
    """


class _Kaiming(Scaled):
    def __init__(self, a: float = 0.0, mode: Mode = "fan_in", nonlinearity: str = "leaky_relu") -> None:
        self.a = number("a", a)
        if mode not in ("fan_in", "fan_out"):
            raise ArgumentError(f"mode is 'fan_in' or 'fan_out', not {mode!r}")
        if nonlinearity not in _GAINS:
            raise ArgumentError(f"nonlinearity is one of {', '.join(sorted(_GAINS))}, not {nonlinearity!r}")
        self.mode: Mode = mode
        self.nonlinearity = nonlinearity

    def std(self, fans: Fans) -> float:
        fan = fans.fan_in if self.mode == "fan_in" else fans.fan_out
        return _GAINS[self.nonlinearity](self.a) / math.sqrt(max(1, fan))


class KaimingUniform(_Kaiming, ScaledUniform):
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


# PyTorch's torch.nn.init.calculate_gain
_GAINS: dict[str, Callable[[float], float]] = {
    "linear": lambda a: 1.0,
    "sigmoid": lambda a: 1.0,
    "tanh": lambda a: 5.0 / 3.0,
    "relu": lambda a: math.sqrt(2.0),
    "leaky_relu": lambda a: math.sqrt(2.0 / (1.0 + a * a)),
    "selu": lambda a: 0.75,
}


_LEAST = 2.0**-100  # of which 2**-24 times as much is still a normal float32, so that nothing is rounded twice


def _uniform(low: float, high: float) -> Sampler:
    shift, exact = np.float32(low), np.float32(high - low) >= _LEAST
    scale = np.float32(high - low) * np.float32(2.0**-24 if exact else 1)

    def sample(rng: np.random.Generator, block: npt.NDArray[np.float32]) -> None:
        if exact:
            draw_integers(rng, block)  # of which numpy's own numbers are 2**-24 times as much, at twice the cost
        else:
            rng.random(dtype=np.float32, out=block)
        block *= scale
        block += shift

    return sample


def _normal(std: float, mean: float) -> Sampler:
    scale, shift = np.float32(std), np.float32(mean)

    def sample(rng: np.random.Generator, block: npt.NDArray[np.float32]) -> None:
        rng.standard_normal(dtype=np.float32, out=block)
        block *= scale
        block += shift

    return sample


# the standard deviation of a standard normal distribution truncated at -2 and 2
_STD_WITHIN_TWO = 0.87962566103423978


def _truncated(std: float, mean: float, low: float, high: float) -> Sampler:
    scale, shift = np.float32(std), np.float32(mean)
    least, most = (low - mean) / std if std else -1.0, (high - mean) / std if std else 1.0

    def sample(rng: np.random.Generator, block: npt.NDArray[np.float32]) -> None:
        rng.standard_normal(dtype=np.float32, out=block)
        outside = np.flatnonzero((block < least) | (block > most))
        while outside.size:
            again = rng.standard_normal(outside.size, np.float32)
            block[outside] = again
            outside = outside[(again < least) | (again > most)]
        block *= scale
        block += shift

    return sample
