"""A tensor of a file, and how its numbers are read."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..arrays.dtypes import frozen
from ..arrays.threads import ahead
from ..arrays.types import Array, Shape

__all__ = [
    "Entry",
    "MOST_AXES",
    "data_size",
    "stored",
    "verified",
]


LARGE = 1 << 20  # bytes, from which on a thread is worth it
MOST_AXES = 32  # that numpy has in every version


@dataclass(eq=False, slots=True)  # a file has thousands of them: a frozen one takes three times as long to make
class Entry:
    """A tensor of a file, read when its turn has come.

    Attributes:
        name: its name; in a file that multiparam writes its key.
        dtype: its numpy dtype.
        shape: its shape.
        read: gives its array.
        original: what the file calls it, or all that it is made of; empty where it is as the file has it.
        refusal: why its numbers cannot be read; empty if they can.
        check: raises a CheckpointError if the file's bytes are not those that were written; None where it cannot tell.
        whole: a part is read with all the rest, and compared as that.
        settled: its array is made for the purpose, so that nobody changes it.

    >>> entry = Entry("bias", np.dtype(np.float32), (3,), lambda: np.arange(3, dtype=np.float32))
    >>> entry, entry[1:]
    (<bias (3,) float32>, array([1., 2.], dtype=float32))
    """

    name: str
    dtype: np.dtype[Any]
    shape: Shape
    read: Callable[[], Array] = field(repr=False)
    original: tuple[str, ...] = ()
    refusal: str = ""
    check: Callable[[], None] | None = field(default=None, repr=False)
    whole: bool = field(default=False, repr=False)
    settled: bool = field(default=False, repr=False)

    @property
    def size(self) -> int:
        """Bytes."""
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def value(self) -> Array:
        """Its numbers, read-only and checked; a view of the file where it can be one."""
        self.verify()
        return frozen(self.read()[...])

    def verify(self) -> None:
        """Raises a CheckpointError if the file's bytes are not those that were written, where it can tell."""
        if self.check is not None:
            self.check()

    def __getitem__(self, index: Any) -> Array:
        part = np.asarray(self.read()[...][index])
        if self.whole or part.size == math.prod(self.shape):  # which nearly always is all of it
            self.verify()
        return frozen(part)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return np.array(self.value, dtype) if copy else np.asarray(self.value, dtype)

    def __repr__(self) -> str:
        return f"<{self.name} {self.shape} {self.dtype}>"


def verified(entries: Sequence[Entry]) -> Iterator[Entry]:
    """The entries, each once it was compared with its digest, where it has one; large ones in threads.

    Raises:
        CheckpointError: one is damaged.
    """
    large = ahead(Entry.verify, (entry for entry in entries if entry.size >= LARGE))
    for entry in entries:
        if entry.size >= LARGE:
            next(large)
        else:
            entry.verify()
        yield entry


def data_size(shape: Sequence[int], dtype: np.dtype[Any]) -> int:
    """How many bytes an array takes.

    Raises:
        ValueError: numpy can have no array of that shape.

    >>> data_size((2, 3), np.dtype(np.float32))
    24
    """
    if any(extent.bit_length() > 63 for extent in shape):
        raise ValueError("claims more numbers than there can be")  # too many digits to print, maybe
    if len(shape) > MOST_AXES or any(extent < 0 for extent in shape):
        raise ValueError(f"claims {len(shape)} axes of extents {tuple(shape[:4])}{', …' if len(shape) > 4 else ''}")
    if math.prod(extent for extent in shape if extent) * dtype.itemsize >= 2**63:
        raise ValueError(f"claims more numbers than there can be: {tuple(shape)}")
    return math.prod(shape) * dtype.itemsize


def stored(
    name: str,
    data: Callable[[], Any],
    dtype: np.dtype[Any],
    shape: Shape,
    *,
    fortran: bool = False,
    original: tuple[str, ...] = (),
) -> Entry:
    """An entry whose numbers lie in a file's bytes.

    Args:
        name: its name.
        data: gives the bytes, whose number has been checked.
        dtype: their dtype; one of another byte order is turned.
        shape: the shape.
        fortran: the first axis varies fastest.
        original: its name in the file, if another.
    """
    native = dtype.newbyteorder("=")

    def read() -> Array:
        if not math.prod(shape):
            return np.empty(shape, native)
        array = np.frombuffer(data(), dtype).reshape(shape, order="F" if fortran else "C")
        # a file puts its tensors anywhere; not all that works on arrays takes them from there
        return array.astype(native) if dtype != native or not array.flags.aligned else array

    return Entry(name, native, shape, read, original)
