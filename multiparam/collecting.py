"""The cyclic garbage collector, which looks through all objects there are whenever enough new ones were made."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["uncollected"]


@contextmanager
def uncollected() -> Iterator[None]:
    """A block, or function, that makes many objects which all stay: the collector waits until it is done.

    It would find nothing in them, and takes longer than making them: three quarters of the time in a process that has
    imported a framework.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
