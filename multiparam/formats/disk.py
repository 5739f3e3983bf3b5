"""Files as readers open them: what cannot be opened is said, what is mapped is not read before it is used."""

from __future__ import annotations

import errno
import json
import os
import stat
from collections import Counter
from difflib import SequenceMatcher
from functools import partial
from itertools import islice
from pathlib import Path
from typing import IO, Any

import numpy as np

from ..errors import CheckpointError, close_names
from ..text import shortened

__all__ = [
    "from_json",
    "mapped",
    "opened",
    "unreadable",
]


MOST_NAMES = 2_000  # in a folder that are looked at for one that is near


def unreadable(path: Path, error: OSError) -> CheckpointError:
    """The error for a path that cannot be opened."""
    # whether there is a folder is not asked of a path that cannot be looked at
    if error.errno == errno.EISDIR or (error.errno == errno.EACCES and os.path.isdir(path)):  # the latter on Windows
        return CheckpointError(path, "is a folder")
    if error.errno == errno.ENOENT and os.path.islink(path):
        return CheckpointError(path, f"no such file: it is a link to {os.readlink(path)}, which is not there")
    if error.errno == errno.ENOENT:
        return CheckpointError(path, f"no such file{_nearest(path)}")
    return CheckpointError(path, error.strerror or str(error))


def _nearest(path: Path) -> str:
    """What its folder has that is called most like it, as the end of a sentence."""
    try:
        with os.scandir(path.parent) as found:
            names = [one.name for one in islice(found, MOST_NAMES)]
    except FileNotFoundError:
        return ", nor its folder" + ("; ~ is no home before os.path.expanduser" if str(path).startswith("~") else "")
    except OSError:
        return ""
    # without their suffixes, which make all files of a format look alike
    stems = close_names(path.stem, {Path(name).stem for name in names}, 1)
    close = [name for name in names if Path(name).stem in stems]
    return f"; did you mean {max(close, key=partial(_likeness, path.name))!r}?" if close else ""


def _likeness(one: str, other: str) -> float:
    return SequenceMatcher(None, one, other).ratio()


def opened(path: Path) -> IO[bytes]:
    """A file, open to be read.

    Raises:
        CheckpointError: it cannot be, or is no regular file.
    """
    try:
        kind = os.stat(path).st_mode
        if not (stat.S_ISREG(kind) or stat.S_ISDIR(kind)):
            raise CheckpointError(path, "is no regular file, and others may never end")
        return path.open("rb")
    except OSError as error:
        raise unreadable(path, error) from error


def from_json(text: str | bytes) -> Any:
    """What JSON says, if it says no name twice: readers do not agree on which of the two counts.

    Raises:
        ValueError: it is no JSON, or an object in it has a name twice.

    >>> from_json('{"a": [1]}')
    {'a': [1]}
    """
    try:
        return json.loads(text, object_pairs_hook=_once)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice, _ = Counter(name for name, _ in pairs).most_common(1)[0]
        raise ValueError(f"{shortened(repr(twice), 80)} is there twice")
    return found


def mapped(path: Path) -> memoryview:
    """A file's bytes, mapped into memory and not read before they are used.

    Raises:
        CheckpointError: the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            if not file.seek(0, 2):
                return memoryview(b"")
            return np.memmap(file, np.uint8, "r").data
    except OSError as error:
        raise unreadable(path, error) from error
