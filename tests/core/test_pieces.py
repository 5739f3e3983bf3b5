"""Arrays of any strides, a piece at a time."""

import tracemalloc

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from multiparam.arrays.copying import PIECE, pieces
from multiparam.arrays.threads import processors


@settings(max_examples=200)
@given(data=st.data())
def test_the_pieces_are_the_array_in_c_order(data):
    shape = data.draw(hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=90).filter(_is_small))
    array = np.arange(np.prod(shape, dtype=int), dtype=data.draw(st.sampled_from(["u1", "f4", "c16"]))).reshape(shape)
    array = array.transpose(data.draw(st.permutations(range(len(shape)))))
    if data.draw(st.booleans()) and array.ndim:
        array = array[:: data.draw(st.sampled_from([-1, 2, -3]))]
    if data.draw(st.booleans()):
        array = np.broadcast_to(array, (2, *array.shape))
    assert b"".join(map(bytes, pieces(array))) == np.ascontiguousarray(array).tobytes()


def _is_small(shape):
    return np.prod(shape, dtype=int) < 20_000


def test_pieces_stay_as_they_were_when_the_array_changes():
    for array in (np.zeros((3, 4)), np.zeros((2000, 3000)), np.zeros((2000, 3000)).T):
        for piece in pieces(array):
            before = bytes(piece)
            array += 1
            assert piece == before


def test_what_nobody_can_change_is_not_copied():
    array = np.arange(2 * PIECE, dtype=np.uint8)
    found = [np.frombuffer(piece, np.uint8) for piece in pieces(array.reshape(2, -1), settled=True)]
    assert [len(one) for one in found] == [PIECE] * 2
    assert all(np.shares_memory(one, array) for one in found)
    array.flags.writeable = False  # which a view taken before does not know
    assert not any(np.shares_memory(np.frombuffer(piece, np.uint8), array) for piece in pieces(array))


def test_what_lies_transposed_takes_no_more_than_pieces():
    array = np.ones((3000, 4000), np.float32)
    tracemalloc.start()
    sizes = [len(piece) for piece in pieces(array.T)]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert sum(sizes) == array.nbytes
    assert peak < (processors() + 4) * PIECE  # one in use, the others being made, and tiles
