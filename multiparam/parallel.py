"""Work that leaves Python's lock, in as many threads as there are processors."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from typing import Any, TypeVar

__all__ = ["ahead", "each", "meanwhile", "processors"]

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def processors() -> int:
    """How many this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity is not None else os.cpu_count() or 1


def meanwhile(call: Callable[..., _Result], *arguments: Any) -> Future[_Result]:
    """Calls a function in another thread; it may start no further ones and wait for them."""
    return _pool(os.getpid()).submit(call, *arguments)


def each(call: Callable[[_Item], Any], items: Iterable[_Item]) -> None:
    """Calls a function with each item, in no order; the first error is raised when all are done."""
    running = [meanwhile(call, item) for item in items]
    failed = [error for one in running if (error := one.exception()) is not None]
    if failed:
        raise failed[0]


def ahead(call: Callable[[_Item], _Result], items: Iterable[_Item]) -> Iterator[_Result]:
    """The results in the items' order, the next ones being made while one is used.

    >>> list(ahead(str, range(3)))
    ['0', '1', '2']
    """
    running: deque[Future[_Result]] = deque()
    try:
        for item in items:
            running.append(meanwhile(call, item))
            if len(running) > processors():
                yield running.popleft().result()
        while running:
            yield running.popleft().result()
    finally:
        for one in running:
            one.cancel()


@lru_cache(maxsize=1)
def _pool(process: int) -> ThreadPoolExecutor:
    # by process: a child that was forked has none of its parent's threads
    return ThreadPoolExecutor(processors() + 1, "multiparam")
