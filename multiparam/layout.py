"""How one canonical tensor is made of a layer's native ones.

A `Source` is an entry of the layer table. Everything that has to know a layout follows from it: reading,
writing, the canonical shape, and whether two tensors are the same storage seen the same way.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Array", "At", "Handle", "Shape", "Source", "Transposed", "as_source"]

Array = npt.NDArray[Any]
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Handle:
    """A native variable as a layer sees it: `np.transpose(variable, axes)`.

    Args:
        variable: the framework's own object that holds the numbers.
        axes: the order in which the layer sees the variable's axes; None is the variable's own.
    """

    variable: Any
    axes: tuple[int, ...] | None = None


class Source(ABC):
    """Where a canonical tensor lives natively.

    Attributes:
        parts: names of the layer's native tensors that it is made of.
    """

    parts: tuple[str, ...]

    @abstractmethod
    def read(self, arrays: Sequence[Array]) -> Array:
        """The canonical array (a view where possible) made of the parts' arrays."""

    @abstractmethod
    def write(self, value: Array) -> tuple[Array, ...]:
        """The parts' arrays (views where possible) that make up the canonical one."""

    @abstractmethod
    def shape(self, shapes: Sequence[Shape]) -> Shape:
        """The canonical shape that follows from the parts' shapes."""

    @abstractmethod
    def identity(self, handles: Sequence[Handle]) -> tuple[Any, ...]:
        """A key that is equal for two tensors exactly if they are one storage seen the same way."""


class At(Source):
    """A canonical tensor that is one native tensor, its axes possibly in another order.

    Args:
        part: the native tensor's name in its layer, `"kernel"`, or a path into lists and dicts, `"scales.0"`.
        axes: as in `numpy.transpose`, from native to canonical; None leaves them as they are.

    >>> At("kernel", axes=(1, 0)).shape([(4, 8)])
    (8, 4)
    """

    def __init__(self, part: str, axes: Sequence[int] | None = None) -> None:
        self.parts = (part,)
        self.axes = _normal(axes)

    def read(self, arrays: Sequence[Array]) -> Array:
        (array,) = arrays
        return array if self.axes is None else array.transpose(self.axes)

    def write(self, value: Array) -> tuple[Array, ...]:
        return (value if self.axes is None else value.transpose(invert(self.axes)),)

    def shape(self, shapes: Sequence[Shape]) -> Shape:
        (shape,) = shapes
        return tuple(shape) if self.axes is None else tuple(shape[axis] for axis in self.axes)

    def identity(self, handles: Sequence[Handle]) -> tuple[Any, ...]:
        (handle,) = handles
        return (id(handle.variable), compose(handle.axes, self.axes))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, At) and (self.parts, self.axes) == (other.parts, other.axes)

    def __hash__(self) -> int:
        return hash((self.parts, self.axes))

    def __repr__(self) -> str:
        return f"At({self.parts[0]!r}{'' if self.axes is None else f', axes={self.axes}'})"


def Transposed(part: str) -> At:
    """A canonical matrix stored natively as its transpose: `At(part, axes=(1, 0))`.

    >>> Transposed("kernel")
    At('kernel', axes=(1, 0))
    """
    return At(part, axes=(1, 0))


def as_source(source: str | Source) -> Source:
    """A source as the layer table takes it: a plain name means the native tensor as it is."""
    return At(source) if isinstance(source, str) else source


def invert(axes: Sequence[int]) -> tuple[int, ...]:
    """The transposition that undoes another."""
    inverse = [0] * len(axes)
    for position, axis in enumerate(axes):
        inverse[axis] = position
    return tuple(inverse)


def compose(first: tuple[int, ...] | None, second: tuple[int, ...] | None) -> tuple[int, ...] | None:
    """One transposition that does what two do in turn; None is the identity.

    >>> compose((1, 0), (1, 0)) is None
    True
    """
    if first is None or second is None:
        return _normal(first if second is None else second)
    return _normal([first[axis] for axis in second])


def _normal(axes: Sequence[int] | None) -> tuple[int, ...] | None:
    if axes is None or list(axes) == list(range(len(axes))):
        return None
    if sorted(axes) != list(range(len(axes))):
        raise ValueError(f"axes must be a permutation of 0..{len(axes) - 1}, not {tuple(axes)}")
    return tuple(axes)


def seen_through(handle: Handle, array: Array) -> Array:
    """The variable's array as the layer sees it."""
    return array if handle.axes is None else np.transpose(array, handle.axes)


def put_through(handle: Handle, array: Array) -> Array:
    """The inverse of `seen_through`."""
    return array if handle.axes is None else np.transpose(array, invert(handle.axes))
