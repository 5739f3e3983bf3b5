"""Pickles of numpy arrays that no framework wrote: model zoos', and what users make with Python's own `pickle`.

Nothing in them tells whose layers and whose axes they hold: names and axes are those of the file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..errors import CheckpointError
from .contents import Contents, nobodys
from .disk import mapped
from .entry import Entry
from .format import Format
from .pickles import PickledArray, leaves, plain

__all__ = ["pickle_file"]


def _read(path: Path) -> Contents:
    data = mapped(path)
    try:
        thing = plain(data)
        single = isinstance(thing, PickledArray)
        found = _found(thing, len(data))
    except ValueError as error:
        raise CheckpointError(path, f"no valid pickle: it {error}") from error
    entries = {name: one for name, one in found.items() if isinstance(one, Entry)}
    if not entries:
        raise CheckpointError(path, f"no valid pickle: it holds no tensors, but {type(thing).__name__}")
    left_out = {name: type(one).__name__ for name, one in found.items() if name not in entries}
    is_list = isinstance(thing, (list, tuple)) and len(entries) == len(thing) and not left_out
    content = "tensor" if single else "list" if is_list else "dict"
    return nobodys(Contents([*entries.values()], content, left_out=left_out))


def _found(thing: Any, size: int) -> dict[str, Any]:
    """What a pickle holds under names joined by dots, arrays as entries."""
    found: dict[str, Any] = {}
    top = "tensor" if isinstance(thing, PickledArray) else ""
    for name, one in leaves(thing, lambda one: isinstance(one, PickledArray), top, budget=16 * size + 65_536):
        if name in found:
            raise ValueError(f"has two things of the name {name!r}")
        found[name] = one.entry(name) if isinstance(one, PickledArray) else one
    return found


def _recognizes(start: bytes) -> bool:
    return start[:1] == b"\x80" and start[1:2] in (b"\2", b"\3", b"\4", b"\5")


pickle_file = Format("pickle", _recognizes, _read)
