"""What decides the function of Linen's layers beside their weights, in PyTorch's terms."""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from multiparam.adapter import Row, Setting, axes_of, convolution, input_padded

from .model import PARAMETERS, Place

# arguments that hold a function in the place of the framework's own
_FUNCTIONS = (
    *("dot_general", "dot_general_cls", "conv_general_dilated", "conv_general_dilated_cls", "attention_fn"),
    *("promote_dtype", "carry_init", "qkv_dot_general", "out_dot_general", "qkv_dot_general_cls"),
    *("out_dot_general_cls", "qk_attn_weights_einsum_cls", "attn_weights_value_einsum_cls"),
)
_IGNORED = frozenset(("parent", "name", "deterministic", "dropout_rate", "rate", "train", "training", "input_rank"))


def common(row: Row) -> Callable[[Place], dict[str, Any]]:
    """A row's settings, and those that any layer may have; None for those of a layer whose arguments are not known."""

    def settings(place: Place) -> dict[str, Any]:
        own = dict(row.settings(place)) if row.settings is not None else {}
        if place.layer is None:
            return {**dict.fromkeys(("compute_dtype", "precision", "axes", "axis", "reduction_axes")), **own}
        return own | of_computing(place)

    return settings


def of_computing(place: Place) -> dict[str, Setting]:
    """In which dtype and how a layer computes, where that is not as its weights are and as the framework does."""
    found: dict[str, Setting] = {}
    dtype, keeps = place.argument("dtype"), place.argument("param_dtype")
    if dtype is not None and keeps is not None and jnp.dtype(dtype) != jnp.dtype(keeps):
        found["compute_dtype"] = str(jnp.dtype(dtype))
    preferred = place.argument("preferred_element_type")
    if preferred is not None:
        found["preferred_element_type"] = str(jnp.dtype(preferred))
    if place.argument("precision") is not None:
        found["precision"] = str(place.argument("precision"))
    mask = place.argument("mask")
    if mask is not None and hasattr(mask, "shape"):  # of a kernel, whose numbers it takes away
        found["mask"] = f"{zlib.crc32(np.ascontiguousarray(mask).tobytes()):08x}"
    defaults = _defaults(place.cls) if place.cls is not None else {}
    own = {name: place.argument(name) for name in defaults}
    others = [
        f"{name} {called(one)}" for name, one in own.items() if one is not None and not _alike(one, defaults[name])
    ]
    return found | ({"functions": ", ".join(others)} if others else {})


@lru_cache(maxsize=256)
def _defaults(cls: type) -> Mapping[str, Any]:
    """The functions that a module has by default."""
    return {field.name: field.default for field in dataclasses.fields(cls) if field.name in _FUNCTIONS}


def _alike(given: Any, default: Any) -> bool:
    # what makes an initializer makes another object each time
    return given is default or (default is not None and called(given) == called(default) != "another")


def called(function: Any) -> str:
    """The name of a function."""
    name = getattr(function, "__name__", None) or type(function).__name__
    return "another" if name == "<lambda>" else name


def given(place: Place, **names: str) -> dict[str, Setting]:
    """Settings that are arguments of the module, where they are known."""
    found = {setting: place.argument(name) for setting, name in names.items()}
    return {setting: value for setting, value in found.items() if value is not None}


def of_norm(place: Place) -> dict[str, Setting]:
    """Of a norm."""
    found = given(place, eps="epsilon", num_groups="num_groups")
    size, scale = place.argument("group_size"), place.entries().get(PARAMETERS, {}).get("scale")
    if size is not None and scale is not None:
        found["num_groups"] = place.leaf(PARAMETERS, "scale").value.shape[0] // size
    momentum = place.argument("momentum")  # of the old statistics, where PyTorch's is of the new
    if momentum is not None:
        found["momentum"] = round(1 - momentum, 12)
    return found | _of_axes(place)


def _of_axes(place: Place) -> dict[str, Setting]:
    """Which axes a norm works on, and to which its weights belong where these are others."""
    if place.layer is None:
        return {}
    reduced, scaled = place.argument("reduction_axes"), place.argument("feature_axes")
    if place.cls is nn.GroupNorm:
        return {} if reduced is None else {"reduction_axes": axes_of(reduced)}
    if place.cls in (nn.LayerNorm, nn.RMSNorm):
        over, weighted = axes_of(reduced), axes_of(scaled)
        found: dict[str, Setting] = {} if over == "-1" else {"axes": over}
        return found | ({} if over == weighted else {"feature_axes": weighted})
    axis = axes_of(place.argument("axis", scaled))
    batch: dict[str, Setting] = {"statistics": "batch"} if place.argument("use_running_average") is False else {}
    return batch | ({} if axis == "-1" else {"axis": axis})


def sizes(place: Place) -> tuple[tuple[int, ...], list[int]]:
    """Kernel size and dilation of a convolution."""
    size, gaps = place.argument("kernel_size"), place.argument("kernel_dilation") or 1
    kernel = (size,) if isinstance(size, int) else tuple(size)
    return kernel, [gaps] * len(kernel) if isinstance(gaps, int) else list(gaps)


def of_conv(place: Place) -> dict[str, Setting]:
    """Of a convolution."""
    if place.layer is None:
        return {}
    kernel, gaps = sizes(place)
    groups, spread = place.argument("feature_group_count", 1), str(place.argument("input_dilation") or 1)
    found = convolution(kernel, place.argument("strides") or 1, place.argument("padding"), gaps, groups)
    return found | ({"input_dilation": spread} if spread.strip("[](,) 1") else {})


def of_conv_transpose(place: Place) -> dict[str, Setting]:
    """Of a transposed convolution."""
    if place.layer is None:
        return {}
    kernel, gaps = sizes(place)
    return input_padded(kernel, place.argument("strides") or 1, place.argument("padding"), gaps)


def of_attention(place: Place) -> dict[str, Setting]:
    """Of an attention."""
    found = given(place, num_heads="num_heads") | {"batch_first": True}
    flags = ("decode", "force_fp32_for_softmax")
    return found | {name: True for name in flags if place.argument(name)}


def of_sequence(place: Place) -> dict[str, Setting]:
    """How a recurrent layer goes through a sequence, and what of it comes out."""
    if place.layer is None:
        return {}
    found: dict[str, Setting] = {}
    if place.cls is nn.RNN:
        found["reverse"] = bool(place.argument("reverse"))
        found |= {"keep_order": True} if found["reverse"] and place.argument("keep_order") else {}
    elif place.cls is nn.Bidirectional:
        merge = called(place.argument("merge_fn")).strip("_")
        found["merge"] = "concat" if merge == "concatenate" else merge
    found["batch_first"] = not place.argument("time_major")
    return found | {"return_carry": bool(place.argument("return_carry"))}


def of_cell(place: Place) -> dict[str, Setting]:
    """The functions of a recurrent cell."""
    functions = {"activation": place.argument("activation_fn"), "recurrent_activation": place.argument("gate_fn")}
    more: dict[str, Setting] = {}
    if place.cls is nn.SimpleCell:
        functions = {"nonlinearity": functions["activation"]}
        more = {"residual": True} if place.argument("residual") else {}
    found = {setting: called(function) for setting, function in functions.items() if function is not None}
    return found | more | of_computing(place)


def said(place: Place) -> dict[str, Any] | None:
    """What a module that is in no row says of itself: its fields, where they are known."""
    if place.layer is None:
        return None
    plain = (bool, int, float, str, tuple)
    fields = {name: one for name, one in place.layer.arguments.items() if isinstance(one, plain)}
    return {name: one for name, one in fields.items() if name not in _IGNORED} | of_computing(place)
