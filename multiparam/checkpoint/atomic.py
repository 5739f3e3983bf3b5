"""Files that take the place of others whole or not at all, and leave no trace where that fails."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from ..errors import CheckpointError

__all__ = [
    "FORSAKEN",
    "mode_of",
    "replacing",
    "sync_folder",
]


_TEMPORARY = re.compile(r"[0-9a-f]{16}\.tmp")
FORSAKEN = 60  # seconds since the last write to a temporary file, after which nobody may be about to lock it


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A file that takes the path's place when the block ends well, and leaves no trace when it does not."""
    path = Path(os.path.realpath(path)) if os.path.islink(path) else path  # the file changes, and not the link to it
    folder = path.parent
    temporary = folder / f".{path.name[:40]}.{secrets.token_hex(8)}.tmp"  # of 255 bytes at most, as any name
    mode = mode_of(path)
    _sweep(folder, f".{path.name[:40]}.")
    try:
        try:
            flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_BINARY", 0)
            with os.fdopen(os.open(temporary, flags, 0o666), "wb") as file:
                _lock(file)
                yield file
                file.flush()
                os.fsync(file.fileno())
                if mode is not None:
                    os.chmod(temporary, mode)
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise
    except OSError as error:
        raise _unwritable(path, error.strerror or str(error)) from error
    sync_folder(path)


def _sweep(folder: Path, start: str) -> None:
    """Removes what saves left that were killed: temporary files of the same name, old and locked by nobody."""
    with contextlib.suppress(OSError), os.scandir(folder) as found:
        for one in found:
            if one.name.startswith(start) and _TEMPORARY.fullmatch(one.name, len(start)) and _is_forsaken(one):
                os.unlink(one.path)


def _is_forsaken(one: os.DirEntry[str]) -> bool:
    if time.time() - one.stat(follow_symlinks=False).st_mtime < FORSAKEN or not one.is_file(follow_symlinks=False):
        return False
    with open(one.path, "rb") as file:
        return _lock(file)


def _lock(file: IO[bytes]) -> bool:
    """Locks a file until it is closed or the process has ended; False where another has, or the system cannot."""
    try:
        import fcntl  # here, since Windows has none

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (ImportError, OSError):
        return False
    return True


def mode_of(path: Path) -> int | None:
    """The permissions of the file that is to be replaced; None if there is none.

    Raises:
        CheckpointError: what is there is no file, or cannot be looked at.
    """
    try:
        kind = os.stat(path).st_mode
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _unwritable(path, error.strerror or str(error)) from error
    if not stat.S_ISREG(kind):
        raise _unwritable(path, "is a folder" if stat.S_ISDIR(kind) else "is no regular file")
    return stat.S_IMODE(kind)


def _unwritable(path: Path, why: str) -> CheckpointError:
    why = why if os.path.exists(path.parent) else "its folder does not exist"
    return CheckpointError(path, f"cannot be written: {why}; nothing was changed")


def sync_folder(path: Path) -> None:
    """Has the new name of a file outlive a power failure."""
    if not hasattr(os, "O_DIRECTORY"):
        return  # Windows syncs the entry with the file
    try:
        descriptor = os.open(path.parent, os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        # a folder that may be written and not read, and file systems that sync no folders
        if error.errno in (errno.EACCES, errno.EINVAL, errno.ENOTSUP):
            return
        why = f"is written, but a power failure may undo it: its folder cannot be synced: {error.strerror}"
        raise CheckpointError(path, why) from error
