"""What decides the function of NNX's layers beside their weights, in PyTorch's terms."""

from __future__ import annotations

import functools
import inspect
import zlib
from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx

from multiparam.adapter import Row, Setting, axes_of, convolution, input_padded

# arguments that hold a function in the place of the framework's own
_FUNCTIONS = (
    *("dot_general", "conv_general_dilated", "einsum_op", "attention_fn", "promote_dtype", "carry_init"),
    *("qkv_promote_dtype", "out_promote_dtype", "ln_promote_dtype", "qkv_dot_general", "out_dot_general"),
    *("dot_general_cls", "qkv_dot_general_cls", "out_dot_general_cls"),
)
_IGNORED = frozenset(("rngs", "deterministic", "use_running_average", "training", "rate", "dropout_rate"))


def common(row: Row) -> Callable[[Any], dict[str, Setting]]:
    """A row's settings, and those that any layer may have."""

    def settings(native: Any) -> dict[str, Setting]:
        own = dict(row.settings(native)) if row.settings is not None else {}
        return own | of_computing(native) if isinstance(native, nnx.Module) else own

    return settings


def of_computing(native: Any) -> dict[str, Setting]:
    """In which dtype and how a layer computes, where that is not as its weights are and as the framework does."""
    cell = getattr(native, "cell", None)
    if isinstance(cell, nnx.Module):
        return of_computing(cell)
    found: dict[str, Setting] = {}
    dtype, keeps = getattr(native, "dtype", None), getattr(native, "param_dtype", None)
    if dtype is not None and keeps is not None and jnp.dtype(dtype) != jnp.dtype(keeps):
        found["compute_dtype"] = str(jnp.dtype(dtype))
    preferred = getattr(native, "preferred_element_type", None)
    if preferred is not None:
        found["preferred_element_type"] = str(jnp.dtype(preferred))
    if getattr(native, "precision", None) is not None:
        found["precision"] = str(native.precision)
    mask = getattr(native, "mask", None)
    if mask is not None and hasattr(mask, "shape"):  # of a kernel, whose numbers it takes away
        found["mask"] = f"{zlib.crc32(np.ascontiguousarray(mask).tobytes()):08x}"
    defaults = _defaults(type(native))
    own = {name: getattr(native, name, None) for name in defaults}
    others = [
        f"{name} {called(one)}" for name, one in own.items() if one is not None and not _alike(one, defaults[name])
    ]
    return found | ({"functions": ", ".join(others)} if others else {})


@functools.lru_cache(maxsize=256)
def _defaults(cls: type) -> Mapping[str, Any]:
    """The functions that a class's constructor has by default."""
    given = inspect.signature(cls.__init__).parameters
    return {name: given[name].default for name in _FUNCTIONS if name in given}


def _alike(given: Any, default: Any) -> bool:
    # what makes an initializer makes another object each time
    return given is default or (default is not None and called(given) == called(default) != "another")


def called(function: Any) -> str:
    """The name of a function, or of a module that is used as one."""
    name = getattr(function, "__name__", None) or type(function).__name__
    return "another" if name == "<lambda>" else name


def of_norm(native: Any) -> dict[str, Setting]:
    """Of a norm."""
    found: dict[str, Setting] = {"eps": native.epsilon}
    momentum = getattr(native, "momentum", None)  # of the old statistics, where PyTorch's is of the new
    if momentum is not None:
        found["momentum"] = round(1 - momentum, 12)
    if type(native) is nnx.GroupNorm:
        found["num_groups"] = native.num_groups
        return found | ({} if native.reduction_axes is None else {"reduction_axes": axes_of(native.reduction_axes)})
    if isinstance(native, (nnx.LayerNorm, nnx.RMSNorm)):
        return found | of_axes(native.reduction_axes, native.feature_axes)
    axis = axes_of(getattr(native, "axis", getattr(native, "feature_axes", -1)))
    return found | ({} if axis == "-1" else {"axis": axis})


def of_axes(reduced: Any, scaled: Any) -> dict[str, Setting]:
    """Which axes a norm works on, and to which its weights belong where these are others."""
    over, weighted = axes_of(reduced), axes_of(scaled)
    found: dict[str, Setting] = {} if over == "-1" else {"axes": over}
    return found | ({} if over == weighted else {"feature_axes": weighted})


def of_conv(native: nnx.Conv) -> dict[str, Setting]:
    """Of a convolution."""
    sizes = (native.kernel_size, native.strides, native.padding, native.kernel_dilation)
    spread = str(native.input_dilation)
    more: dict[str, Setting] = {"input_dilation": spread} if spread.strip("(,) 1") else {}
    return convolution(*sizes, native.feature_group_count) | more


def of_conv_transpose(native: nnx.ConvTranspose) -> dict[str, Setting]:
    """Of a transposed convolution."""
    return input_padded(native.kernel_size, native.strides, native.padding, native.kernel_dilation or 1)


def of_attention(native: nnx.MultiHeadAttention) -> dict[str, Setting]:
    """Of an attention."""
    found: dict[str, Setting] = {
        "num_heads": native.num_heads,
        "batch_first": bool(getattr(native, "batch_first", True)),
    }
    return found | ({"decode": True} if native.decode else {})


def of_sequence(native: Any) -> dict[str, Setting]:
    """How a recurrent layer goes through a sequence, and what of it comes out."""
    layer = native.stack[0] if hasattr(native, "stack") else native
    found: dict[str, Setting] = {}
    if isinstance(layer, nnx.Bidirectional):
        merge = called(layer.merge_fn).strip("_")
        found["merge"] = "concat" if layer is not native or merge == "concatenate" else merge
    else:
        found["reverse"] = bool(layer.reverse)
        found |= {"keep_order": True} if layer.reverse and layer.keep_order else {}
    found["batch_first"] = bool(getattr(native, "batch_first", not layer.time_major))
    return found | ({"return_carry": bool(layer.return_carry)} if layer is native else {})


def said(native: Any) -> dict[str, Any] | None:
    """What a module that is in no row says of itself: its attributes that are plain values."""
    if not isinstance(native, nnx.Module) or isinstance(native, (nnx.List, nnx.Dict)):
        return None
    plain = (bool, int, float, str, tuple)
    return {
        name: one
        for name, one in vars(native).items()
        if isinstance(one, plain) and not name.startswith("_") and name not in _IGNORED
    } | of_computing(native)
