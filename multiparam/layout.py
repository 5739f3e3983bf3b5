"""How one canonical tensor is made of a layer's native ones.

A `Source` is an entry of the layer table. Everything that has to know a layout follows from it: reading,
writing, the canonical shape, and whether two tensors are the same storage seen the same way.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .errors import ArgumentError

__all__ = [
    "Array",
    "At",
    "Flatten",
    "Flip",
    "Handle",
    "Insert",
    "Merge",
    "Shape",
    "Source",
    "Step",
    "Transpose",
    "Transposed",
    "as_source",
    "out_in_first",
]

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


class Step(ABC):
    """One invertible rearrangement on the way from a native tensor to the canonical one.

    `lead` is how many axes stand before those that the step is about: those of a stack of layers.
    """

    @abstractmethod
    def do(self, array: Array, lead: int) -> Array:
        """The rearranged array, a view where possible."""

    @abstractmethod
    def undo(self, array: Array, shape: Shape, lead: int) -> Array:
        """The inverse; `shape` is what went in."""

    @abstractmethod
    def shape(self, shape: Shape, lead: int) -> Shape:
        """The shape that comes out."""


class _Reshaping(Step):
    """A step that changes the shape and not the order of the elements."""

    def do(self, array: Array, lead: int) -> Array:
        return array.reshape(self.shape(array.shape, lead))

    def undo(self, array: Array, shape: Shape, lead: int) -> Array:
        return array.reshape(shape)


@dataclass(frozen=True)
class Transpose(Step):
    """`numpy.transpose(array, axes)`."""

    axes: tuple[int, ...]

    def do(self, array: Array, lead: int) -> Array:
        return array.transpose(_behind(self.axes, lead))

    def undo(self, array: Array, shape: Shape, lead: int) -> Array:
        return array.transpose(invert(_behind(self.axes, lead)))

    def shape(self, shape: Shape, lead: int) -> Shape:
        return tuple(shape[axis] for axis in _behind(self.axes, lead))


@dataclass(frozen=True)
class Flip(Step):
    """The elements along some axes in reverse order, as a convolution's kernel against a correlation's."""

    axes: tuple[int, ...]

    def do(self, array: Array, lead: int) -> Array:
        return np.flip(array, tuple(lead + axis for axis in self.axes))

    def undo(self, array: Array, shape: Shape, lead: int) -> Array:
        return self.do(array, lead)

    def shape(self, shape: Shape, lead: int) -> Shape:
        return shape


@dataclass(frozen=True)
class Merge(_Reshaping):
    """An axis and the one behind it as one: (I, m) as (I·m,)."""

    axis: int

    def shape(self, shape: Shape, lead: int) -> Shape:
        axis = lead + self.axis
        return (*shape[:axis], shape[axis] * shape[axis + 1], *shape[axis + 2 :])


@dataclass(frozen=True)
class Insert(_Reshaping):
    """A new axis of extent 1."""

    axis: int

    def shape(self, shape: Shape, lead: int) -> Shape:
        return (*shape[: lead + self.axis], 1, *shape[lead + self.axis :])


@dataclass(frozen=True)
class Flatten(_Reshaping):
    """All axes as one."""

    def shape(self, shape: Shape, lead: int) -> Shape:
        return (math.prod(shape),)


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
    def write(self, value: Array, shapes: Sequence[Shape]) -> tuple[Array, ...]:
        """The parts' arrays (views where possible), of the given shapes, that make up the canonical one."""

    @abstractmethod
    def shape(self, shapes: Sequence[Shape]) -> Shape:
        """The canonical shape that follows from the parts' shapes."""

    @abstractmethod
    def identity(self, handles: Sequence[Handle]) -> tuple[Any, ...]:
        """A key that is equal for two tensors exactly if they are one storage seen the same way."""


class At(Source):
    """A canonical tensor that is one native tensor, possibly rearranged.

    Args:
        part: the native tensor's name in its layer, `"kernel"`, or a path into lists and dicts, `"scales.0"`.
        *steps: what turns the native tensor into the canonical one, in turn.
        axes: short for a first `Transpose`: as in `numpy.transpose`, from native to canonical.

    >>> At("kernel", axes=(1, 0)).shape([(4, 8)])
    (8, 4)
    >>> At("kernel", Transpose((2, 3, 0, 1)), Merge(0), Insert(1)).shape([(5, 5, 3, 2)])
    (6, 1, 5, 5)
    """

    def __init__(self, part: str, *steps: Step, axes: Sequence[int] | None = None) -> None:
        self.parts = (part,)
        first = _normal(axes)
        if first is None and steps and isinstance(steps[0], Transpose):
            first, steps = _normal(steps[0].axes), steps[1:]
        self.axes = first
        self.steps = steps

    def read(self, arrays: Sequence[Array]) -> Array:
        (array,) = arrays
        lead = self._lead(array.shape)
        for step in self._all():
            array = step.do(array, lead)
        return array

    def write(self, value: Array, shapes: Sequence[Shape]) -> tuple[Array, ...]:
        (shape,) = shapes
        lead = self._lead(shape)
        before = []
        for step in self._all():
            before.append((step, shape))
            shape = step.shape(shape, lead)
        for step, shape in reversed(before):
            value = step.undo(value, shape, lead)
        return (value,)

    def shape(self, shapes: Sequence[Shape]) -> Shape:
        (shape,) = shapes
        lead = self._lead(shape)
        for step in self._all():
            shape = step.shape(shape, lead)
        return tuple(shape)

    def _lead(self, shape: Shape) -> int:
        """How many axes a stack of layers has put before the layer's own."""
        lead = 0 if self.axes is None else len(shape) - len(self.axes)
        if lead < 0:
            raise ArgumentError(f"{self!r} is about {len(self.axes or ())} axes, and the native shape is {shape}")
        return lead

    def identity(self, handles: Sequence[Handle]) -> tuple[Any, ...]:
        (handle,) = handles
        return (id(handle.variable), compose(handle.axes, self.axes), self.steps)

    def _all(self) -> tuple[Step, ...]:
        return self.steps if self.axes is None else (Transpose(self.axes), *self.steps)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, At) and (self.parts, self._all()) == (other.parts, other._all())

    def __hash__(self) -> int:
        return hash((self.parts, self._all()))

    def __repr__(self) -> str:
        steps = "".join(f", {step!r}" for step in self.steps)
        return f"At({self.parts[0]!r}{steps}{'' if self.axes is None else f', axes={self.axes}'})"


def Transposed(part: str) -> At:
    """A canonical matrix stored natively as its transpose: `At(part, axes=(1, 0))`.

    >>> Transposed("kernel")
    At('kernel', axes=(1, 0))
    """
    return At(part, axes=(1, 0))


def out_in_first(rank: int) -> tuple[int, ...]:
    """The axes that make a native (*spatial, in, out) kernel a canonical (out, in, *spatial) one.

    >>> out_in_first(4)
    (3, 2, 0, 1)
    """
    return (rank - 1, rank - 2, *range(rank - 2))


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


def _behind(axes: tuple[int, ...], lead: int) -> tuple[int, ...]:
    return axes if not lead else (*range(lead), *(lead + axis for axis in axes))


def _normal(axes: Sequence[int] | None) -> tuple[int, ...] | None:
    if axes is None or list(axes) == list(range(len(axes))):
        return None
    if sorted(axes) != list(range(len(axes))):
        raise ArgumentError(f"axes must be a permutation of 0..{len(axes) - 1}, not {tuple(axes)}")
    return tuple(axes)


def seen_through(handle: Handle, array: Array) -> Array:
    """The variable's array as the layer sees it."""
    return array if handle.axes is None else np.transpose(array, handle.axes)


def put_through(handle: Handle, array: Array) -> Array:
    """The inverse of `seen_through`."""
    return array if handle.axes is None else np.transpose(array, invert(handle.axes))
