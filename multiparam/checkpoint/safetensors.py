"""The safetensors format: an eight-byte header length, a JSON header, then the tensors' bytes.

Source: https://github.com/huggingface/safetensors#format. The safetensors library checks what is read; writing is
done here, one tensor at a time, since the library wants the whole model in memory at once (and release 0.8.0 of its
numpy writer turns transposed arrays into garbage, its issue 825).

The format has no checksums; ours stand in the metadata, as `digests.py` says.
"""

from __future__ import annotations

import itertools
import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import IO, Any

import ml_dtypes
import numpy as np
from xxhash import xxh3_64

from ..arrays.copying import ALIGNMENT, pieces
from ..arrays.threads import meanwhile
from ..arrays.types import Array, Shape
from ..errors import CheckpointError
from ..formats.disk import from_json, unreadable
from ..formats.entry import MOST_AXES, Entry
from ..gc_pause import uncollected
from .atomic import replacing
from .digests import ANYWAY, NO_DIGEST, sealed, stated

__all__ = [
    "SafetensorsFile",
    "encoded",
    "is_safetensors",
    "looks_like",
    "write",
]


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
        "F8_E8M0": getattr(ml_dtypes, "float8_e8m0fnu", None),  # which older releases lack
    }.items()
    if dtype is not None
}
_CODES = {dtype: code for code, dtype in DTYPES.items()}
FLUSHED = 32 << 20  # bytes at a time
LONG = 1 << 18  # bytes, from which on a thread is worth it


def write(path: Path, entries: Sequence[Entry], about: Mapping[str, Any]) -> None:
    """Writes a file whole or not at all: a temporary file in the same folder, synced, then renamed.

    Args:
        path: where to; a file that is there is replaced in one step.
        entries: the tensors, read one at a time.
        about: what the metadata say under `multiparam`; the digests are added.

    Raises:
        CheckpointError: the path is a folder or its folder is not there, the disk is full, a dtype has no code, …;
            what was there before is as it was.
    """
    counted = Counter(entry.name for entry in entries)
    for name, count in counted.items():
        if count > 1 or name == "__metadata__":
            raise CheckpointError(path, f"{name!r} is {'there twice' if count > 1 else 'what the format keeps'}")
    for entry in entries:
        if entry.refusal:
            entry.read()  # says why it cannot be read
        if entry.dtype not in _CODES:
            why = f"{entry.name!r} has dtype {entry.dtype}, which safetensors cannot hold, or not for all its readers"
            raise CheckpointError(path, why)
    # the widest dtypes first, so that every tensor is aligned to its own width
    ordered = sorted(entries, key=lambda entry: -entry.dtype.itemsize)
    tensors = _tensors(entries, ordered)
    said = stated((entry.name, _CODES[entry.dtype], entry.shape) for entry in entries)
    digests = {entry.name: NO_DIGEST for entry in entries}
    with replacing(path) as file, _Flushed(file) as flushed:
        file.write(_header(path, tensors, said, {**about, "digests": digests}))
        for entry in ordered:
            array = entry.value
            if array.dtype != entry.dtype or array.nbytes != entry.size:
                raise CheckpointError(path, f"{entry.name!r} changed while the file was written")
            digests[entry.name] = _written(flushed, array, entry.settled)
        flushed.wait()
        file.seek(0)
        file.write(_header(path, tensors, said, {**about, "digests": digests}))  # as long as before


class _Flushed:
    """A file whose data go to the disk while further ones are made, and not all at its end."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._waiting = 0
        self._flush: Future[None] | None = None

    def write(self, data: memoryview) -> None:
        self._file.write(data)
        self._waiting += len(data)
        if self._waiting >= FLUSHED and (self._flush is None or self._flush.done()):
            self.wait()
            self._flush = meanwhile(os.fsync, self._file.fileno())
            self._waiting = 0

    def wait(self) -> None:
        """Waits for the last flush, and raises what it has met, which the system tells once only."""
        if self._flush is not None:
            self._flush.result()

    def __enter__(self) -> _Flushed:
        return self

    def __exit__(self, *failure: object) -> None:
        if self._flush is not None:
            self._flush.exception()  # or it would go on with a file that is closed, and its number another's


def _written(file: _Flushed, array: Array, settled: bool) -> str:
    """Writes an array in C order; returns the digest of its bytes, which is made while they are written."""
    digest = xxh3_64()
    for piece in pieces(array, settled):
        if len(piece) < LONG:
            digest.update(piece)
            file.write(piece)
        else:
            digested = meanwhile(digest.update, piece)
            file.write(piece)
            digested.result()
    return digest.hexdigest()


def is_safetensors(start: bytes) -> bool:
    """Whether a file that starts with these bytes is one.

    >>> is_safetensors(bytes([2, 0, 0, 0, 0, 0, 0, 0]) + b"{}"), is_safetensors(b"PK")
    (True, False)
    """
    # the reference implementation takes headers of up to 100 MB
    return start[8:9] == b"{" and int.from_bytes(start[:8], "little") <= 100_000_000


def looks_like(start: bytes) -> str:
    r"""What a file that starts with these bytes is, as the end of a sentence; empty if that is not known.

    >>> looks_like(b"\x93NUMPY")
    '; it looks like a numpy file'
    """
    kinds = {
        b"PK\x03\x04": "a zip file, as torch.save, numpy.savez, MXNet 2 and Keras write",
        b"\x89HDF": "an HDF5 file, as Keras writes",
        b"\x93NUM": "a numpy file",
        b"\x80\x02\x8a\n": "a file of torch.save before PyTorch 1.6",
    }
    return next((f"; it looks like {kind}" for mark, kind in kinds.items() if start.startswith(mark)), "")


class SafetensorsFile(Mapping[str, Array]):
    """A file's tensors as read-only arrays, mapped into memory and not read before they are used.

    Args:
        path: the file.

    Attributes:
        metadata: the header's `__metadata__`.
        header: what else it says, by the tensors' names.
        digests: the tensors' digests, by name, where the file has them; set them before entries are asked for.

    Raises:
        CheckpointError: it cannot be read, or is no valid safetensors file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        header, self._start, self._bytes = _opened(path)
        self.metadata: dict[str, str] = header.pop("__metadata__", None) or {}
        self.digests: Mapping[str, str] = {}
        self.header: Mapping[str, Mapping[str, Any]] = header
        self._sound: set[str] = set()

    def entry(self, name: str) -> Entry:
        """A tensor's shape and dtype, and how it is read."""
        header = self.header[name]
        shape = tuple(header["shape"])
        if header["dtype"] not in DTYPES:
            why = f"it has dtype {header['dtype']}, which numpy has no counterpart for"
            return Entry(name, np.dtype(np.void), shape, lambda: self[name], refusal=why)
        if (0 in shape or len(shape) > MOST_AXES) and not _possible(shape):
            why = "numpy can have no array of its shape"
            return Entry(name, DTYPES[header["dtype"]], shape, lambda: self[name], refusal=why)
        check = (lambda: self.check(name)) if name in self.digests else None
        return Entry(name, DTYPES[header["dtype"]], shape, lambda: self[name], check=check)

    def check(self, name: str) -> None:
        """Compares a tensor's bytes with their digest, once.

        Raises:
            CheckpointError: they are not what was written.
        """
        if name in self._sound or name not in self.digests:
            return
        if xxh3_64(self._raw(name)).hexdigest() != self.digests[name]:
            raise CheckpointError(
                self.path,
                f"{name!r} is damaged: its bytes are not those that were written{ANYWAY}",
            )
        self._sound.add(name)

    def __getitem__(self, name: str) -> Array:
        header = self.header[name]
        plain: Array = np.frombuffer(self._raw(name), DTYPES[header["dtype"]])  # read-only, as the file's memory
        return plain.reshape(header["shape"])

    def _raw(self, name: str) -> memoryview:
        first, last = self.header[name]["data_offsets"]
        return self._bytes[self._start + first : self._start + last]

    def __iter__(self) -> Iterator[str]:
        return iter(self.header)

    def __len__(self) -> int:
        return len(self.header)


def _possible(shape: Shape) -> bool:
    """Whether numpy can have an array of a shape: one without numbers may claim any extents."""
    try:
        np.empty(0 if 0 in shape else 1, np.complex64).reshape(shape)
    except ValueError:
        return False
    return True


def encoded(path: Path, text: str) -> bytes:
    """JSON as it stands in a file.

    Raises:
        CheckpointError: a name in it has half of a character, which no file can hold.
    """
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        # where it stands in JSON inside of JSON, its quotes are escaped
        name = (text[: error.start].rpartition('"')[2] + text[error.start :].partition('"')[0]).rstrip("\\")
        raise CheckpointError(path, f"cannot hold {name!r}, which has half of a character") from error


@uncollected()
def _tensors(entries: Sequence[Entry], ordered: Sequence[Entry]) -> str:
    """What the header says of the tensors, names in the order given, offsets in the order written."""
    sizes = {entry.name: entry.size for entry in ordered}
    ends = dict(zip(sizes, itertools.accumulate(sizes.values()), strict=True))
    found = {
        entry.name: {
            "dtype": _CODES[entry.dtype],
            "shape": list(entry.shape),
            "data_offsets": [ends[entry.name] - sizes[entry.name], ends[entry.name]],
        }
        for entry in entries
    }
    return json.dumps(found, separators=(",", ":"), ensure_ascii=False)


def _header(path: Path, tensors: str, said: bytes, about: Mapping[str, Any]) -> bytes:
    metadata = json.dumps(
        {"format": "pt", "multiparam": sealed(about, said)}, separators=(",", ":"), ensure_ascii=False
    )
    text = encoded(path, f'{{"__metadata__":{metadata}{"," if len(tensors) > 2 else ""}{tensors[1:]}')
    length = len(text) + -(8 + len(text)) % ALIGNMENT
    return length.to_bytes(8, "little") + text.ljust(length)


def _opened(path: Path) -> tuple[dict[str, Any], int, memoryview]:
    """A file's header, where its data begin, and its bytes: all of one file, even while another takes its place."""
    import safetensors  # here, since most programs import multiparam and load no file

    try:
        while True:
            with path.open("rb") as file, safetensors.safe_open(path, "np"):  # the library checks the header
                ours = os.fstat(file.fileno())
                if not os.path.samestat(ours, path.stat()):
                    continue  # replaced in between
                length = int.from_bytes(file.read(8), "little")
                header: dict[str, Any] = from_json(file.read(length))
                start = 8 + length
                return header, start, np.memmap(file, np.uint8, "r").data
    except (safetensors.SafetensorError, ValueError) as error:
        raise CheckpointError(path, f"no valid safetensors file: {error}") from error
    except OSError as error:
        raise unreadable(path, error) from error
