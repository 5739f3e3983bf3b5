"""An array's bytes in C order, a piece at a time, so that a large one that lies otherwise is never there twice."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .copying import copy_here
from .parallel import ahead
from .steps import Array

__all__ = ["pieces"]

PIECE = 1 << 20  # bytes


def pieces(array: Array) -> Iterator[memoryview]:
    r"""The array's bytes in C order.

    They are copies, each as of one moment: whoever changes the array meanwhile, a digest of a piece is that of what is
    written. The next pieces are made while one is used.

    Args:
        array: of any strides.

    >>> b"".join(pieces(np.array([[1, 2], [3, 4]], np.uint8).T))
    b'\x01\x03\x02\x04'
    """
    if not array.size:
        return
    if array.flags.c_contiguous:
        array = array.reshape(-1).view(np.uint8)
    row = array[0].nbytes
    if row > PIECE and array.ndim > 1:
        for one in array:
            yield from pieces(one)
        return
    rows = max(1, PIECE // row)
    blocks = [array[start : start + rows] for start in range(0, len(array), rows)]
    yield from map(_bytes, map(_in_order, blocks) if len(blocks) == 1 else ahead(_in_order, blocks))


def _in_order(array: Array) -> Array:
    made = np.empty(array.shape, array.dtype)
    copy_here(array, made)
    return made


def _bytes(array: Array) -> memoryview:
    return array.reshape(-1).view(np.uint8).data
