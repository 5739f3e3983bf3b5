"""numpy's `.npy` and `.npz` files, read entry by entry.

A `.npz` is a zip file of `.npy` files. Only headers are read before an array is asked for, and what is compressed is
unpacked to as many bytes as its header and its shape say, no more. Source: numpy/lib/format.py.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from multiparam.formats import CheckpointError, Contents, Entry, Format, data_size, mapped, nobodys, stored
from multiparam.zip_file import Member, Zip, is_zip

__all__ = ["npy_file", "npz_file"]

T = TypeVar("T")
_MAGIC = b"\x93NUMPY"
_LONGEST = 10_000  # characters of a header, as numpy has it
_START = len(_MAGIC) + 2 + 4 + _LONGEST
_NUMBERS = frozenset(
    ("b1", *(f"{kind}{size}" for kind in "iu" for size in (1, 2, 4, 8)), "f2", "f4", "f8", "c8", "c16")
)
_REFUSED = {
    "O": "it is an array of Python objects, a pickle, which would have to be run",
    "V": "it is of raw bytes, and the file does not say what they are; so numpy saves a bfloat16",
    "U": "it is an array of text",
    "S": "it is an array of text",
    "M": "it is an array of dates",
    "m": "it is an array of spans of time",
}
_FIELD = r"'{}'\s*:\s*{}"
_DESCR = re.compile(_FIELD.format("descr", r"'([<>|=]?)([a-zA-Z])(\d*)[^']*'"))
_ORDER = re.compile(_FIELD.format("fortran_order", "(True|False)"))
_SHAPE = re.compile(_FIELD.format("shape", r"\(([\dL, ]*)\)"))


@dataclass(frozen=True)
class _Header:
    """What a `.npy` file says before its numbers begin, at `start`."""

    start: int
    dtype: np.dtype[Any] | None
    why: str
    fortran: bool
    shape: tuple[int, ...]


def _header(data: bytes) -> _Header:
    if data[:6] != _MAGIC or data[6:7] not in (b"\1", b"\2", b"\3"):
        raise ValueError("has no header of numpy's")
    width = 2 if data[6] == 1 else 4
    start = 8 + width + int.from_bytes(data[8 : 8 + width], "little")
    if start > min(len(data), _START):
        raise ValueError("ends within its header" if start <= _START else f"claims a header of {start} bytes")
    text = data[8 + width : start].decode("latin-1")
    order, shape = _ORDER.search(text), _SHAPE.search(text)
    if order is None or shape is None:
        raise ValueError("has a header without an order and a shape")
    dtype, why = _dtype(text)
    extents = tuple(_extent(one) for one in shape[1].split(",") if one.strip())
    return _Header(start, dtype, why, order[1] == "True", extents)


def _extent(text: str) -> int:
    digits = text.strip().rstrip("L")  # Python 2 wrote long integers so
    if not digits.isdigit() or len(digits) > 19:
        raise ValueError(f"has an extent that is none: {text.strip()[:40]!r}")
    return int(digits)


def _dtype(text: str) -> tuple[np.dtype[Any] | None, str]:
    """The dtype; None where there is a reason not to read it, which comes with it."""
    found = _DESCR.search(text)
    if found is None:
        return None, "it is an array of records"
    order, kind, size = found.groups()
    if kind in _REFUSED or f"{kind}{size}" not in _NUMBERS:
        return None, _REFUSED.get(kind, f"it has dtype {kind}{size[:4]}, which is not the same on every machine")
    return np.dtype(f"{kind}{size}").newbyteorder(">" if order == ">" else "<"), ""


def _entry(name: str, start: bytes, size: int, data: Callable[[], memoryview]) -> Entry:
    """An array of a file whose first bytes are given, and its size."""
    try:
        header = _header(start)
        if header.dtype is None:
            data_size(header.shape, np.dtype(np.void))
            return Entry(name, np.dtype(np.void), header.shape, lambda: np.empty(0), refusal=header.why)
        claimed = header.start + data_size(header.shape, header.dtype)
    except ValueError as error:
        raise ValueError(f"{name!r} {error}") from error
    if claimed != size:
        raise ValueError(f"{name!r} claims {claimed} bytes, and has {size}")
    return stored(name, lambda: data()[header.start :], header.dtype, header.shape, fortran=header.fortran)


def _member(path: Path, member: Member) -> Entry:
    def said(function: Callable[[], T]) -> T:
        try:
            return function()
        except ValueError as error:
            raise CheckpointError(path, str(error)) from error

    @cache
    def check() -> None:
        said(member.check)

    name = member.name.removesuffix(".npy")
    entry = _entry(name, member.start(_START), member.size, lambda: said(member.data))
    return entry if entry.refusal else replace(entry, check=check, whole=True)


def _read_npz(path: Path) -> Contents:
    archive = Zip(path)
    try:
        entries = [_member(path, one) for one in archive.members.values() if one.name.endswith(".npy")]
    except ValueError as error:
        raise CheckpointError(path, f"no valid numpy file: {error}") from error
    left_out = {name: "a file" for name in archive.members if not name.endswith(".npy")}
    return nobodys(Contents(entries, left_out=left_out))


def _read_npy(path: Path) -> Contents:
    data = mapped(path)
    try:
        entry = _entry("tensor", bytes(data[:_START]), len(data), lambda: data)
    except ValueError as error:
        raise CheckpointError(path, f"no valid numpy file: {error}") from error
    return nobodys(Contents([entry], "tensor"))


def _holds(path: Path) -> bool:
    try:
        names = [*Zip(path).members]
    except CheckpointError:
        return False
    return not names or any(name.endswith(".npy") for name in names)


npy_file = Format("npy", lambda start: start.startswith(_MAGIC), _read_npy)
npz_file = Format("npz", is_zip, _read_npz, holds=_holds)
