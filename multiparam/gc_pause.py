"""The cyclic garbage collector, which looks through all objects there are whenever enough new ones were made."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["uncollected"]


class _Pause:
    """How many blocks are at it, in all threads, and whether the collector was on before the first."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.inside = 0
        self.was_on = False

    def enter(self) -> None:
        with self.lock:
            if not self.inside:
                self.was_on = gc.isenabled()
                gc.disable()
            self.inside += 1

    def leave(self) -> None:
        with self.lock:
            self.inside -= 1
            if not self.inside and self.was_on:
                gc.enable()

    def forked(self) -> None:
        """In a child none of the other threads are there that would have turned it on again."""
        inside, was_on = self.inside, self.was_on
        self.lock, self.inside = threading.Lock(), 0
        if inside and was_on:
            gc.enable()


_pause = _Pause()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pause.forked)


@contextmanager
def uncollected() -> Iterator[None]:
    """A block, or function, that makes many objects which all stay: the collector waits until it is done.

    It would find nothing in them, and takes longer than making them: three quarters of the time in a process that has
    imported a framework.
    """
    _pause.enter()
    try:
        yield
    finally:
        _pause.leave()
