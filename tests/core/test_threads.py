"""Work in threads."""

import os
import subprocess
import sys
import threading

import pytest

from multiparam.arrays import threads
from multiparam.arrays.threads import ahead, each, processors


def test_each_item_is_done_and_the_first_error_is_told():
    done = []
    each(done.append, range(100))
    assert sorted(done) == list(range(100))

    def fail(item):
        if item in (30, 60):
            raise ValueError(item)
        done.append(item)

    with pytest.raises(ValueError, match="30"):
        each(fail, range(100))
    assert len(done) == 198  # nothing is going on behind the caller's back


def test_results_come_in_order_and_no_more_are_made_than_are_wanted():
    asked = []

    def items():
        for item in range(1000):
            asked.append(item)
            yield item

    results = ahead(lambda item: item * 2, items())
    assert [next(results) for _ in range(3)] == [0, 2, 4]
    results.close()
    assert len(asked) <= 3 + processors()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_has_threads_of_its_own():
    each(lambda item: item, range(10))
    child = os.fork()
    if not child:
        done = []
        each(done.append, range(10))
        os._exit(0 if sorted(done) == list(range(10)) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_work_is_done_while_python_ends(tmp_path):
    # as when a program saves in a function that it has registered with atexit
    code = f"""
import atexit, numpy, multiparam as mp
x = numpy.arange(4_000_000, dtype="f4").reshape(2000, 2000).T
path = {str(tmp_path / "x.safetensors")!r}
atexit.register(lambda: (mp.save(x, path), print((mp.load(path) == x).all())))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True\n", done.stderr


def test_nothing_goes_on_after_an_interrupt():
    begun, main = [], threading.get_ident()
    others = threading.Event()

    def work(item):
        begun.append(item)
        if threading.get_ident() == main:
            others.wait()
            raise KeyboardInterrupt
        others.set()

    with pytest.raises(KeyboardInterrupt):
        each(work, range(10**6))
    after = len(begun)
    each(lambda item: None, range(100))  # the threads have had their turn again
    assert len(begun) == after < 10**6


@pytest.mark.parametrize("queued", [False, True])
def test_where_no_thread_can_be_had_the_work_is_done_once(monkeypatch, queued):
    class Full:
        def submit(self, call):
            if queued:  # as a pool does that fails to start a thread: one of those that it has may come to it
                waiting.append(call)
            raise RuntimeError("can't start new thread")

    waiting, done = [], []
    monkeypatch.setattr(threads, "_pool", lambda process: Full())
    each(done.append, range(5))
    assert list(ahead(lambda item: done.append(item) or item, range(5, 9))) == [5, 6, 7, 8]
    for call in waiting:
        call()
    assert sorted(done) == list(range(9))


def test_threads_that_wait_for_others_come_to_an_end():
    def inner(item):
        return sum(ahead(lambda one: one, range(item)))

    assert list(ahead(inner, range(50))) == [sum(range(item)) for item in range(50)]
