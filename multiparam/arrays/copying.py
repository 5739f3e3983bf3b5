"""Copying arrays between layouts, as fast as the memory allows.

numpy copies a transposed array element by element in the order of one side, and misses the cache with every element of
the other. Tiles that fit into the cache, brought there in the order of one side and taken from there in the order of
the other, are ten times faster.
"""

from __future__ import annotations

import itertools
import math
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

from .threads import ahead, each
from .types import Array

__all__ = ["copy", "copy_each", "copy_here", "fresh", "pieces"]

TILE = 1 << 10  # bytes in a line of a tile
LINES = 448  # of a tile, each in a line of the nearest cache of 32 KB while they are read across
SMALL = 64 << 10  # bytes, which the cache holds anyway
LARGE = 4 << 20  # bytes, from which on threads are worth it
HELD = 100_000_000  # bytes of arrays that wait for threads
PIECE = 1 << 20  # bytes, of which an array is handed over at a time
ALIGNMENT = 64  # bytes; memory that is aligned to it is taken over by JAX and TensorFlow, not copied

_own = threading.local()

_Copy = Callable[[Array, Array], None]


def fresh(source: Array) -> Array:
    """A copy in C order, aligned to 64 bytes.

    >>> fresh(np.arange(6).reshape(2, 3).T)
    array([[0, 3],
           [1, 4],
           [2, 5]])
    """
    memory = np.empty(source.nbytes + ALIGNMENT, np.uint8)
    first = -memory.ctypes.data % ALIGNMENT
    made: Array = memory[first : first + source.nbytes].view(source.dtype).reshape(source.shape)
    copy(source, made)
    return made


def copy(source: Array, target: Array) -> None:
    """Copies an array into another of its shape, each of any strides; a large one in several threads.

    >>> target = np.empty((3, 2), int)
    >>> copy(np.arange(6).reshape(2, 3).T, target)
    >>> target[2]
    array([2, 5])
    """
    copy_each([(source, target)])


def copy_each(pairs: Iterable[tuple[Array, Array]]) -> None:
    """As `copy`, of several arrays; the threads go on from one to the next without a pause.

    Args:
        pairs: an array and the one that it is copied into, each; a hundred megabytes of them are held at once.

    >>> targets = np.zeros(2), np.zeros(3)
    >>> copy_each([(np.ones(2), targets[0]), (np.arange(3), targets[1])])
    >>> targets
    (array([1., 1.]), array([0., 1., 2.]))
    """
    shares: list[tuple[Array, Array]] = []
    targets: list[Array] = []
    held = 0
    for source, target in pairs:
        source, target = _squeezed(source, target)
        if np.may_share_memory(source, target):
            source = np.array(source)  # or what was written would be read
        if any(np.may_share_memory(target, other) for other in targets):
            each(_copy_share, shares)  # of what overlaps the last one stays
            shares, targets, held = [], [], 0
        if source.nbytes < LARGE:
            copy_here(source, target)
            continue
        targets.append(target)
        shares += _shares(source, target)
        held += source.nbytes
        if held >= HELD:
            each(_copy_share, shares)
            shares, targets, held = [], [], 0
    each(_copy_share, shares)


def _shares(source: Array, target: Array) -> Iterator[tuple[Array, Array]]:
    """A large array and where it goes, in parts."""
    if source.flags.c_contiguous and target.flags.c_contiguous:
        source, target = source.reshape(-1), target.reshape(-1)
    axis, way = _way(source)
    lines = max(1, LARGE * source.shape[axis] // source.nbytes)
    edge = _edge(source.dtype)
    if way is _from_first_fastest and source.ndim == 2 and lines < edge:
        axis, edge = 1, LINES  # tiles would be narrower than they are long
        lines = max(1, LARGE * source.shape[axis] // source.nbytes)
    lines = lines // edge * edge or lines  # no part of a tile is left over
    for start in range(0, source.shape[axis], lines):
        share = (*(slice(None),) * axis, slice(start, start + lines))
        yield source[share], target[share]


def _copy_share(share: tuple[Array, Array]) -> None:
    copy_here(*share)


def copy_here(source: Array, target: Array) -> None:
    """As `copy`, in this thread."""
    if source.nbytes <= SMALL or source.dtype.hasobject:
        np.copyto(target, source)
        return
    source, target = _squeezed(source, target)
    if source.dtype == target.dtype and source.dtype.isbuiltin == 2 and source.dtype.itemsize in (1, 2, 4, 8):
        bits = np.dtype(f"u{source.dtype.itemsize}")  # numpy copies dtypes that are not its own one by one
        source, target = source.view(bits), target.view(bits)
    _, way = _way(source)
    way(source, target)


def _squeezed(source: Array, target: Array) -> tuple[Array, Array]:
    """Both without axes of one element, which would hide in which order the others lie."""
    alike = 1 in source.shape and source.shape == target.shape
    return (source.squeeze(), target.squeeze()) if alike else (source, target)


def _way(source: Array) -> tuple[int, _Copy]:
    """The axis along which an array is best shared out, and how it is copied into one in C order."""
    order, last = _order(source), source.ndim - 1
    if not order or order[-1] == last:
        return 0, _as_it_is
    rows = order[-1] == 0 and _is_one_axis(source, order[:-1])
    columns = order[0] == last and _is_one_axis(source, order[1:])
    if rows and (source.ndim == 2 or not columns or len(source) >= source.shape[last]):
        return 0, _from_first_fastest
    if columns:
        return last, _from_last_slowest
    return 0, _each if order[0] == 0 and source[0].nbytes > SMALL else _as_it_is


def _as_it_is(source: Array, target: Array) -> None:
    np.copyto(target, source)


def _each(source: Array, target: Array) -> None:
    for one, its in zip(source, target, strict=True):
        copy_here(one, its)


def _order(source: Array) -> list[int]:
    """The axes from the slowest to the fastest, as they lie; empty where some run backwards or stand still."""
    if source.ndim == 0 or min(source.strides) < 1:
        return []
    return sorted(range(source.ndim), key=lambda axis: -source.strides[axis])


def _is_one_axis(source: Array, order: Sequence[int]) -> bool:
    """Whether axes are one in that order."""
    return all(
        source.strides[slow] == source.strides[fast] * source.shape[fast] for slow, fast in itertools.pairwise(order)
    )


def _matrix(source: Array, axis: int, others: Sequence[int]) -> Array:
    """The axis, and the others as one."""
    shape = (source.shape[axis], math.prod(source.shape[other] for other in others))
    return np.lib.stride_tricks.as_strided(
        source, shape, (source.strides[axis], source.strides[others[-1]]), writeable=False
    )


def _from_first_fastest(source: Array, target: Array) -> None:
    if source.ndim == 2:
        _tile(source, target)
        return
    order = _order(source)
    matrix = _matrix(source, 0, order[:-1])
    extents = [source.shape[axis] for axis in order[:-1]]
    back = (0, *(1 + order.index(axis) for axis in range(1, source.ndim)))
    edge = _edge(source.dtype)
    for start in range(0, len(source), edge):
        rows = matrix[start : start + edge]
        flat = np.empty(rows.shape, source.dtype)
        _tile(rows, flat)
        np.copyto(target[start : start + edge], flat.reshape(-1, *extents).transpose(back))


def _from_last_slowest(source: Array, target: Array) -> None:
    order = _order(source)
    matrix = _matrix(source, source.ndim - 1, order[1:]).T
    extents = [source.shape[axis] for axis in order[1:]]
    back = [order.index(axis) - 1 for axis in range(source.ndim - 1)]
    edge = _edge(source.dtype)
    for start in range(0, source.shape[-1], edge):
        columns = matrix[:, start : start + edge]
        flat = np.empty(columns.shape, source.dtype)
        _tile(columns, flat)
        np.copyto(target[..., start : start + edge], flat.reshape(*extents, -1).transpose(*back, source.ndim - 1))


def _tile(source: Array, target: Array) -> None:
    """Copies a matrix whose first axis is its fastest into one whose last axis is."""
    length, near = _edge(source.dtype), _near(source.dtype)
    rows, columns = source.shape
    for row in range(0, rows, length):
        for column in range(0, columns, LINES):
            here = (slice(row, row + length), slice(column, column + LINES))
            tile = source[here].T
            lines = near[: tile.shape[0], : tile.shape[1]]
            np.copyto(lines, tile)
            np.copyto(target[here], lines.T)


def _near(dtype: np.dtype[Any]) -> Array:
    """A tile in the cache: each thread has one, since fresh memory takes longer to get than a tile to copy."""
    # a little wider than a tile, since the cache keeps what lies a power of two apart in the same few places
    shape = (LINES, _edge(dtype) + ALIGNMENT // dtype.itemsize)
    size = math.prod(shape) * dtype.itemsize
    memory = getattr(_own, "memory", None)
    if memory is None or memory.nbytes < size:
        memory = _own.memory = np.empty(size, np.uint8)
    near: Array = memory[:size].view(dtype).reshape(shape)
    return near


def _edge(dtype: np.dtype[Any]) -> int:
    """Elements in a line of a tile."""
    return max(1, TILE // dtype.itemsize)


def pieces(array: Array, settled: bool = False) -> Iterator[memoryview]:
    r"""The array's bytes in C order.

    They are copies, each as of one moment: whoever changes the array meanwhile, a digest of a piece is that of what is
    written. The next pieces are made while one is used. Each is good until the next is asked for: its memory is used
    again.

    Args:
        array: of any strides.
        settled: nobody can change it, so that one that lies in C order need not be copied.

    >>> b"".join(map(bytes, pieces(np.array([[1, 2], [3, 4]], np.uint8).T)))
    b'\x01\x03\x02\x04'
    """
    if not array.size:
        return
    if array.flags.c_contiguous:
        array = array.reshape(-1).view(np.uint8)
        if settled:
            yield from (array[start : start + PIECE].data for start in range(0, len(array), PIECE))
            return
    row = array[0].nbytes
    if row > PIECE and array.ndim > 1:
        for one in array:
            yield from pieces(one, settled)
        return
    rows = max(1, PIECE // row)
    blocks = [array[start : start + rows] for start in range(0, len(array), rows)]
    free: deque[Array] = deque()
    make = partial(_in_order, free)
    for memory, size in map(make, blocks) if len(blocks) == 1 else ahead(make, blocks):
        yield memory[:size].data
        free.append(memory)


def _in_order(free: deque[Array], array: Array) -> tuple[Array, int]:
    """A copy in C order, in memory that is free or fresh, and its size in bytes."""
    try:
        memory = free.pop()
    except IndexError:
        memory = np.empty(max(PIECE, array.nbytes), np.uint8)
    copy_here(array, memory[: array.nbytes].view(array.dtype).reshape(array.shape))
    return memory, array.nbytes
