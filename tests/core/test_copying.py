"""Copies between layouts, beside numpy's own."""

from itertools import permutations

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from multiparam.arrays import copying
from multiparam.arrays.copying import copy, copy_each, fresh


@pytest.fixture(autouse=True, params=["as they are", "small"])
def limits(request, monkeypatch):
    """Once with the limits as they are, once so that small arrays are taken for large ones."""
    if request.param == "small":
        monkeypatch.setattr(copying, "TILE", 20)
        monkeypatch.setattr(copying, "SMALL", 30)
        monkeypatch.setattr(copying, "LARGE", 300)


SHAPES = [
    *[(700, 300), (300, 700), (1, 90_000), (9, 40, 80), (4, 90, 70)],
    *[(3, 3, 70, 50), (70, 50, 3, 3), (2, 2, 2, 30, 50)],
]
DTYPES = [np.uint8, ml_dtypes.bfloat16, np.float32, np.complex128]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", DTYPES, ids=lambda one: one.__name__)
def test_every_order_of_axes(shape, dtype):
    whole = (np.arange(np.prod(shape)) % 251).astype(dtype).reshape(shape)
    for order in permutations(range(len(shape))):
        source = whole.transpose(order)
        made = fresh(source)
        assert made.tobytes() == np.ascontiguousarray(source).tobytes()
        assert made.flags.c_contiguous
        assert made.ctypes.data % copying.ALIGNMENT == 0


def test_several_at_once_of_all_sizes_and_orders(monkeypatch):
    monkeypatch.setattr(copying, "HELD", 100_000)
    wholes = [np.arange(extent * 90, dtype=np.float32).reshape(extent, 90) + extent for extent in (0, 1, 200, 700, 3)]
    sources = [source for whole in wholes for source in (whole, whole.T, whole[::-1])]
    targets = [np.zeros(source.shape, source.dtype) for source in sources]
    copy_each((source, target) for source, target in zip(sources, targets, strict=True))
    assert all(np.array_equal(source, target) for source, target in zip(sources, targets, strict=True))


@settings(max_examples=200)
@given(data=st.data())
def test_any_strides_on_both_sides(data):
    shape = data.draw(st.lists(st.integers(0, 40), max_size=4).filter(lambda one: np.prod(one, dtype=int) < 20_000))
    count = int(np.prod(shape, dtype=int))
    source, target = (
        _strided(data, (np.arange(count) + start).astype(dtype), shape)
        for start, dtype in zip((0, -count), data.draw(st.sampled_from([("f4", "f4"), ("i2", "f8")])), strict=True)
    )
    expected = source.astype(target.dtype)
    copy(source, target)
    np.testing.assert_array_equal(target, expected)


def _strided(data, flat, shape):
    order = data.draw(st.permutations(range(len(shape))))
    array = np.repeat(flat, 2)[::2] if data.draw(st.booleans()) else flat
    array = array.reshape([shape[axis] for axis in order]).transpose(np.argsort(order))
    return array[::-1] if shape and data.draw(st.booleans()) else array


def test_one_number_for_all():
    target = np.zeros((400, 300))
    copy(np.broadcast_to(np.float64(3), target.shape), target)
    assert (target == 3).all()


@pytest.mark.parametrize("seen", [lambda x: x.T, lambda x: x[::-1], lambda x: x[:, ::-1], lambda x: x], ids=str)
def test_an_array_is_copied_from_its_own_memory(seen):
    array = np.random.default_rng(0).random((600, 600))
    expected = np.array(seen(array))
    copy(seen(array), array)
    np.testing.assert_array_equal(array, expected)


def test_dtypes_without_a_width_of_their_own():
    for dtype in (">c16", "S5", "U3", object):
        array = (np.arange(90_000) % 7).astype(dtype).reshape(300, 300)
        target = np.empty_like(array)
        copy(array.T, target)
        assert (target == array.T).all()


def test_of_targets_that_overlap_the_last_one_stays():
    shared = np.zeros((1100, 1100), np.float32)
    first, last = np.full_like(shared, 1), np.full_like(shared, 2)
    copy_each([(first, shared), (last, shared.T)])
    assert (shared == 2).all()


def test_axes_of_one_element_are_spread_as_numpy_does():
    target = np.empty((5, 5))
    copy(np.arange(5.0)[:, None], target)
    assert (target == np.arange(5.0)[:, None]).all()


def test_large_arrays_with_axes_of_one_element():
    source = np.arange(2**21, dtype=np.float32).reshape(2048, 1024, 1, 1)
    target = np.empty((1, 1, 1024, 2048), np.float32)
    copy(source.transpose(2, 3, 1, 0), target)
    np.testing.assert_array_equal(target, source.transpose(2, 3, 1, 0))


def test_a_long_array_is_turned():
    source = np.arange(30_000 * 100, dtype=np.float32).reshape(30_000, 100)
    target = np.empty((100, 30_000), np.float32)
    copy(source.T, target)
    np.testing.assert_array_equal(target, source.T)
