"""Work that leaves Python's lock, in as many threads as there are processors."""

from __future__ import annotations

import os
import threading
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
    """Calls a function in another thread, in which it may wait for no further ones."""
    try:
        return _pool(os.getpid()).submit(call, *arguments)
    except RuntimeError:
        if threading.main_thread().is_alive():
            raise
    # Python is ending, and starts no more threads: it is done here
    done: Future[_Result] = Future()
    done.set_result(call(*arguments))
    return done


def each(call: Callable[[_Item], Any], items: Iterable[_Item]) -> None:
    """Calls a function with each item, in no order; the error of the first that failed is raised when all are done."""
    todo = list(enumerate(items))
    left, failed = iter(todo), {}

    def work() -> None:
        for position, item in left:
            try:
                call(item)
            except Exception as error:
                failed[position] = error

    helping = [meanwhile(work) for _ in range(min(processors(), len(todo)) - 1)]
    work()
    for one in helping:
        one.cancel() or one.result()
    if failed:
        raise failed[min(failed)]


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
