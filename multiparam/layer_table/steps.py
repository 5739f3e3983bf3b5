"""The rearrangements of which the layouts in the layer table are made."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..arrays.types import Array, Shape

__all__ = [
    "Flatten",
    "Flip",
    "Insert",
    "Merge",
    "Reorder",
    "Split",
    "Step",
    "Take",
    "Transpose",
    "behind",
    "invert",
]


class Step(ABC):
    """One rearrangement on the way from a native tensor to the canonical one.

    `lead` is how many axes stand before those that the step is about: those of a stack of layers.

    Attributes:
        partial: what comes out is a part of what went in, so that writing keeps the rest.
    """

    partial = False

    @abstractmethod
    def do(self, array: Array, lead: int) -> Array:
        """The rearranged array, a view where possible."""

    @abstractmethod
    def undo(self, value: Array, old: Array, lead: int) -> Array:
        """The inverse; `old` is what went in, its numbers real only for a partial step."""

    @abstractmethod
    def shape(self, shape: Shape, lead: int) -> Shape:
        """The shape that comes out."""


class _Reshaping(Step):
    """A step that changes the shape and not the order of the elements."""

    def do(self, array: Array, lead: int) -> Array:
        return array.reshape(self.shape(array.shape, lead))

    def undo(self, value: Array, old: Array, lead: int) -> Array:
        return value.reshape(old.shape)


@dataclass(frozen=True)
class Transpose(Step):
    """`numpy.transpose(array, axes)`."""

    axes: tuple[int, ...]

    def do(self, array: Array, lead: int) -> Array:
        return array.transpose(behind(self.axes, lead))

    def undo(self, value: Array, old: Array, lead: int) -> Array:
        return value.transpose(invert(behind(self.axes, lead)))

    def shape(self, shape: Shape, lead: int) -> Shape:
        return tuple(shape[axis] for axis in behind(self.axes, lead))


@dataclass(frozen=True)
class Flip(Step):
    """The elements along some axes in reverse order, as a convolution's kernel against a correlation's."""

    axes: tuple[int, ...]

    def do(self, array: Array, lead: int) -> Array:
        return np.flip(array, tuple(lead + axis for axis in self.axes))

    def undo(self, value: Array, old: Array, lead: int) -> Array:
        return self.do(value, lead)

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
class Split(_Reshaping):
    """An axis as several of given extents: (H·W,) as (H, W)."""

    axis: int
    extents: tuple[int, ...]

    def shape(self, shape: Shape, lead: int) -> Shape:
        axis = lead + self.axis
        return (*shape[:axis], *self.extents, *shape[axis + 1 :])


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
        return (*shape[:lead], math.prod(shape[lead:]))


@dataclass(frozen=True)
class Reorder(Step):
    """An axis cut into equal blocks, and these in another order: the gates of a recurrent layer.

    Args:
        order: for each block that comes out, which one of those that went in it is.
        axis: the axis that is cut.
    """

    order: tuple[int, ...]
    axis: int = 0

    def do(self, array: Array, lead: int) -> Array:
        return self._ordered(array, self.order, lead + self.axis)

    def undo(self, value: Array, old: Array, lead: int) -> Array:
        return self._ordered(value, invert(self.order), lead + self.axis)

    def shape(self, shape: Shape, lead: int) -> Shape:
        return shape

    def _ordered(self, array: Array, order: Sequence[int], axis: int) -> Array:
        blocks = np.split(array, len(order), axis)
        return np.concatenate([blocks[position] for position in order], axis)


@dataclass(frozen=True)
class Take(Step):
    """One element of the first axis: a row of a native tensor that holds several canonical ones."""

    index: int
    partial = True

    def do(self, array: Array, lead: int) -> Array:
        return array[(slice(None),) * lead + (self.index,)]

    def undo(self, value: Array, old: Array, lead: int) -> Array:
        whole = np.array(old)
        whole[(slice(None),) * lead + (self.index,)] = value
        return whole

    def shape(self, shape: Shape, lead: int) -> Shape:
        return (*shape[:lead], *shape[lead + 1 :])


def invert(axes: Sequence[int]) -> tuple[int, ...]:
    """The transposition that undoes another."""
    inverse = [0] * len(axes)
    for position, axis in enumerate(axes):
        inverse[axis] = position
    return tuple(inverse)


def behind(axes: tuple[int, ...], lead: int) -> tuple[int, ...]:
    """A transposition that leaves `lead` axes before its own alone."""
    return axes if not lead else (*range(lead), *(lead + axis for axis in axes))
