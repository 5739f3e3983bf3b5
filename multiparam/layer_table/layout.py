"""How one canonical tensor is made of a layer's native ones.

A `Source` is an entry of the layer table. Everything that has to know a layout follows from it: reading,
writing, the canonical shape, and whether two tensors are the same storage seen the same way.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ..arrays.types import Array, Shape
from ..errors import ArgumentError
from .steps import Step, Transpose, invert

__all__ = [
    "At",
    "Block",
    "Concat",
    "Handle",
    "Source",
    "Transposed",
    "as_source",
    "compose",
    "out_in_first",
    "stand_in",
]


class Handle:
    """A native variable as a layer sees it: `np.transpose(variable, axes)`.

    Args:
        variable: the framework's own object that holds the numbers.
        axes: the order in which the layer sees the variable's axes; None is the variable's own.
    """

    __slots__ = ("axes", "variable")  # one is made whenever a tensor is met: a dataclass takes three times as long

    def __init__(self, variable: Any, axes: tuple[int, ...] | None = None) -> None:
        self.variable = variable
        self.axes = axes


class Source(ABC):
    """Where a canonical tensor lives natively.

    Attributes:
        parts: names of the layer's native tensors that it is made of; one of a sublayer's is a path, `"cell/kernel"`.
        partial: native numbers beside the canonical ones lie in the parts, and are kept when it is written.
        is_plain: it is one native tensor as that is.
        keeps_all: the layer has a place for each of its numbers.
    """

    parts: tuple[str, ...]
    partial: bool
    is_plain = False
    keeps_all = True

    @abstractmethod
    def read(self, arrays: Sequence[Array]) -> Array:
        """The canonical array (a view where possible) made of the parts' arrays."""

    @abstractmethod
    def write(self, value: Array, olds: Sequence[Array]) -> tuple[Array, ...]:
        """The parts' arrays (views where possible) that make up the canonical one.

        Args:
            value: the canonical array.
            olds: the parts' present arrays; where the source is not partial their shapes alone are used.
        """

    @abstractmethod
    def shape(self, shapes: Sequence[Shape]) -> Shape:
        """The canonical shape that follows from the parts' shapes."""

    @abstractmethod
    def lead(self, shapes: Sequence[Shape]) -> int:
        """How many axes of a stack of layers stand before a layer's own, given the parts' shapes."""

    @abstractmethod
    def stacked(self, axes: Mapping[str, tuple[int, ...]], shapes: Mapping[str, Shape]) -> Source:
        """The same for a stack of such layers, whose axes come first in the canonical tensor.

        Args:
            axes: for each part, which of its axes are the stack's.
            shapes: the parts' shapes.
        """

    @abstractmethod
    def renamed(self, name: Callable[[str], str]) -> Source:
        """The same with other names for the parts."""

    @abstractmethod
    def identity(self, handles: Sequence[Handle]) -> Any:
        """A key that is equal for two tensors exactly if they are one storage seen the same way."""

    @abstractmethod
    def form(self) -> tuple[Any, ...]:
        """The rearrangement whatever the parts are called; tensors of one form can be tied part by part."""

    def kept(self, value: Array) -> Array:
        """The canonical array with zeros where the layer has nowhere to keep a number."""
        return value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Source) and (self.parts, self.form()) == (other.parts, other.form())

    def __hash__(self) -> int:
        return hash((self.parts, self.form()))


class At(Source):
    """A canonical tensor that is one native tensor, possibly rearranged.

    Args:
        part: the native tensor's name in its layer, `"kernel"`; a path into lists and dicts, `"scales.0"`, or into
            sublayers, `"cell/kernel"`.
        *steps: what turns the native tensor into the canonical one, in turn.
        axes: short for a first `Transpose`: as in `numpy.transpose`, from native to canonical.

    >>> from multiparam.steps import Insert, Merge
    >>> At("kernel", axes=(1, 0)).shape([(4, 8)])
    (8, 4)
    >>> At("kernel", Transpose((2, 3, 0, 1)), Merge(0), Insert(1)).shape([(5, 5, 3, 2)])
    (6, 1, 5, 5)
    """

    def __init__(self, part: str, *steps: Step, axes: Sequence[int] | None = None) -> None:
        if not isinstance(part, str):
            raise ArgumentError(f"At takes the native tensor's name, not {part!r}")
        self.parts = (part,)
        self.stack: int | None = None  # how many axes of a stack come first, where that is known
        first = _normal(axes)
        if first is None and steps and isinstance(steps[0], Transpose):
            first, steps = _normal(steps[0].axes), steps[1:]
        self.axes = first
        self.steps = steps
        self.partial = any(step.partial for step in steps)
        self.is_plain = first is None and not steps

    def read(self, arrays: Sequence[Array]) -> Array:
        (array,) = arrays
        if self.is_plain:
            return array
        for step, lead in self._all(array.shape):
            array = step.do(array, lead)
        return array

    def write(self, value: Array, olds: Sequence[Array]) -> tuple[Array, ...]:
        (old,) = olds
        before = []
        for step, lead in self._all(old.shape):
            before.append((step, lead, old))
            old = step.do(old, lead) if self.partial else stand_in(step.shape(old.shape, lead), old.dtype)
        for step, lead, old in reversed(before):
            value = step.undo(value, old, lead)
        return (value,)

    def shape(self, shapes: Sequence[Shape]) -> Shape:
        (shape,) = shapes
        if self.is_plain:
            return shape
        for step, lead in self._all(shape):
            shape = step.shape(shape, lead)
        return tuple(shape)

    def lead(self, shapes: Sequence[Shape]) -> int:
        return self._behind(shapes[0]) if self.stack is None else self.stack

    def stacked(self, axes: Mapping[str, tuple[int, ...]], shapes: Mapping[str, Shape]) -> At:
        part = self.parts[0]
        first, rank = axes[part], len(shapes[part])
        others = [axis for axis in range(rank) if axis not in first]
        own = self.axes or tuple(range(len(others)))
        made = At(part, *self.steps, axes=(*first, *(others[axis] for axis in own)))
        made.stack = len(first)
        return made

    def renamed(self, name: Callable[[str], str]) -> At:
        made = At(name(self.parts[0]), *self.steps, axes=self.axes)
        made.stack = self.stack
        return made

    def _behind(self, shape: Shape) -> int:
        """How many axes stand before those that the first transposition is about."""
        behind = 0 if self.axes is None else len(shape) - len(self.axes)
        if behind < 0:
            raise ArgumentError(f"{self!r} is about {len(self.axes or ())} axes, and the native shape is {shape}")
        return behind

    def identity(self, handles: Sequence[Handle]) -> Any:
        (handle,) = handles
        axes = self.axes if handle.axes is None else compose(handle.axes, self.axes)
        own = id(handle.variable)
        return own if axes is None and not self.steps else (own, axes, self.steps)

    def form(self) -> tuple[Any, ...]:
        return ("At", self.axes, self.steps, self.stack)

    def _all(self, shape: Shape) -> Iterator[tuple[Step, int]]:
        """The steps, each with how many axes of a native tensor of that shape stand before those it is about."""
        if self.axes is not None:
            yield Transpose(self.axes), self._behind(shape)
        lead = self.lead([shape])
        for step in self.steps:
            yield step, lead

    def __repr__(self) -> str:
        steps = "".join(f", {step!r}" for step in self.steps)
        return f"At({self.parts[0]!r}{steps}{'' if self.axes is None else f', axes={self.axes}'})"


class Concat(Source):
    """A canonical tensor that is several native ones behind each other along its first axis.

    Args:
        *sources: the blocks, in canonical order; a name is the native tensor as it is.

    >>> Concat(At("query", axes=(1, 0)), At("key", axes=(1, 0))).shape([(4, 8), (4, 8)])
    (16, 4)
    """

    def __init__(self, *sources: str | Source) -> None:
        if not sources or not all(isinstance(one, (str, Source)) for one in sources):
            raise ArgumentError(f"Concat takes the native tensors' names or their layouts, not {sources!r}")
        self.sources = tuple(as_source(one) for one in sources)
        self.parts = tuple(part for source in self.sources for part in source.parts)
        self.partial = any(source.partial for source in self.sources)

    def read(self, arrays: Sequence[Array]) -> Array:
        lead = self.lead([array.shape for array in arrays])
        return np.concatenate([source.read(own) for source, own in self._shared_out(arrays)], lead)

    def write(self, value: Array, olds: Sequence[Array]) -> tuple[Array, ...]:
        made: list[Array] = []
        start, lead = 0, self.lead([old.shape for old in olds])
        for source, own in self._shared_out(olds):
            extent = source.shape([one.shape for one in own])[lead]
            made += source.write(value[(slice(None),) * lead + (slice(start, start + extent),)], own)
            start += extent
        return tuple(made)

    def shape(self, shapes: Sequence[Shape]) -> Shape:
        blocks = [source.shape(own) for source, own in self._shared_out(shapes)]
        lead = self.lead(shapes)
        if any(len(block) <= lead or _without(block, lead) != _without(blocks[0], lead) for block in blocks):
            raise ArgumentError(
                f"{self!r} puts tensors behind each other that do not fit: {', '.join(map(str, blocks))}"
            )
        return (*blocks[0][:lead], sum(block[lead] for block in blocks), *blocks[0][lead + 1 :])

    def lead(self, shapes: Sequence[Shape]) -> int:
        source, own = next(self._shared_out(shapes))
        return source.lead(own)

    def stacked(self, axes: Mapping[str, tuple[int, ...]], shapes: Mapping[str, Shape]) -> Concat:
        return Concat(*(source.stacked(axes, shapes) for source in self.sources))

    def renamed(self, name: Callable[[str], str]) -> Concat:
        return Concat(*(source.renamed(name) for source in self.sources))

    def identity(self, handles: Sequence[Handle]) -> tuple[Any, ...]:
        return tuple(source.identity(own) for source, own in self._shared_out(handles))

    def form(self) -> tuple[Any, ...]:
        return ("Concat", *(source.form() for source in self.sources))

    def _shared_out(self, things: Sequence[Any]) -> Iterator[tuple[Source, Sequence[Any]]]:
        start = 0
        for source in self.sources:
            yield source, things[start : start + len(source.parts)]
            start += len(source.parts)

    def __repr__(self) -> str:
        return f"Concat({', '.join(map(repr, self.sources))})"


class Block(Source):
    """A canonical tensor of which the layer keeps one of several equal blocks; the others are always zero.

    Args:
        source: the block that is kept.
        position: which of the blocks along the first axis it is.
        of: how many there are.

    >>> Block(At("bias"), 2, 3).read([np.ones(2)])
    array([0., 0., 0., 0., 1., 1.])
    """

    keeps_all = False

    def __init__(self, source: Source, position: int, of: int) -> None:
        self.source, self.position, self.of = source, position, of
        self.parts = source.parts
        self.partial = source.partial
        self.stack = 0

    def read(self, arrays: Sequence[Array]) -> Array:
        block, lead = self.source.read(arrays), self.lead([array.shape for array in arrays])
        whole = np.zeros(self._whole(block.shape, lead), block.dtype)
        whole[self._kept(whole, lead)] = block
        return whole

    def write(self, value: Array, olds: Sequence[Array]) -> tuple[Array, ...]:
        return self.source.write(value[self._kept(value, self.lead([old.shape for old in olds]))], olds)

    def shape(self, shapes: Sequence[Shape]) -> Shape:
        return self._whole(self.source.shape(shapes), self.lead(shapes))

    def lead(self, shapes: Sequence[Shape]) -> int:
        return self.source.lead(shapes)

    def stacked(self, axes: Mapping[str, tuple[int, ...]], shapes: Mapping[str, Shape]) -> Block:
        made = Block(self.source.stacked(axes, shapes), self.position, self.of)
        made.stack = len(axes[self.parts[0]])
        return made

    def renamed(self, name: Callable[[str], str]) -> Block:
        made = Block(self.source.renamed(name), self.position, self.of)
        made.stack = self.stack
        return made

    def identity(self, handles: Sequence[Handle]) -> tuple[Any, ...]:
        return ("Block", self.position, self.of, self.source.identity(handles))

    def form(self) -> tuple[Any, ...]:
        return ("Block", self.position, self.of, *self.source.form())

    def kept(self, value: Array) -> Array:
        zeros, here = np.zeros_like(value), self._kept(value, self.stack)
        zeros[here] = value[here]
        return zeros

    def _whole(self, block: Shape, lead: int) -> Shape:
        return (*block[:lead], self.of * block[lead], *block[lead + 1 :])

    def _kept(self, whole: Array, lead: int) -> tuple[slice, ...]:
        extent = whole.shape[lead] // self.of
        return (slice(None),) * lead + (slice(self.position * extent, (self.position + 1) * extent),)

    def __repr__(self) -> str:
        return f"Block({self.source!r}, {self.position}, {self.of})"


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
        raise ArgumentError(f"axes must be a permutation of 0..{len(axes) - 1}, not {tuple(axes)}")
    return tuple(axes)


def _without(shape: Shape, axis: int) -> Shape:
    return (*shape[:axis], *shape[axis + 1 :])


def stand_in(shape: Shape, dtype: Any) -> Array:
    """An array of a shape that takes no memory, for where only the shape matters."""
    return np.broadcast_to(np.zeros((), dtype), shape)


def seen_through(handle: Handle, array: Array) -> Array:
    """The variable's array as the layer sees it."""
    return array if handle.axes is None else np.transpose(array, handle.axes)


def put_through(handle: Handle, array: Array) -> Array:
    """The inverse of `seen_through`."""
    return array if handle.axes is None else np.transpose(array, invert(handle.axes))
