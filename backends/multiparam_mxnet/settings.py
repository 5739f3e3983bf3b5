"""What decides the function of Gluon's layers beside their weights, in PyTorch's terms."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from mxnet import gluon
from mxnet.gluon import nn
from mxnet.gluon.nn.conv_layers import _Conv, _Pooling
from mxnet.gluon.rnn.rnn_layer import _RNNLayer

from multiparam.adapter import Setting, convolution, pooling, transposed_convolution

# attributes that an output in eval mode does not depend on, or that the weights tell
_IGNORED = frozenset(("_dtype", "_rate", "_dropout", "_units", "_in_units", "_hidden_size", "_input_size", "training"))


def called(activation: Any) -> str:
    """The name that others have for the activation that a layer calls by itself."""
    name = "linear" if activation is None else str(getattr(activation, "_act_type", type(activation).__name__.lower()))
    return {"softrelu": "softplus"}.get(name, name)


def of_dense(native: nn.Dense) -> dict[str, Setting]:
    """Of a Dense, which by itself takes all axes but the first for one."""
    return {"activation": called(native.act), "flattens": bool(native._flatten)}


def of_conv(native: _Conv) -> dict[str, Setting]:
    """Of a convolution, transposed or not."""
    options = native._kwargs
    sizes = (options["kernel"], options["stride"], options["pad"], options["dilate"], options["num_group"])
    found = convolution(*sizes) if "adj" not in options else transposed_convolution(*sizes, options["adj"])
    return found | {"activation": called(native.act)}


def of_pool(native: _Pooling) -> dict[str, Setting]:
    """Of a pool."""
    options = native._kwargs
    if options["global_pool"]:
        return {}
    found = pooling(options["kernel"], options["stride"], options["pad"])
    found |= {} if options.get("count_include_pad", True) else {"count_include_pad": False}
    return found | ({"ceil_mode": True} if options["pooling_convention"] == "full" else {})


def of_norm(native: Any) -> dict[str, Setting]:
    """Of one of Gluon's own norms."""
    options = native._kwargs
    found: dict[str, Setting] = {"eps": options["eps"]}
    if "momentum" in options:  # of the old statistics, where PyTorch's is of the new
        found["momentum"] = round(1 - options["momentum"], 12)
    if "num_groups" in options:
        found["num_groups"] = options["num_groups"]
    elif isinstance(native, nn.LayerNorm):
        found["axes"] = str(native._axis)
    else:
        axis = int(options.get("axis", 1))  # one that is shared out among devices has no choice
        # where another one is meant images lie channels last, and it is theirs
        found |= {"native_axis": axis} | ({} if axis == 1 else {"axis": f"channels or {axis}"})
    if options.get("use_global_stats"):
        found["training_statistics"] = "running"
    return found | ({"fused_activation": "relu"} if getattr(native, "fuse_relu", False) else {})


def of_reflection(native: nn.ReflectionPad2D) -> dict[str, Setting]:
    """Of a padding; PyTorch begins with the last axis."""
    top, bottom, left, right = native._padding[4:]
    return {"padding": [int(one) for one in (left, right, top, bottom)]}


def of_shuffle(native: Any) -> dict[str, Setting]:
    """Of a pixel shuffle."""
    factors = native._factors if hasattr(native, "_factors") else (native._factor,)
    return {"upscale_factor": int(factors[0]) if len(set(factors)) == 1 else str(tuple(factors))}


def of_sequence(native: _RNNLayer) -> dict[str, Setting]:
    """Of a fused recurrent layer."""
    way: dict[str, Setting] = {"merge": "concat"} if native._dir == 2 else {"reverse": False}
    way["batch_first"] = native._layout == "NTC"
    if native._mode.startswith("rnn"):
        return {"nonlinearity": native._mode.removeprefix("rnn_")} | way
    clipped = [native._lstm_state_clip_min, native._lstm_state_clip_max]
    clip: dict[str, Setting] = {"state_clip": str(clipped)} if any(one is not None for one in clipped) else {}
    clip |= {"state_clip_nan": True} if native._lstm_state_clip_nan else {}
    return {"activation": "tanh", "recurrent_activation": "sigmoid"} | way | clip


# --- of what has no row ------------------------------------------------------------------------------------------


def said(native: Any) -> dict[str, Any] | None:
    """What a block that is in no row says of itself: its attributes that are plain values."""
    if not isinstance(native, gluon.Block) or isinstance(native, gluon.SymbolBlock):
        return None
    held = {name: one for name, one in vars(native).items() if isinstance(one, (bool, int, float, str, tuple, dict))}
    found: dict[str, Any] = {}
    for name, value in held.items():
        if name in _IGNORED or name in _internal() or name.endswith("_initializer"):
            continue
        found |= value if isinstance(value, dict) and name.startswith("_kwargs") else {name.lstrip("_"): value}
    return found


@lru_cache(maxsize=1)
def _internal() -> frozenset[str]:
    """What Gluon itself keeps in every block."""
    cells = (gluon.rnn.RecurrentCell(), gluon.HybridBlock())
    return frozenset(name for block in cells for name in vars(block)) | {"_counter", "_init_counter"}
