"""Paddle tensors as numpy arrays and back, with the dtypes that numpy knows through ml_dtypes only."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import paddle

from multiparam.adapter import MultiparamError

# these cross as integers of their width
_THROUGH = {
    paddle.bfloat16: ("int16", ml_dtypes.bfloat16),
    paddle.float8_e4m3fn: ("int8", ml_dtypes.float8_e4m3fn),
    paddle.float8_e5m2: ("int8", ml_dtypes.float8_e5m2),
}
_PLAIN = (
    *("bool", "uint8", "int8", "int16", "int32", "int64"),
    *("float16", "float32", "float64", "complex64", "complex128"),
)
_DTYPES = {getattr(paddle, name): np.dtype(name) for name in _PLAIN} | {
    dtype: np.dtype(numpy) for dtype, (_, numpy) in _THROUGH.items()
}
_BACK = {numpy: dtype for dtype, numpy in _DTYPES.items()}


def numpy_dtype(dtype: Any) -> np.dtype[Any]:
    """The numpy dtype of the same bits."""
    if dtype not in _DTYPES:
        raise MultiparamError(f"tensors of dtype {dtype} have no counterpart in numpy")
    return _DTYPES[dtype]


def to_numpy(tensor: Any) -> Any:
    """The tensor's numbers, a view where there can be one."""
    if tensor.is_selected_rows():  # the gradient of a sparse embedding
        found = tensor.get_selected_rows()
        rows = np.array(found.get_tensor())
        whole = np.zeros((found.height(), *rows.shape[1:]), rows.dtype)
        np.add.at(whole, found.rows(), rows)
        return whole
    shared = memory(tensor)
    if shared is not None:
        return shared
    plain = tensor.detach()
    plain = plain.view(_THROUGH[tensor.dtype][0]) if tensor.dtype in _THROUGH else plain
    return plain.numpy().view(numpy_dtype(tensor.dtype))


def memory(tensor: Any) -> Any:
    """A view of the tensor's own memory, where it lies on the CPU and numpy can have one; else None."""
    dtype = numpy_dtype(tensor.dtype)
    if not tensor.place.is_cpu_place() or dtype.kind not in "iufV" or not tensor.size:
        return None
    plain = tensor.detach()
    plain = plain.view(_THROUGH[tensor.dtype][0]) if tensor.dtype in _THROUGH else plain
    return np.from_dlpack(plain).view(dtype)


def from_numpy(array: Any, place: Any = None) -> Any:
    """A tensor with a copy of the array's numbers, on the default device unless another is given."""
    dtype = _BACK.get(array.dtype.newbyteorder("="))
    if dtype is None:
        raise MultiparamError(f"arrays of dtype {array.dtype} have no counterpart in Paddle")
    plain = np.require(array, array.dtype.newbyteorder("="), ["C"])
    if dtype in _THROUGH:
        width = _THROUGH[dtype][0]
        return paddle.to_tensor(plain.reshape(-1).view(width).reshape(plain.shape), place=place).view(dtype)
    return paddle.to_tensor(plain, place=place)
