"""Arrays as multiparam hands them out and takes them in."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import ml_dtypes
import numpy as np

from ..errors import ArgumentError, MismatchError, MismatchReport
from .types import Array

__all__ = [
    "ReadOnlyArray",
    "blocks",
    "check_converts",
    "checked",
    "converted",
    "difference",
    "frozen",
    "is_float",
    "numeric",
    "rank_of",
]

BLOCK = 1 << 20  # elements that are worked on at a time, so that what is made of them is small beside a large tensor

_SMALL_FLOATS = frozenset(
    np.dtype(getattr(ml_dtypes, name))
    for name in dir(ml_dtypes)
    if name.startswith(("bfloat", "float")) and isinstance(getattr(ml_dtypes, name), type)
)
_DTYPES = {str(dtype): dtype for dtype in _SMALL_FLOATS} | {
    name: np.dtype(dtype)
    for dtype, names in {
        np.float16: ("f16", "fp16"),
        np.float32: ("f32", "fp32"),
        np.float64: ("f64", "fp64"),
        ml_dtypes.bfloat16: ("bf16",),
        ml_dtypes.float8_e4m3fn: ("f8_e4m3", "fp8_e4m3"),
        ml_dtypes.float8_e5m2: ("f8_e5m2", "fp8_e5m2"),
    }.items()
    for name in names
}
_RANKS = {"b": 0, "i": 1, "u": 1, "f": 2, "c": 3}


def _out_of_place(operation: Callable[..., Any]) -> Callable[[Any, Any], Any]:
    def in_place(self: Array, other: Any) -> Any:
        plain = self.view(np.ndarray)
        if not self.flags.writeable:
            return operation(plain, other)
        operation(plain, other, out=plain)  # a copy of the user's own
        return self

    return in_place


class ReadOnlyArray(np.ndarray):
    """A read-only array whose `+=` and friends make new arrays.

    So `p[:] += 1` reads, adds and writes back, while `p[0][0] = 42`, which would be lost, raises.
    """

    def __array_wrap__(self, array: Any, context: Any = None, return_scalar: bool = False) -> Any:
        plain = np.asarray(array)
        return plain[()] if return_scalar or plain.ndim == 0 else plain

    __iadd__ = _out_of_place(np.add)
    __isub__ = _out_of_place(np.subtract)
    __imul__ = _out_of_place(np.multiply)
    __itruediv__ = _out_of_place(np.true_divide)
    __ifloordiv__ = _out_of_place(np.floor_divide)
    __imod__ = _out_of_place(np.remainder)
    __ipow__ = _out_of_place(np.power)
    __iand__ = _out_of_place(np.bitwise_and)
    __ior__ = _out_of_place(np.bitwise_or)
    __ixor__ = _out_of_place(np.bitwise_xor)
    __ilshift__ = _out_of_place(np.left_shift)
    __irshift__ = _out_of_place(np.right_shift)
    __imatmul__ = _out_of_place(np.matmul)


def frozen(array: Array) -> Array:
    """The same array, read-only from now on; it must be ours to freeze."""
    array.flags.writeable = False
    return array


def is_float(dtype: np.dtype[Any]) -> bool:
    """Whether the dtype is real floating point, bfloat16 and float8 included."""
    return dtype.kind == "f" or dtype in _SMALL_FLOATS


def real_dtype(given: Any) -> np.dtype[Any]:
    """A dtype of real numbers, named as numpy, PyTorch or the files name it.

    Raises:
        ArgumentError: it is none.

    >>> real_dtype("BF16"), real_dtype("float32"), real_dtype("torch.float16")
    (dtype(bfloat16), dtype('float32'), dtype('float16'))
    """
    found = _numpy_dtype(given)
    if found is None:  # a framework's own, torch.bfloat16 say
        found = _numpy_dtype(str(getattr(given, "name", given)).rpartition(".")[2])
    if found is None or not is_float(found):
        raise ArgumentError(f"a dtype of real numbers is wanted, float32 or bfloat16 say, not {given!r}")
    return found


def _numpy_dtype(given: Any) -> np.dtype[Any] | None:
    """The dtype of a name or of what numpy takes for one; None if it is neither."""
    if isinstance(given, str):
        given = _DTYPES.get(given.lower(), given)
    try:
        found: np.dtype[Any] = np.dtype(given)
    except TypeError:
        return None
    return found


def rank_of(dtype: np.dtype[Any]) -> int | None:
    """Booleans 0, integers 1, real 2, complex 3; None for what is no number."""
    return 2 if dtype in _SMALL_FLOATS else _RANKS.get(dtype.kind)


def numeric(value: Any) -> Array:
    """As `numpy.asarray`; ragged lists raise ValueError in every numpy.

    Raises:
        ValueError: the value is no regular array.
    """
    if isinstance(value, np.ndarray):
        return value
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # numpy before 1.24 warns of ragged lists, and makes object arrays
        try:
            return np.asarray(value)
        except Warning as warning:
            raise ValueError(str(warning)) from warning


def converted(name: str, array: Array, dtype: np.dtype[Any], what: str = "cannot write") -> Array:
    """The array in another dtype; itself where it has that already.

    Raises:
        MismatchError: a number does not fit: an integer out of range, or a finite one that would become infinite.
    """
    if array.dtype == dtype:
        return array
    made = np.empty_like(array, dtype, subok=False)
    for source, target in blocks(array, made):
        with np.errstate(all="ignore"):
            np.copyto(target, source, casting="unsafe")
        if not _is_kept(source, target):
            raise _unfit(name, array, dtype, what)
    return made


def check_converts(name: str, array: Array, dtype: np.dtype[Any], what: str) -> None:
    """Raises as `converted` would, which makes no array here."""
    for (block,) in blocks(array):
        with np.errstate(all="ignore"):
            kept = _is_kept(block, block.astype(dtype))
        if not kept:
            raise _unfit(name, array, dtype, what)


def _is_kept(array: Array, made: Array) -> bool:
    """Whether what was made of an array has its numbers, rounded at most."""
    if rank_of(made.dtype) in (0, 1):
        return np.array_equal(made, array)
    return bool((np.isfinite(_wide(made)) | ~np.isfinite(_wide(array))).all())


def _unfit(name: str, array: Array, dtype: np.dtype[Any], what: str) -> MismatchError:
    return MismatchError(
        f"{what} {name!r}: some numbers do not fit into its dtype",
        MismatchReport(mistyped=[(name, dtype, array.dtype)]),
    )


def _wide(array: Array) -> Array:
    # numpy's isfinite does not know the dtypes of ml_dtypes in every version
    return array.astype(np.float32) if array.dtype in _SMALL_FLOATS else array


def checked(name: str, value: Any, dtype: np.dtype[Any], what: str = "cannot write") -> Array:
    """The value as an array whose kind of dtype fits a parameter's: lower kinds fit into higher ones, never back.

    Raises:
        MismatchError: the value is no numeric array, or complex for real, or real for integer, and so on.
    """
    try:
        array = numeric(value)
    except ValueError as error:
        raise MismatchError(f"{what} {name!r}: {error}", MismatchReport()) from error
    given, wanted = rank_of(array.dtype), rank_of(dtype)
    if given is None or wanted is None or given > wanted:
        raise MismatchError(f"{what} {name!r}", MismatchReport(mistyped=[(name, dtype, array.dtype)]))
    return array


def blocks(*arrays: Array) -> Iterator[tuple[Array, ...]]:
    """Arrays of one shape, a block of each at a time, as it lies there.

    >>> [block.shape for (block,) in blocks(np.zeros((3, BLOCK)))]
    [(3, 349525), (3, 349525), (3, 349525), (3, 1)]
    """
    size, shape = arrays[0].size, arrays[0].shape
    if size <= BLOCK:
        yield from [arrays] if size else []
        return
    axis = max(range(len(shape)), key=shape.__getitem__)
    lines = max(1, BLOCK * shape[axis] // size)
    for start in range(0, shape[axis], lines):
        share = (*(slice(None),) * axis, slice(start, start + lines))
        yield from blocks(*(array[share] for array in arrays))


def difference(a: Array, b: Array) -> float:
    """The largest absolute difference of two arrays of one shape; NaN where only one of them has NaN.

    >>> difference(np.array([1, np.nan, np.inf]), np.array([1, np.nan, np.inf], np.float32))
    0.0
    >>> difference(np.array([2**62], np.int64), np.array([2**62 + 1], np.uint64))
    1.0
    """
    found = [_difference(first, second) for first, second in blocks(a, b)]
    return float(np.max(found or [0.0]))  # NaN if one is


def _difference(a: Array, b: Array) -> float:
    if a.dtype == b.dtype and a.tobytes() == b.tobytes():
        return 0.0
    kinds = a.dtype.kind + b.dtype.kind
    if set(kinds) <= set("iu") and 8 in (a.itemsize, b.itemsize):
        # exact, where doubles are not
        return float(
            max(
                abs(first - second)
                for first, second in zip(a.reshape(-1).tolist(), b.reshape(-1).tolist(), strict=True)
            )
        )
    wide = np.complex128 if "c" in kinds else np.float64
    with np.errstate(all="ignore"):
        first, second = a.astype(wide), b.astype(wide)
        same = (first == second) | (np.isnan(first) & np.isnan(second))  # infinities of one sign too
        return float(np.where(same, 0, np.abs(np.where(same, 0, first) - np.where(same, 0, second))).max())
