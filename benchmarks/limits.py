"""What the machine can do at most: bytes written, read and copied with nothing around it."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

CHUNK = 8 << 20


def some(nbytes: int) -> np.ndarray:
    """So many bytes that are really there."""
    return np.ones(nbytes, np.uint8)


def write(path: Path, data: np.ndarray, sync: bool) -> None:
    """Writes the bytes, and waits for the disk if that is asked for."""
    with path.open("wb", buffering=0) as file:
        for start in range(0, len(data), CHUNK):
            file.write(data[start : start + CHUNK].data)
        if sync:
            os.fsync(file.fileno())


def read(path: Path, data: np.ndarray) -> None:
    """Reads a file into memory that is there."""
    with path.open("rb", buffering=0) as file:
        start = 0
        while got := file.readinto(data[start : start + CHUNK].data):
            start += got


def copy(data: np.ndarray, target: np.ndarray) -> None:
    """Copies the bytes to memory that is there, on one thread."""
    np.copyto(target, data)


def read_anew(path: Path) -> np.ndarray:
    """Reads a file into new memory."""
    data = np.empty(path.stat().st_size, np.uint8)
    read(path, data)
    return data
