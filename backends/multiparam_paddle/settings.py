"""What decides the function of Paddle's layers beside their weights, in PyTorch's terms."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from paddle import nn

from multiparam.adapter import Setting, convolution, pooling, transposed_convolution

_MODES = {
    "constant": "ConstantPad",
    "reflect": "ReflectionPad",
    "replicate": "ReplicationPad",
    "circular": "CircularPad",
}
# arguments that an output in eval mode does not depend on, or that the weights tell
_IGNORED = frozenset(
    ("name", "data_format", "p", "dropout", "attn_dropout", "act_dropout", "dtype", "device", "inplace")
)


def of(**names: str) -> Callable[[Any], dict[str, Setting]]:
    """Settings that are attributes, by the names that they have in Paddle."""
    return lambda native: {setting: _plain(getattr(native, name)) for setting, name in names.items()}


def _plain(value: Any) -> Setting:
    if isinstance(value, (tuple, list)):
        return [int(one) for one in value]
    return "none" if value is None else value


def of_norm(native: Any) -> dict[str, Setting]:
    """Of a norm."""
    found: dict[str, Setting] = {"eps": native._epsilon}
    if "BatchNorm" in type(native).__name__:  # of the old statistics, where PyTorch's is of the new
        found["momentum"] = round(1 - native._momentum, 12)
    if isinstance(native, nn.GroupNorm):
        found["num_groups"] = native._num_groups
    if getattr(native, "_act", None):
        found["fused_activation"] = native._act
    always = getattr(native, "_use_global_stats", None)
    if always is True or getattr(native, "_trainable_statistics", False):
        found["training_statistics"] = "running"
    if always is False and not isinstance(native, nn.BatchNorm):  # whose False is the others' None
        found["statistics"] = "batch"
    shape = getattr(native, "_normalized_shape", ())
    if len(shape) > 1:
        found["axes"] = ", ".join(map(str, range(-len(shape), 0)))
    if shape and native.weight is None:
        found["normalized_shape"] = [int(one) for one in shape]
    return found


def of_embedding(native: nn.Embedding) -> dict[str, Setting]:
    """Of an embedding."""
    found: dict[str, Setting] = {}
    if native._padding_idx not in (None, -1):
        found["zero_index"] = int(native._padding_idx)
    if getattr(native, "_max_norm", None) is not None:
        found |= {"max_norm": float(native._max_norm), "norm_type": float(native._norm_type)}
    return found


def of_gelu(native: nn.GELU) -> dict[str, Setting]:
    """Of a GELU."""
    return {"approximate": "tanh" if native._approximate else "none"}


def of_selu(native: nn.SELU) -> dict[str, Setting]:
    """Of a SELU, whose factors others do not let one choose."""
    return {"scale": float(native._scale), "alpha": float(native._alpha)}


def of_conv(native: Any) -> dict[str, Setting]:
    """Of a convolution."""
    mode: dict[str, Setting] = {} if native._padding_mode == "zeros" else {"padding_mode": native._padding_mode}
    return convolution(native._kernel_size, native._stride, *_spread(native), native._groups) | mode


def of_transpose(native: Any) -> dict[str, Setting]:
    """Of a transposed convolution."""
    around, gaps = _spread(native)
    if around == "same" and set(native._stride) != {1}:
        around = "same by the input's extent"  # where others cut by the output's
    return transposed_convolution(
        native._kernel_size, native._stride, around, gaps, native._groups, native.output_padding
    )


def _spread(native: Any) -> tuple[Any, Any]:
    """Padding and dilation of a convolution; with "same" Paddle forgets the dilation."""
    around = _around(native._padding, len(native._kernel_size), native._data_format)
    return (around, native._dilation) if around != "same" else (around, 1)


def of_pool(rank: int) -> Callable[[Any], dict[str, Setting]]:
    """Of a pool over so many axes."""

    def settings(native: Any) -> dict[str, Setting]:
        window = getattr(native, "ksize", None) or native.kernel_size
        window = [window] * rank if isinstance(window, int) else window
        around = _around(native.padding, rank, getattr(native, "data_format", ""))
        found = pooling(window, native.stride or window, around)
        if getattr(native, "exclusive", False) and found["padding"] != [0] * rank:
            found["count_include_pad"] = False
        if getattr(native, "divisor", None) is not None:
            found["divisor_override"] = int(native.divisor)
        if getattr(native, "return_mask", False):
            found["return_indices"] = True
        return found | ({"ceil_mode": True} if native.ceil_mode else {})

    return settings


def of_adaptive(native: Any) -> dict[str, Setting]:
    """Of a pool that tells the output's size."""
    size = getattr(native, "_output_size", None) or getattr(native, "output_size", None)
    sizes = set(size) if isinstance(size, Sequence) else {size}
    found: dict[str, Setting] = {"output_size": sizes.pop() if len(sizes) == 1 else str(tuple(size))}
    indices = getattr(native, "_return_mask", False) or getattr(native, "return_mask", False)
    return found | ({"return_indices": True} if indices else {})


def _around(padding: Any, rank: int, order: str) -> Any:
    """The padding: a word, or one number or pair an axis."""
    if not isinstance(padding, (list, tuple)):
        return padding.lower() if isinstance(padding, str) else padding
    if len(padding) == 2 * rank and all(isinstance(one, int) for one in padding):
        return list(zip(padding[::2], padding[1::2], strict=True))
    if len(padding) == rank + 2 and all(isinstance(one, (list, tuple)) for one in padding):
        return padding[1:-1] if order.endswith("C") else padding[2:]  # without the batch and the channels
    return padding


def kind_of_pad(rank: int) -> Callable[[Any], str]:
    """What a padding over so many axes is, which its mode tells."""

    def kind(native: Any) -> str:
        name = _MODES.get(native._mode, native._mode)
        return f"{'ZeroPad' if name == 'ConstantPad' and not native.value else name}{rank}d"

    return kind


def of_pad(native: Any) -> dict[str, Setting]:
    """Of a padding."""
    found: dict[str, Setting] = {"padding": [int(one) for one in native.padding]}
    return found | ({"value": float(native.value)} if native._mode == "constant" and native.value else {})


def of_upsample(native: Any) -> dict[str, Setting]:
    """Of a layer that repeats or interpolates."""
    bilinear = isinstance(native, nn.UpsamplingBilinear2D)
    found: dict[str, Setting] = {
        "size": _one(native.size),
        "scale_factor": _one(native.scale_factor),
        "mode": getattr(native, "mode", "bilinear" if bilinear else "nearest"),
    }
    flags = {name: True for name in ("align_corners", "recompute_scale_factor") if getattr(native, name, False)}
    align = getattr(native, "align_mode", 0)
    return found | flags | ({"align_corners": True} if bilinear else {}) | ({"align_mode": align} if align else {})


def _one(sizes: Any) -> Setting:
    """One number where all axes have the same."""
    each = set(sizes) if isinstance(sizes, (tuple, list)) else {sizes}
    return _plain(each.pop()) if len(each) == 1 else str(tuple(sizes))


def of_attention(native: nn.MultiHeadAttention) -> dict[str, Setting]:
    """Of an attention."""
    first = bool(getattr(native, "batch_first", True))
    return {"num_heads": native.num_heads, "batch_first": first, "need_weights": bool(native.need_weights)}


# --- of what has no row ------------------------------------------------------------------------------------------


def said(native: nn.Layer) -> dict[str, object]:
    """What a layer that is in no row says of itself: one of Paddle's own its arguments, any other its `extra_repr`."""
    own = next((base for base in type(native).__mro__ if base.__module__.startswith("paddle.")), nn.Layer)
    found: dict[str, object] = {}
    for name in _constructed(own):
        for attribute in (name, f"_{name}"):
            value = vars(native).get(attribute, getattr(type(native), attribute, found))
            if value is not found and not isinstance(value, nn.Layer):
                found[name] = getattr(value, "__name__", value) if callable(value) else value
                break
    if type(native).extra_repr is not own.extra_repr:
        try:
            text = native.extra_repr()
        except Exception:  # it is somebody's own, and nothing depends on it
            text = ""
        found |= {"extra_repr": text} if text else {}
    return found


@lru_cache(maxsize=256)
def _constructed(cls: type) -> tuple[str, ...]:
    if cls is nn.Layer or "Dropout" in cls.__name__:
        return ()
    names = inspect.signature(cls.__init__).parameters
    return tuple(name for name in names if name not in {*_IGNORED, "self"} and not name.endswith("_attr"))
