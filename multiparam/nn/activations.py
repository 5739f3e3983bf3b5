"""Builders of activations."""

from __future__ import annotations

from typing import Any

from ..errors import ArgumentError
from .build import new, number

__all__ = [
    "ELU",
    "GELU",
    "SELU",
    "LeakyReLU",
    "LogSoftmax",
    "Mish",
    "ReLU",
    "ReLU6",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "Tanh",
]


def ReLU(*, backend: str | None = None) -> Any:
    """max(x, 0)."""
    return new("ReLU", backend)


def ReLU6(*, backend: str | None = None) -> Any:
    """min(max(x, 0), 6)."""
    return new("ReLU6", backend)


def LeakyReLU(negative_slope: float = 0.01, *, backend: str | None = None) -> Any:
    """max(x, 0) + negative_slope · min(x, 0).

    Args:
        negative_slope: the slope below 0; its default is PyTorch's in every framework.
        backend: whose layer; None is the active backend's.
    """
    return new("LeakyReLU", backend, negative_slope=number("negative_slope", negative_slope))


def ELU(alpha: float = 1.0, *, backend: str | None = None) -> Any:
    """X above 0, alpha · (exp(x) - 1) below (Clevert et al., 2015).

    Args:
        alpha: minus the limit at minus infinity.
        backend: whose layer; None is the active backend's.
    """
    return new("ELU", backend, alpha=number("alpha", alpha))


def SELU(*, backend: str | None = None) -> Any:
    """A scaled ELU that keeps mean and variance (Klambauer et al., 2017)."""
    return new("SELU", backend)


def GELU(approximate: str = "none", *, backend: str | None = None) -> Any:
    """The Gaussian error linear unit.

    Args:
        approximate: `"none"` for x Φ(x), `"tanh"` for its tanh approximation.
        backend: whose layer; None is the active backend's.
    """
    if approximate not in ("none", "tanh"):
        raise ArgumentError(f"approximate is 'none' or 'tanh', not {approximate!r}")
    return new("GELU", backend, approximate=approximate)


def SiLU(*, backend: str | None = None) -> Any:
    """X times its sigmoid, also called swish."""
    return new("SiLU", backend)


def Mish(*, backend: str | None = None) -> Any:
    """X · tanh(softplus(x)) (Misra, 2019)."""
    return new("Mish", backend)


def Softplus(*, backend: str | None = None) -> Any:
    """log(1 + exp(x))."""
    return new("Softplus", backend)


def Tanh(*, backend: str | None = None) -> Any:
    """The hyperbolic tangent."""
    return new("Tanh", backend)


def Sigmoid(*, backend: str | None = None) -> Any:
    """1 / (1 + exp(-x))."""
    return new("Sigmoid", backend)


def Softmax(dim: int = -1, *, backend: str | None = None) -> Any:
    """exp(x) divided by its sum along an axis.

    Args:
        dim: the axis.
        backend: whose layer; None is the active backend's.
    """
    return new("Softmax", backend, dim=_axis(dim))


def LogSoftmax(dim: int = -1, *, backend: str | None = None) -> Any:
    """The logarithm of `Softmax`.

    Args:
        dim: the axis.
        backend: whose layer; None is the active backend's.
    """
    return new("LogSoftmax", backend, dim=_axis(dim))


def _axis(dim: Any) -> int:
    if isinstance(dim, bool) or not isinstance(dim, int):
        raise ArgumentError(f"dim is an integer, not {dim!r}")
    return dim
