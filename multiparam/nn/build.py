"""From a builder's arguments to a native layer, through the adapter's layer table."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..adapter.base import Adapter
from ..adapter.plugin import Capability
from ..adapter.registry import adapter as adapter_of
from ..errors import ArgumentError

__all__ = ["build", "flag", "new", "number", "sizes"]


def new(kind: str, backend: str | None, **arguments: Any) -> Any:
    """A native layer of the kind, of the named or the active backend."""
    return build(adapter_of(backend), kind, **arguments)


def build(adapter: Adapter, kind: str, **arguments: Any) -> Any:
    """A native layer of the kind, made by the row of the adapter's layer table that builds it."""
    adapter.require(Capability.BUILD)
    make = adapter.table.builder(kind)
    if make is None:
        raise adapter.unsupported(f"building {kind}", "its layer table has no such layer")
    return make(**arguments)


def number(name: str, value: Any) -> float:
    """The value as a finite float.

    Raises:
        ArgumentError: it is none.
    """
    if isinstance(value, (bool, str)) or not hasattr(value, "__float__") or not math.isfinite(value):
        raise ArgumentError(f"{name} is a number, not {value!r}")
    return float(value)


def flag(name: str, value: Any) -> bool:
    """The value as a bool.

    Raises:
        ArgumentError: it is none.
    """
    if not isinstance(value, (bool, int, np.bool_)) or value not in (0, 1):
        raise ArgumentError(f"{name} is True or False, not {value!r}")
    return bool(value)


def sizes(**given: Any) -> None:
    """Raises ArgumentError unless each is a positive integer."""
    for name, size in given.items():
        if isinstance(size, bool) or not hasattr(size, "__index__") or size < 1:
            raise ArgumentError(f"{name} is a positive integer, not {size!r}")
