"""Rules about a tensor as a whole."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from ..arrays.random import generator
from ..arrays.types import Array, Shape
from ..errors import ArgumentError
from .rule import BuiltIn, number

if TYPE_CHECKING:
    from ..model.parameter import Parameter

__all__ = ["Dirac", "Identity", "Orthogonal", "Sparse"]


class Orthogonal(BuiltIn):
    """Rows or columns, whichever are fewer, are orthonormal (Saxe et al., 2014); further axes count as columns.

    The decomposition is LAPACK's, so that the last bits may differ between machines.

    Args:
        gain: a factor.
    """

    def __init__(self, gain: float = 1.0) -> None:
        self.gain = number("gain", gain)

    def check(self, shape: Shape) -> None:
        if len(shape) < 2:
            raise ArgumentError(f"it needs at least two axes, and the shape is {tuple(shape)}")

    def values(self, seed: int, name: str, shape: Shape, parameter: Parameter | None = None) -> Array:
        made: Array = self._made(shape, generator(seed, name).standard_normal(_tall(shape))).astype(np.float32)
        return made

    def complex_values(self, seed: int, name: str, shape: Shape, parameter: Parameter | None = None) -> Array:
        """A unitary matrix."""
        real, imaginary = generator(seed, name).standard_normal((2, *_tall(shape)))
        made: Array = self._made(shape, real + 1j * imaginary).astype(np.complex64)
        return made

    def _made(self, shape: Shape, drawn: Array) -> Array:
        basis, triangle = np.linalg.qr(drawn)
        diagonal = np.diagonal(triangle)
        size = np.abs(diagonal)
        basis = basis * np.where(size == 0, 1.0, diagonal / np.where(size == 0, 1.0, size))  # uniform over all of them
        matrix = basis if basis.shape[0] == shape[0] else basis.T
        return self.gain * matrix.reshape(shape)


def _tall(shape: Shape) -> Shape:
    """A tensor as a matrix with no fewer rows than columns."""
    sides = shape[0], math.prod(shape[1:])
    return max(sides), min(sides)


class Identity(BuiltIn):
    """Ones on the diagonal of a matrix, zeros elsewhere.

    Args:
        gain: a factor.

    >>> Identity().values(0, "w", (2, 3))
    array([[1., 0., 0.],
           [0., 1., 0.]], dtype=float32)
    """

    def __init__(self, gain: float = 1.0) -> None:
        self.gain = number("gain", gain)

    def check(self, shape: Shape) -> None:
        if len(shape) != 2:
            raise ArgumentError(f"it needs a matrix, and the shape is {tuple(shape)}")

    def values(self, seed: int, name: str, shape: Shape, parameter: Parameter | None = None) -> Array:
        return np.float32(self.gain) * np.eye(*shape, dtype=np.float32)


class Dirac(BuiltIn):
    """A convolution that hands its input channels on, as many as there are (PyTorch's `dirac_`).

    Args:
        groups: in how many groups of output channels it does so.
    """

    def __init__(self, groups: int = 1) -> None:
        if isinstance(groups, bool) or not isinstance(groups, int) or groups < 1:
            raise ArgumentError(f"groups is a positive integer, not {groups!r}")
        self.groups = groups

    def check(self, shape: Shape) -> None:
        if not 3 <= len(shape) <= 5:
            raise ArgumentError(f"it needs a convolution's kernel, and the shape is {tuple(shape)}")
        if shape[0] % self.groups:
            raise ArgumentError(f"{shape[0]} output channels are no multiple of {self.groups} groups")

    def values(self, seed: int, name: str, shape: Shape, parameter: Parameter | None = None) -> Array:
        kernel = np.zeros(shape, np.float32)
        centre = tuple(extent // 2 for extent in shape[2:])
        outputs = shape[0] // self.groups
        for group in range(self.groups):
            for channel in range(min(outputs, shape[1])):
                kernel[(group * outputs + channel, channel, *centre)] = 1
        return kernel


class Sparse(BuiltIn):
    """A normally distributed matrix with a fraction of each column zero (Martens, 2010; PyTorch's `sparse_`).

    Args:
        sparsity: the fraction of zeros in each column.
        std: the standard deviation of the rest.
    """

    def __init__(self, sparsity: float, std: float = 0.01) -> None:
        self.sparsity = number("sparsity", sparsity)
        self.std = number("std", std)
        if not 0 <= self.sparsity <= 1:
            raise ArgumentError(f"sparsity is a fraction between 0 and 1, not {sparsity}")

    def check(self, shape: Shape) -> None:
        if len(shape) != 2:
            raise ArgumentError(f"it needs a matrix, and the shape is {tuple(shape)}")

    def values(self, seed: int, name: str, shape: Shape, parameter: Parameter | None = None) -> Array:
        rng = generator(seed, name)
        matrix = rng.standard_normal(shape, np.float32) * np.float32(self.std)
        zeros = math.ceil(self.sparsity * shape[0])
        for column in range(shape[1]):
            matrix[rng.permutation(shape[0])[:zeros], column] = 0
        return matrix

    def complex_values(self, seed: int, name: str, shape: Shape, parameter: Parameter | None = None) -> Array:
        """Parts that are zero together, each of half of the variance."""
        real = self.values(seed, name, shape)
        imaginary = generator(seed, f"{name}[imag]").standard_normal(shape, np.float32) * np.float32(self.std)
        made = np.empty(shape, np.complex64)
        made.real, made.imag = real, np.where(real == 0, 0, imaginary)
        return made * np.float32(math.sqrt(0.5))
