"""Zip files, as several frameworks put their files into: members that are checked before a byte of them is used.

Nothing is ever unpacked into a folder, so that a member's name is a name and no path. What is packed is unpacked only
as far as it is asked for.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from ..errors import CheckpointError
from .disk import mapped

__all__ = ["Member", "Zip", "is_zip"]

_LOCAL = b"PK\x03\x04"
_EMPTY = b"PK\x05\x06"
_HEADER = 30  # bytes of a member's own header before its name
_MOST = 1_000_000  # members
_PIECE = 1 << 14  # bytes in the file that are unpacked at once
_STORED_PIECE = 1 << 20  # bytes that are as they are, and take no memory
_CHEAP = 1 << 16  # bytes that a member may unpack to however little it takes in the file


@dataclass(frozen=True)
class Member:
    """One file in a zip file.

    Attributes:
        name: its name.
        packed: whether its bytes are compressed.
        size: how many bytes it has, unpacked; not more than its bytes in the file can be.
    """

    name: str
    packed: bool
    size: int
    _raw: memoryview
    _crc: int

    @property
    def has_checksum(self) -> bool:
        """Whether it has one: writers that leave it out put a zero there."""
        return self._crc != 0

    def start(self, size: int) -> bytes:
        """Its first bytes, fewer if it is shorter.

        Raises:
            ValueError: they are damaged.
        """
        if not self.packed:
            return bytes(self._raw[:size])
        with _unpacking(self.name):
            return zlib.decompressobj(-15).decompress(self._raw, size) if size else b""

    def data(self) -> memoryview:
        """Its bytes, not compared with their checksum; a view of the file where they are stored as they are.

        Raises:
            ValueError: they cannot be unpacked.
        """
        if not self.packed:
            return self._raw
        machine = zlib.decompressobj(-15)
        with _unpacking(self.name):
            data = memoryview(machine.decompress(self._raw, self.size + 1))
        if len(data) != self.size or not machine.eof:
            raise self._other_size()
        return data

    def check(self) -> None:
        """Compares its bytes with their checksum, which `has_checksum` says is there, a piece at a time.

        Raises:
            ValueError: they are damaged.
        """
        checksum = size = 0
        for piece in self._pieces():
            checksum, size = zlib.crc32(piece, checksum), size + len(piece)
            if size > self.size:
                break
        if size != self.size:
            raise self._other_size()
        if checksum != self._crc:
            raise ValueError(f"{self.name!r} is damaged: its checksum is wrong")

    def _pieces(self) -> Iterator[bytes | memoryview]:
        machine = zlib.decompressobj(-15)
        size = _PIECE if self.packed else _STORED_PIECE
        for at in range(0, len(self._raw), size):
            piece = self._raw[at : at + size]
            with _unpacking(self.name):
                yield machine.decompress(piece) if self.packed else piece

    def _other_size(self) -> ValueError:
        return ValueError(f"{self.name!r} does not unpack to the {self.size} bytes that it claims")


class Zip:
    """The members of a zip file by name, none of them unpacked yet.

    Args:
        path: the file.

    Raises:
        CheckpointError: it cannot be read or is damaged: members of one name, outside of the file or in each other,
            encrypted ones, and ways of packing that are rarely used, are refused too.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        data = mapped(path)
        try:
            with zipfile.ZipFile(path) as file:
                infos = file.infolist()
            self.members = _members(infos, data)
        except Exception as error:  # zipfile has several for damaged files
            raise CheckpointError(path, f"a damaged zip file: {error or type(error).__name__}") from error


def is_zip(start: bytes) -> bool:
    r"""Whether a file that starts with these bytes is one.

    >>> is_zip(b"PK\x03\x04..."), is_zip(b"{}")
    (True, False)
    """
    return start[:4] in (_LOCAL, _EMPTY)


def _members(infos: list[zipfile.ZipInfo], data: memoryview) -> dict[str, Member]:
    if len(infos) > _MOST:
        raise ValueError(f"it claims {len(infos):,} members")
    found: dict[str, Member] = {}
    spans = []
    for info in infos:
        name = info.filename
        if name in found:
            raise ValueError(f"two members are called {name!r}")
        start = _start(info, data)
        stop = start + info.compress_size
        if stop > len(data):
            raise ValueError(f"{name!r} goes on behind the end of the file")
        spans.append((info.header_offset, stop, name))
        packed = info.compress_type != zipfile.ZIP_STORED
        # no byte of a deflated member becomes more than 1,032
        most = 1032 * info.compress_size + _CHEAP if packed else info.compress_size
        if info.file_size > most or (not packed and info.file_size != info.compress_size):
            raise ValueError(f"{name!r} claims {info.file_size} bytes, and has {info.compress_size} in the file")
        found[name] = Member(name, packed, info.file_size, data[start:stop], info.CRC)
    spans.sort()
    for (_, stop, name), (start, _, other) in pairwise(spans):
        if start < stop:
            raise ValueError(f"{name!r} and {other!r} lie in each other")
    return found


def _start(info: zipfile.ZipInfo, data: memoryview) -> int:
    """Where a member's bytes begin, behind a header of its own, which has to agree with the directory."""
    header = bytes(data[max(info.header_offset, 0) : info.header_offset + _HEADER])
    if len(header) < _HEADER or header[:4] != _LOCAL:
        raise ValueError(f"there is no {info.filename!r} where the directory says")
    if info.flag_bits & 1:
        raise ValueError(f"{info.filename!r} is encrypted")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{info.filename!r} is packed by method {info.compress_type}; there are 0 and 8 here")
    return (
        info.header_offset + _HEADER + int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:], "little")
    )


@contextmanager
def _unpacking(name: str) -> Iterator[None]:
    try:
        yield
    except zlib.error as error:
        raise ValueError(f"{name!r} cannot be unpacked: {error}") from error
