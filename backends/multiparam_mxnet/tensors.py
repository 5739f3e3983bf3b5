"""MXNet arrays as numpy arrays and back."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import mxnet as mx
import numpy as np
from mxnet.util import is_np_array, is_np_shape

from multiparam.adapter import MultiparamError

_BFLOAT16 = np.dtype([("bfloat16", np.uint16)])  # what MXNet takes for one
_DTYPES = frozenset(map(np.dtype, ("bool", "uint8", "int8", "int32", "int64", "float16", "float32", "float64")))


def numpy_dtype(dtype: Any) -> np.dtype[Any]:
    """The numpy dtype of the same bits."""
    found = np.dtype(dtype)
    return np.dtype(ml_dtypes.bfloat16) if found == _BFLOAT16 else found


def to_numpy(tensor: Any) -> Any:
    """The tensor's numbers, a copy."""
    array = tensor.asnumpy()
    return array.view(ml_dtypes.bfloat16) if array.dtype == _BFLOAT16 else array


def from_numpy(array: Any, context: Any = None, legacy: bool | None = None) -> Any:
    """A tensor with a copy of the array's numbers.

    Args:
        array: the numbers.
        context: the device; None is the current one.
        legacy: an `mx.nd.NDArray`, not an `mx.np.ndarray`; None is what `npx.set_np()` says.
    """
    legacy = not is_np_array() if legacy is None else legacy
    plain = np.require(array, array.dtype.newbyteorder("="), ["C"])
    if not is_np_shape() and not (plain.ndim and plain.size):
        raise MultiparamError(f"MXNet has tensors of shape {plain.shape} after mx.npx.set_np() only")
    if plain.dtype == ml_dtypes.bfloat16:
        made = from_numpy(plain.astype(np.float32), context, legacy=True).astype(_BFLOAT16)
        return made if legacy else made.as_np_ndarray()
    if plain.dtype not in _DTYPES:
        raise MultiparamError(f"arrays of dtype {array.dtype} have no counterpart in MXNet")
    # not array(), which asks old names of scipy and warns
    made = (mx.nd if legacy else mx.np).empty(plain.shape, dtype=plain.dtype.type, ctx=context)
    made._sync_copyfrom(plain)
    return made


def store(tensor: Any, into: Any) -> None:
    """Copies a tensor into another of its shape and dtype.

    Assigning fails in MXNet 1.9 where a convolution has run and keeps its kernel in an order of its own.
    """
    there = _legacy(tensor.as_in_context(into.context))
    if into.stype != "default":
        there.tostype(into.stype).copyto(into)
    elif tensor.size:
        mx.nd.identity(there, out=_legacy(into))


def _legacy(tensor: Any) -> Any:
    return tensor.as_nd_ndarray() if type(tensor) is not mx.nd.NDArray else tensor


def clear(gradient: Any) -> None:
    """Sets a gradient to zero, as `Parameter.zero_grad` does for `mx.nd` only."""
    gradient[:] = 0
