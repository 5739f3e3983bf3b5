"""The safetensors format: an eight-byte header length, a JSON header, then the tensors' bytes.

Source: https://github.com/huggingface/safetensors#format. The safetensors library checks what is read; writing is
done here, one tensor at a time, since the library wants the whole model in memory at once (and release 0.8.0 of its
numpy writer turns transposed arrays into garbage, its issue 825).
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import secrets
import stat
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import ml_dtypes
import numpy as np

from .errors import CheckpointError
from .formats import Entry, unreadable
from .steps import Array

__all__ = ["SafetensorsFile", "is_safetensors", "write"]

DTYPES: Mapping[str, np.dtype[Any]] = {
    code: np.dtype(dtype)
    for code, dtype in {
        "BOOL": np.bool_,
        "U8": np.uint8,
        "I8": np.int8,
        "U16": np.uint16,
        "I16": np.int16,
        "U32": np.uint32,
        "I32": np.int32,
        "U64": np.uint64,
        "I64": np.int64,
        "F16": np.float16,
        "BF16": ml_dtypes.bfloat16,
        "F32": np.float32,
        "F64": np.float64,
        "C64": np.complex64,
        "F8_E4M3": ml_dtypes.float8_e4m3fn,
        "F8_E5M2": ml_dtypes.float8_e5m2,
    }.items()
}
_CODES = {dtype: code for code, dtype in DTYPES.items()}


def write(path: Path, entries: Sequence[Entry], metadata: Mapping[str, str]) -> None:
    """Writes a file whole or not at all: a temporary file in the same folder, synced, then renamed.

    Args:
        path: where to; a file that is there is replaced in one step.
        entries: the tensors, read one at a time.
        metadata: the header's `__metadata__`.

    Raises:
        CheckpointError: the path is a folder or its folder is not there, the disk is full, a dtype has no code, …;
            what was there before is as it was.
    """
    counted = Counter(entry.name for entry in entries)
    for name, count in counted.items():
        if count > 1 or name == "__metadata__":
            raise CheckpointError(path, f"{name!r} is {'there twice' if count > 1 else 'what the format keeps'}")
    for entry in entries:
        if entry.dtype not in _CODES:
            raise CheckpointError(path, f"{entry.name!r} has dtype {entry.dtype}, which safetensors cannot hold")
    # the widest dtypes first, so that every tensor is aligned to its own width
    ordered = sorted(entries, key=lambda entry: -entry.dtype.itemsize)
    with _replacing(path) as file:
        file.write(_header(entries, ordered, metadata))
        for entry in ordered:
            array = np.ascontiguousarray(entry.read())
            if array.dtype != entry.dtype or array.size * array.itemsize != entry.size:
                raise CheckpointError(path, f"{entry.name!r} changed while the file was written")
            file.write(_bytes(array))


def is_safetensors(start: bytes) -> bool:
    """Whether a file that starts with these bytes is one.

    >>> is_safetensors(bytes([2, 0, 0, 0, 0, 0, 0, 0]) + b"{}"), is_safetensors(b"PK")
    (True, False)
    """
    # the reference implementation takes headers of up to 100 MB
    return start[8:9] == b"{" and int.from_bytes(start[:8], "little") <= 100_000_000


class SafetensorsFile(Mapping[str, Array]):
    """A file's tensors as read-only arrays, mapped into memory and not read before they are used.

    Args:
        path: the file.

    Raises:
        CheckpointError: it cannot be read, or is no valid safetensors file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        header, self._start, self._bytes = _opened(path)
        self.metadata: dict[str, str] = header.pop("__metadata__", None) or {}
        self._header = header

    def entry(self, name: str) -> Entry:
        """A tensor's shape and dtype, and how it is read."""
        header = self._header[name]
        shape = tuple(header["shape"])
        if header["dtype"] not in DTYPES:
            why = f"it has dtype {header['dtype']}, which numpy has no counterpart for"
            return Entry(name, np.dtype(np.void), shape, lambda: self[name], refusal=why)
        return Entry(name, DTYPES[header["dtype"]], shape, lambda: self[name])

    def __getitem__(self, name: str) -> Array:
        header = self._header[name]
        first, last = header["data_offsets"]
        raw = self._bytes[self._start + first : self._start + last] if last > first else np.empty(0, np.uint8)
        plain: Array = np.frombuffer(raw, DTYPES[header["dtype"]]).reshape(header["shape"])
        plain.flags.writeable = False
        return plain

    def __iter__(self) -> Iterator[str]:
        return iter(self._header)

    def __len__(self) -> int:
        return len(self._header)


def _header(entries: Sequence[Entry], ordered: Sequence[Entry], metadata: Mapping[str, str]) -> bytes:
    """The header, names in the order given, offsets in the order written."""
    offsets: dict[str, int] = {}
    offset = 0
    for entry in ordered:
        offsets[entry.name] = offset
        offset += entry.size
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    for entry in entries:
        first = offsets[entry.name]
        header[entry.name] = {
            "dtype": _CODES[entry.dtype],
            "shape": list(entry.shape),
            "data_offsets": [first, first + entry.size],
        }
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _bytes(array: Array) -> Any:
    return array.reshape(-1).view(np.uint8).data if array.size else b""


def _opened(path: Path) -> tuple[dict[str, Any], int, Array]:
    """A file's header, where its data begin, and its bytes: all of one file, even while another takes its place."""
    import safetensors  # here, since most programs import multiparam and load no file

    try:
        while True:
            with path.open("rb") as file, safetensors.safe_open(path, "np"):  # the library checks the header
                ours = os.fstat(file.fileno())
                if not os.path.samestat(ours, path.stat()):
                    continue  # replaced in between
                length = int.from_bytes(file.read(8), "little")
                header: dict[str, Any] = json.loads(file.read(length))
                start = 8 + length
                mapped = np.memmap(file, np.uint8, "r") if ours.st_size > start else np.empty(0, np.uint8)
                return header, start, mapped
    except safetensors.SafetensorError as error:
        raise CheckpointError(path, f"no valid safetensors file: {error}{_looks_like(path)}") from error
    except OSError as error:
        raise unreadable(path, error) from error


def _looks_like(path: Path) -> str:
    with path.open("rb") as file:
        start = file.read(8)
    kinds = {
        b"\x89HDF": "an HDF5 file, as Keras writes",
        b"\x93NUM": "a numpy file",
        b"\x80\x02\x8a\n": "a file of torch.save before PyTorch 1.6",
    }
    return next((f"; it looks like {kind}" for mark, kind in kinds.items() if start.startswith(mark)), "")


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[IO[bytes]]:
    """A file that takes the path's place when the block ends well, and leaves no trace when it does not."""
    path = path.resolve() if path.is_symlink() else path  # the file changes, and not the link to it
    folder = path.parent
    temporary = folder / f".{path.name[:100]}.{secrets.token_hex(8)}.tmp"
    try:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, "is a folder", str(path))
        descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_BINARY", 0), 0o666)
        try:
            with os.fdopen(descriptor, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
                if path.exists():
                    os.chmod(temporary, stat.S_IMODE(path.stat().st_mode))
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise
        _sync_folder(folder)
    except OSError as error:
        why = "its folder does not exist" if not folder.exists() else error.strerror or str(error)
        raise CheckpointError(path, f"cannot be written: {why}; nothing was changed") from error


def _sync_folder(folder: Path) -> None:
    if not hasattr(os, "O_DIRECTORY"):
        return  # Windows syncs the entry with the file
    descriptor = os.open(folder, os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
