"""Work that leaves Python's lock, in as many threads as there are processors."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

__all__ = ["ahead", "each", "meanwhile", "processors"]

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def processors() -> int:
    """How many this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity is not None else os.cpu_count() or 1


def meanwhile(call: Callable[..., _Result], *arguments: Any) -> Future[_Result]:
    """Calls a function in another thread, or in this one where no other can be had."""
    future: Future[_Result] = Future()
    once = threading.Lock()

    def run() -> None:
        if not once.acquire(blocking=False) or not future.set_running_or_notify_cancel():
            return
        try:
            future.set_result(call(*arguments))
        except BaseException as error:
            future.set_exception(error)

    try:
        _pool(os.getpid()).submit(run)
    except RuntimeError:  # Python is ending, or the system has no more threads; it may be in the queue all the same
        run()
    return future


def each(call: Callable[[_Item], Any], items: Iterable[_Item]) -> None:
    """Calls a function with each item, in no order; the error of the first that failed is raised when all are done.

    When it is interrupted, what has been begun is finished first: nothing goes on behind the caller's back.
    """
    todo = list(enumerate(items))
    left, failed = iter(todo), {}

    def work() -> None:
        for position, item in left:
            try:
                call(item)
            except Exception as error:
                failed[position] = error

    helping: list[Future[None]] = []
    try:
        for _ in range(min(processors(), len(todo)) - 1):
            helping.append(meanwhile(work))
        work()
    finally:
        deque(left, 0)
        for one in helping:
            one.cancel() or one.result()
    if failed:
        raise failed[min(failed)]


def ahead(call: Callable[[_Item], _Result], items: Iterable[_Item]) -> Iterator[_Result]:
    """The results in the items' order, the next ones being made while one is used.

    >>> list(ahead(str, range(3)))
    ['0', '1', '2']
    """
    running: deque[tuple[Future[_Result], _Item]] = deque()

    def first() -> _Result:
        future, item = running.popleft()
        # what no thread has begun is done here, so that threads which wait for others always come to an end
        return call(item) if future.cancel() else future.result()

    try:
        for item in items:
            running.append((meanwhile(call, item), item))
            if len(running) > processors():
                yield first()
        while running:
            yield first()
    finally:
        for future, _ in running:
            future.cancel()


@lru_cache(maxsize=1)
def _pool(process: int) -> ThreadPoolExecutor:
    # by process: a child that was forked has none of its parent's threads
    from concurrent.futures import ThreadPoolExecutor  # here, since it cannot be imported while Python is ending

    return ThreadPoolExecutor(processors() + 1, "multiparam")
