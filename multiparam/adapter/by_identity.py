"""What is remembered of other people's objects for as long as these live."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any, Generic, TypeVar

__all__ = ["ByIdentity"]

Kept = TypeVar("Kept")


class ByIdentity(Generic[Kept]):
    """What is remembered of objects while they live, by identity: not all have hashes, and two equal ones are two.

    >>> class Layer(list):
    ...     '''Equal to another that holds the same.'''
    >>> one, other, kept = Layer(), Layer(), ByIdentity()
    >>> kept.put(one, "its gradient")
    >>> kept.get(one), kept.get(other)
    ('its gradient', None)
    """

    def __init__(self) -> None:
        self._kept: dict[int, Kept] = {}

    def get(self, owner: Any) -> Kept | None:
        """What is remembered of an object, or None."""
        return self._kept.get(id(owner))

    def put(self, owner: Any, value: Kept) -> None:
        """Remembers something, in place of what was."""
        if id(owner) not in self._kept:
            weakref.finalize(owner, self._kept.pop, id(owner), None)
        self._kept[id(owner)] = value

    def drop(self, owner: Any) -> None:
        """Forgets what is remembered of an object, if anything is."""
        self._kept.pop(id(owner), None)

    def made(self, owner: Any, make: Callable[[], Kept]) -> Kept:
        """What is remembered of an object, made when it is first asked for."""
        if id(owner) not in self._kept:
            self.put(owner, make())
        return self._kept[id(owner)]
