"""As much of HDF5 as Keras's files need: groups, arrays that lie in one piece, and the names in attributes.

The library of HDF5 itself crashes or runs for ever on damaged files, and takes its time; this reads the older form of
the format, which h5py writes unless it is told otherwise, and checks every address. Source: the HDF5 File Format
Specification, version 3.0.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import ml_dtypes
import numpy as np

from multiparam.formats import Entry, data_size, join, stored

__all__ = ["MAGIC", "Group", "groups"]

MAGIC = b"\x89HDF\r\n\x1a\n"
_DEEPEST = 32  # groups in groups
_REPEATED = 8  # arrays may take this many times the file's bytes together, since they may lie in each other
_NOWHERE = 2**64 - 1
_DATASPACE, _DATATYPE, _EXTERNAL, _LAYOUT, _FILTERS, _ATTRIBUTE, _CONTINUED, _TABLE = 1, 3, 7, 8, 11, 12, 16, 17
_NEWER = "it is of a newer form of HDF5 than Keras writes; a copy that h5py makes is of the older one"
_CHUNKED = "it is in chunks or compressed, as Keras writes none; h5repack -l CONTI -f NONE makes it plain"


@dataclass
class Group:
    """A group of a file.

    Attributes:
        path: its name in the file, with dots.
        arrays: what it directly holds, by name.
        groups: the groups in it, by name.
        label: its attribute `name`; empty if it has none.
    """

    path: str
    arrays: dict[str, Entry] = field(default_factory=dict)
    groups: dict[str, Group] = field(default_factory=dict)
    label: str = ""


def groups(data: memoryview) -> Group:
    """The root of an HDF5 file, with all that is in it; numbers are read when they are asked for.

    Args:
        data: the file's bytes.

    Raises:
        ValueError: it is damaged, or of a form that is not known here.
    """
    return _Reader(data).root()


class _Reader:
    """Goes from address to address, each of which is checked and none followed twice."""

    def __init__(self, data: memoryview) -> None:
        self.data = data
        self.left = (_REPEATED + 1) * len(data)
        self.seen: set[int] = set()

    def root(self) -> Group:
        start = self.take(0, 100)
        if start[:8] != MAGIC:
            raise ValueError("it does not begin as one")
        version = start[8]
        if version > 1:
            raise ValueError(_NEWER)
        if start[13:15] != b"\x08\x08":
            raise ValueError("its addresses are not of eight bytes")
        entry = 24 + 32 + 4 * version
        if int.from_bytes(start[24 + 4 * version : 32 + 4 * version], "little"):
            raise ValueError("it begins behind something else")
        return self.group(self.messages(self.number(entry + 8, 8)), "", 0)

    def take(self, at: int, size: int) -> bytes:
        if at + size > len(self.data):
            raise ValueError(f"it ends within itself: {size} bytes wanted at byte {at}, of {len(self.data)}")
        return bytes(self.data[at : at + size])

    def number(self, at: int, size: int) -> int:
        return int.from_bytes(self.take(at, size), "little")

    def once(self, at: int) -> None:
        if at in self.seen:
            raise ValueError(f"it comes twice to byte {at}")
        self.seen.add(at)

    def marked(self, at: int, mark: bytes) -> None:
        if self.take(at, 4) != mark:
            raise ValueError(f"there is no {mark.decode()} at byte {at}")

    def messages(self, at: int) -> list[tuple[int, int, int]]:
        """An object's messages: what each is, where it begins, and its size."""
        head = self.take(at, 16)
        if head[0] != 1:
            raise ValueError(_NEWER if head[:4] == b"OHDR" else f"there is no object at byte {at}")
        blocks = [(at + 16, int.from_bytes(head[8:12], "little"))]
        found: list[tuple[int, int, int]] = []
        visited = set()
        for start, size in blocks:  # grows as it goes
            if start in visited:
                raise ValueError(f"the object at byte {at} goes on in itself")
            visited.add(start)
            self.take(start, 0)
            position, stop = start, start + size
            while position + 8 <= stop:
                kind, length = self.number(position, 2), self.number(position + 2, 2)
                self.take(position, 8 + length)
                self.left -= 8
                if self.left < 0:
                    raise ValueError("its objects lie in each other")
                if kind == _CONTINUED:
                    blocks.append((self.number(position + 8, 8), self.number(position + 16, 8)))
                found.append((kind, position + 8, length))
                position += 8 + length
        return found

    def group(self, messages: list[tuple[int, int, int]], path: str, depth: int) -> Group:
        if depth > _DEEPEST:
            raise ValueError(f"it has more than {_DEEPEST} groups in each other")
        found = Group(path, label=self.text(messages, b"name"))
        table = next((at for kind, at, _ in messages if kind == _TABLE), None)
        if table is None:
            raise ValueError(_NEWER)
        heap = self.number(table + 8, 8)
        self.marked(heap, b"HEAP")
        names = self.number(heap + 24, 8), self.number(heap + 8, 8)
        for at, address in self.members(self.number(table, 8), 256):
            name = self.name(names, at)
            self.left -= len(path) + len(name)
            if self.left < 0 or name in found.groups or name in found.arrays:
                raise ValueError(f"two of its objects are called {join(path, name)!r}")
            inner = self.messages(address)
            kinds = {kind for kind, *_ in inner}
            if _TABLE in kinds:
                self.once(address)
                found.groups[name] = self.group(inner, join(path, name), depth + 1)
            elif {_DATASPACE, _DATATYPE, _LAYOUT} <= kinds:
                found.arrays[name] = self.array(inner, join(path, name))
        return found

    def members(self, at: int, above: int) -> Iterator[tuple[int, int]]:
        """Where the names and the objects of a group are, in the order of the names."""
        self.once(at)
        self.marked(at, b"TREE")
        level, count = self.number(at + 5, 1), self.number(at + 6, 2)
        if self.number(at + 4, 1) or level >= above:
            raise ValueError(f"there is no tree of a group at byte {at}")
        for index in range(count):
            child = self.number(at + 32 + 16 * index, 8)
            if level:
                yield from self.members(child, level)
                continue
            self.once(child)
            self.marked(child, b"SNOD")
            for entry in range(child + 8, child + 8 + 40 * self.number(child + 6, 2), 40):
                if self.number(entry + 16, 4) == 2:
                    raise ValueError("it has a link to elsewhere, which is not followed")
                yield self.number(entry, 8), self.number(entry + 8, 8)

    def name(self, names: tuple[int, int], at: int) -> str:
        start, size = names
        if at >= size:
            raise ValueError("it has an object without a name")
        raw = self.take(start + at, min(size - at, 1000, max(len(self.data) - start - at, 0)))
        name, end, _ = raw.partition(b"\0")
        if not end or not name:
            raise ValueError("it has an object without a name")
        return name.decode()

    def array(self, messages: list[tuple[int, int, int]], name: str) -> Entry:
        where = {kind: (at, size) for kind, at, size in messages}
        shape = self.shape(where[_DATASPACE][0])
        dtype = self.dtype(messages, where[_DATATYPE][0])
        layout, length = where[_LAYOUT]
        version, form = self.take(layout, 2)
        why = "" if dtype is not None else "it holds more than numbers"
        if version not in (3, 4) or form not in (0, 1) or {_FILTERS, _EXTERNAL} & where.keys():
            why = why or _CHUNKED
        if dtype is None or why:
            return Entry(name, np.dtype(np.void), shape, lambda: np.empty(0), refusal=why)
        if form == 0:
            first, held = layout + 4, min(self.number(layout + 2, 2), length - 4)
        else:
            first, held = self.number(layout + 2, 8), self.number(layout + 10, 8)
        size = data_size(shape, dtype)
        if size and (first == _NOWHERE or held != size or first + size > len(self.data)):
            raise ValueError(f"{name!r} claims {size} bytes, which are not in it")
        self.left -= size
        if self.left < 0:
            raise ValueError("its arrays lie in each other")
        return stored(name, lambda: self.data[first : first + size], dtype, shape)

    def shape(self, at: int) -> tuple[int, ...]:
        version, rank, _, kind = self.take(at, 4)
        if version not in (1, 2) or rank > 32 or (version == 2 and kind == 2):
            raise ValueError(f"there is no shape at byte {at}")
        start = at + (8 if version == 1 else 4)
        return tuple(self.number(start + 8 * axis, 8) for axis in range(rank))

    def dtype(self, messages: list[tuple[int, int, int]], at: int) -> np.dtype[Any] | None:
        head = self.take(at, 8)
        kind, size = head[0] & 15, int.from_bytes(head[4:], "little")
        order = ">" if head[1] & 1 else "<"
        if kind == 0 and size in (1, 2, 4, 8):
            return np.dtype(f"{order}{'i' if head[1] & 8 else 'u'}{size}")
        if kind == 1 and size in (2, 4, 8):
            parts = tuple(self.take(at + 13, 1) + self.take(at + 15, 1))  # bits of the exponent and of the mantissa
            if parts == (8, 7) and order == "<":
                return np.dtype(ml_dtypes.bfloat16)
            return np.dtype(f"{order}f{size}") if parts == {2: (5, 10), 4: (8, 23), 8: (11, 52)}[size] else None
        if kind == 8 and size == 1:
            return np.dtype(np.bool_)
        marked = kind == 5 and size == 2 and self.text(messages, b"dtype") == "bfloat16"
        return np.dtype(ml_dtypes.bfloat16) if marked else None

    def text(self, messages: list[tuple[int, int, int]], wanted: bytes) -> str:
        """An attribute that is text; empty if there is none."""
        for kind, at, size in messages:
            if kind != _ATTRIBUTE or size < 8:
                continue
            version, _, *sizes = (self.number(at, 1), 0, *(self.number(at + 2 + 2 * index, 2) for index in range(3)))
            padded = [(one + 7) // 8 * 8 if version == 1 else one for one in sizes]
            start = at + (8 if version < 3 else 9)
            if self.take(start, min(sizes[0], 100)).rstrip(b"\0") != wanted:
                continue
            kept = start + sum(padded)
            return self.string(start + padded[0], kept, at + size - kept)
        return ""

    def string(self, datatype: int, at: int, size: int) -> str:
        kind = self.number(datatype, 1) & 15
        if kind == 3 and size > 0:
            return self.take(at, min(size, 1000)).partition(b"\0")[0].decode()
        if kind != 9 or size < 16:
            return ""
        length, heap, index = self.number(at, 4), self.number(at + 4, 8), self.number(at + 12, 4)
        self.marked(heap, b"GCOL")
        position, stop = heap + 16, heap + self.number(heap + 8, 8)
        while position + 16 <= stop:
            number, held = self.number(position, 2), self.number(position + 8, 8)
            self.left -= 16
            if self.left < 0 or not number:
                break
            if number == index:
                return self.take(position + 16, min(length, held, 1000)).decode()
            position += 16 + (held + 7) // 8 * 8
        return ""
