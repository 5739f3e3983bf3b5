"""An array's bytes in C order, a piece at a time, so that a large one that lies otherwise is never there twice."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from functools import partial

import numpy as np

from .copying import copy_here
from .parallel import ahead
from .steps import Array

__all__ = ["pieces"]

PIECE = 1 << 20  # bytes


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
