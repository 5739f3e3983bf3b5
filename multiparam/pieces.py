"""An array's bytes in C order, a piece at a time: what lies transposed is turned in tiles.

numpy copies a transposed array element by element in the order of one side, and misses the cache with every element of
the other; tiles that fit into the cache are several times faster.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .steps import Array

__all__ = ["pieces"]

PIECE = 4 << 20  # bytes
TILE = 64  # elements on each side


def pieces(array: Array) -> Iterator[memoryview]:
    r"""The array's bytes in C order.

    Args:
        array: of any strides. One that lies in C order comes as it is, in one piece and without a copy.

    Returns:
        Pieces, each good until the next one is asked for.

    >>> b"".join(pieces(np.array([[1, 2], [3, 4]], np.uint8).T))
    b'\x01\x03\x02\x04'
    """
    if not array.size:
        return
    if array.flags.c_contiguous:
        yield _bytes(array)
        return
    row = array[0].nbytes
    if row > PIECE and array.ndim > 1:
        for one in array:
            yield from pieces(one)
        return
    rows = max(1, PIECE // row)
    buffer = np.empty((min(rows, len(array)), *array.shape[1:]), array.dtype)
    for start in range(0, len(array), rows):
        block = array[start : start + rows]
        _turn(block, buffer[: len(block)])
        yield _bytes(buffer[: len(block)])


def _turn(source: Array, target: Array) -> None:
    """Copies; where the source's first axis is its fastest, in tiles."""
    order = _merging(source)
    if order is None:
        np.copyto(target, source)
        return
    # (first, the others in the source's order) is a matrix whose columns lie behind each other
    moved = source.transpose(0, *order)
    matrix = np.lib.stride_tricks.as_strided(
        moved, (len(source), source[0].size), (source.strides[0], moved.strides[-1]), writeable=False
    )
    if source.ndim == 2:
        _tile(matrix, target)
        return
    flat = np.empty(matrix.shape, source.dtype)
    _tile(matrix, flat)
    back = np.argsort(order) + 1
    np.copyto(target, flat.reshape(moved.shape).transpose(0, *back))


def _merging(source: Array) -> list[int] | None:
    """The axes behind the first from the slowest to the fastest, if they are one axis in that order; else None."""
    if source.ndim < 2 or min(source.strides) < 1 or source.strides[0] != min(source.strides):
        return None
    order = sorted(range(1, source.ndim), key=lambda axis: -source.strides[axis])
    extents, strides = [source.shape[axis] for axis in order], [source.strides[axis] for axis in order]
    merged = all(strides[at] == strides[at + 1] * extents[at + 1] for at in range(len(order) - 1))
    return order if merged else None


def _tile(source: Array, target: Array) -> None:
    lines, columns = source.shape
    for line in range(0, lines, TILE):
        for column in range(0, columns, TILE):
            here = (slice(line, line + TILE), slice(column, column + TILE))
            np.copyto(target[here], source[here])


def _bytes(array: Array) -> memoryview:
    return array.reshape(-1).view(np.uint8).data
