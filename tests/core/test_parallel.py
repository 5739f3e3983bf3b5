"""Work in threads."""

import os

import pytest

from multiparam.parallel import ahead, each, processors


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
