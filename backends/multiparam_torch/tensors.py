"""PyTorch tensors as numpy arrays and back, with the dtypes that numpy knows through ml_dtypes only."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from multiparam.adapter import MultiparamError, UnsupportedError

_PLAIN = frozenset({torch.Tensor, nn.Parameter, getattr(nn, "Buffer", nn.Parameter)})
_DISTRIBUTED = ("torch.distributed.",)
_GATHER = (
    "tensor.full_tensor(), or torch.distributed.checkpoint.state_dict.get_model_state_dict(net, "
    "options=StateDictOptions(full_state_dict=True)), called by each of them, gathers the whole"
)
_DEQUANTIZE = "do this before the model is converted, or put tensor.dequantize() in its place, where it has that"

# these cross as integers of their width
_THROUGH = {
    torch.bfloat16: (torch.int16, ml_dtypes.bfloat16),
    torch.float8_e4m3fn: (torch.int8, ml_dtypes.float8_e4m3fn),
    torch.float8_e5m2: (torch.int8, ml_dtypes.float8_e5m2),
} | {
    # which older releases of one or the other lack
    getattr(torch, name): (torch.int8, getattr(ml_dtypes, name))
    for name in ("float8_e4m3fnuz", "float8_e5m2fnuz", "float8_e8m0fnu")
    if hasattr(torch, name) and hasattr(ml_dtypes, name)
}
_DTYPES = {
    dtype: np.dtype(name)
    for name in (
        *("bool", "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64"),
        *("float16", "float32", "float64", "complex64", "complex128"),
    )
    if (dtype := getattr(torch, name, None)) is not None
} | {dtype: np.dtype(numpy) for dtype, (_, numpy) in _THROUGH.items()}
_BACK = {numpy: dtype for dtype, numpy in _DTYPES.items()}


def numpy_dtype(dtype: torch.dtype) -> np.dtype[Any]:
    """The numpy dtype of the same bits."""
    if dtype not in _DTYPES:
        raise MultiparamError(f"tensors of dtype {dtype} have no counterpart in numpy")
    return _DTYPES[dtype]


def to_numpy(tensor: torch.Tensor) -> Any:
    """The tensor's numbers, a view where it lies on the CPU."""
    if why := unreachable(tensor):
        raise UnsupportedError("torch", "reading this tensor", why)
    if tensor.layout != torch.strided:
        raise MultiparamError(
            f"numpy has no counterpart for tensors of layout {tensor.layout}: to_dense() makes it one"
        )
    return _seen(tensor.detach().cpu().resolve_conj().resolve_neg())


def unreachable(tensor: torch.Tensor) -> str:
    """Why the tensor's memory here is not that of its numbers; empty if it is."""
    cls = type(tensor)
    if cls in _PLAIN and not getattr(tensor, "_fsdp_flattened", False):
        return ""
    if getattr(tensor, "_fsdp_flattened", False) or any(
        base.__module__.startswith(_DISTRIBUTED) for base in cls.__mro__
    ):
        return f"{_what(cls)}, of which each process holds a part; {_GATHER}"
    if is_traceable_wrapper_subclass(tensor) or isinstance(tensor, FakeTensor):
        return f"{_what(cls)}, which keeps its numbers in a form of its own; {_DEQUANTIZE}"
    return ""


def _what(cls: type) -> str:
    return (
        f"it is a {cls.__name__}"
        if cls not in _PLAIN
        else "it is a part of a flat parameter of FullyShardedDataParallel"
    )


def memory(tensor: torch.Tensor) -> Any:
    """A writable view of the tensor's own memory, where it lies on the CPU and numpy can have one; else None."""
    plain = tensor.detach()
    dense = type(plain) is torch.Tensor and plain.layout == torch.strided and not plain.is_quantized
    if not dense or plain.device.type != "cpu" or plain.is_conj() or plain.is_neg():
        return None
    if is_expanded(plain):
        return None
    there = _seen(plain)
    return there if there.flags.writeable else None


def is_expanded(tensor: torch.Tensor) -> bool:
    """Whether several of its elements lie in one place."""
    if tensor.layout != torch.strided:
        return False
    return any(extent > 1 and not step for extent, step in zip(tensor.shape, tensor.stride(), strict=True))


def _seen(plain: torch.Tensor) -> Any:
    through = _THROUGH.get(plain.dtype)
    if through is not None:
        integer, numpy = through
        return np.from_dlpack(plain.view(integer)).view(numpy)
    numpy_dtype(plain.dtype)
    # not numpy(), after which PyTorch could never again give the storage another size
    return np.from_dlpack(plain)


def from_numpy(array: Any) -> torch.Tensor:
    """A tensor with the array's numbers; shares memory only with an array that is contiguous and writable."""
    dtype = _BACK.get(array.dtype.newbyteorder("="))
    if dtype is None:
        raise MultiparamError(f"arrays of dtype {array.dtype} have no counterpart in PyTorch")
    # PyTorch takes no read-only memory without a warning
    plain = np.require(array, array.dtype.newbyteorder("="), ["C", "W"])
    if dtype in _THROUGH:
        width = np.dtype(f"i{plain.dtype.itemsize}")
        return torch.from_numpy(plain.reshape(-1).view(width).reshape(plain.shape)).view(dtype)
    return torch.from_numpy(plain)
