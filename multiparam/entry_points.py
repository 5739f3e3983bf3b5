"""What installed packages declare in entry points."""

from __future__ import annotations

import importlib.metadata
import warnings
from typing import TypeVar

__all__ = ["discovered"]

Declared = TypeVar("Declared")


def discovered(group: str, kind: type[Declared], what: str) -> tuple[dict[str, Declared], dict[str, str]]:
    """What installed packages declare in a group of entry points, and what is wrong with those that are broken.

    Args:
        group: the group's name.
        kind: what its entry points name objects of.
        what: what such an object is, for the warning.
    """
    found: dict[str, Declared] = {}
    broken: dict[str, str] = {}
    for entry in importlib.metadata.entry_points(group=group):
        if entry.name in found:
            continue
        try:
            declared = entry.load()
            if not isinstance(declared, kind):
                raise TypeError(f"{entry.value} is no multiparam {kind.__name__}")
        except Exception as error:  # a third party's fault must not take the others down
            broken[entry.name] = f"{type(error).__name__}: {error}"
            warnings.warn(f"the multiparam {what} {entry.name!r} cannot be loaded: {error}", stacklevel=3)
        else:
            found[entry.name] = declared
    return found, broken
