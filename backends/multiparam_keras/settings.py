"""What decides the function of Keras's layers beside their weights, in PyTorch's terms."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import keras

from multiparam.adapter import Row, Setting, axes_of, convolution, pooling, transposed_convolution

# names in a configuration that an output in eval mode does not depend on, or that the weights tell
_IGNORED = ("name", "trainable", "dtype", "seed", "units", "filters", "rate", "dropout", "use_bias", "build_config")
_ENDS = ("_initializer", "_regularizer", "_constraint", "_dropout")
_FEATURES = (keras.layers.Dense, keras.layers.EinsumDense, keras.layers.Embedding, keras.layers.RNN)


def common(row: Row) -> Callable[[Any], dict[str, Setting]]:
    """A row's settings, and those that any layer may have."""

    def settings(native: Any) -> dict[str, Setting]:
        own = dict(row.settings(native)) if row.settings is not None else {}
        return own | of_dtype(native)

    return settings


def of_dtype(native: Any) -> dict[str, Setting]:
    """In which dtype a layer computes, where that is not that of its weights."""
    policy = getattr(native, "dtype_policy", None)
    computes, keeps = getattr(policy, "compute_dtype", None), getattr(policy, "variable_dtype", None)
    return {} if computes is None or computes == keeps else {"compute_dtype": str(computes)}


def called(function: Any) -> str:
    """The name of an activation, be it a function or a layer that is used as one."""
    if isinstance(function, functools.partial):
        options = ", ".join(f"{name}={value}" for name, value in function.keywords.items())
        return f"{called(function.func)}({options})"
    name = getattr(function, "__name__", None)
    return (name if name != "<lambda>" else "another") or type(function).__name__.lower()


def of_dense(native: Any) -> dict[str, Setting]:
    """Of a layer with weights that applies an activation to its output."""
    found: dict[str, Setting] = {"activation": called(native.activation)}
    if getattr(native, "lora_enabled", False):
        found["lora_scale"] = float(native.lora_alpha) / native.lora_rank
    return found


def of_embedding(native: Any) -> dict[str, Setting]:
    """Of an embedding."""
    found: dict[str, Setting] = {"mask_zero": True} if native.mask_zero else {}
    cap = getattr(native, "logit_soft_cap", None)
    if cap is not None:
        found["logit_soft_cap"] = float(cap)
    reverse = getattr(native, "reverse_dtype", None)
    return found | ({} if reverse is None else {"reverse_dtype": str(reverse)})


# --- axes --------------------------------------------------------------------------------------------------------


def _before(native: Any) -> tuple[int | None, str | None]:
    """How many axes a layer's input has, and how an image in it lies; None for what is not known.

    What lies before it tells the order, where the model knows what lies before it.
    """
    nodes = getattr(native, "_inbound_nodes", ())
    tensors = nodes[0].input_tensors if nodes else ()
    rank = len(tensors[0].shape) if tensors else None
    seen = 0
    while tensors and seen < 200:
        layer = getattr(getattr(tensors[0], "_keras_history", None), "operation", None)
        if layer is None or isinstance(layer, keras.layers.InputLayer) or (rank == 3 and isinstance(layer, _FEATURES)):
            break
        if hasattr(layer, "data_format"):
            return rank, layer.data_format
        before = getattr(layer, "_inbound_nodes", ())
        tensors, seen = before[0].input_tensors if before else (), seen + 1
    if rank is None:
        shape = (getattr(native, "_build_shapes_dict", None) or {}).get("input_shape")
        # built by itself with two axes it may get any number
        rank = len(shape) if isinstance(shape, (tuple, list)) and len(shape) > 2 else None
        return rank, None
    return rank, keras.config.image_data_format() if rank > 3 else None


def of_axis(native: Any) -> dict[str, Setting]:
    """Which axis a norm takes for the channels."""
    axis = native.axis if isinstance(native.axis, int) else native.axis[0]
    rank, order = _before(native)
    if order is None and axis == 1 and rank != 3:
        return {"axis": "channels or 1"}  # which are its own where images lie channels first
    expected = 1 if order == "channels_first" else -1
    alike = axis == expected or (rank is not None and (axis - expected) % rank == 0)
    return {} if alike else {"axis": str(axis)}


def of_axes(native: Any) -> dict[str, Setting]:
    """Which axes a layer norm works on."""
    axes = native.axis
    found = axes_of(axes, _before(native)[0])
    return {} if found == "-1" else {"axes": found}


def of_dim(native: Any, axis: Any = -1) -> dict[str, Setting]:
    """Which axis a softmax works on, by all of the names that PyTorch has for it."""
    if not isinstance(axis, int):
        return {"dim": axes_of(axis)}
    rank, order = _before(native)
    if rank is None:
        return {"dim": str(axis)}
    at = axis % rank
    if order == "channels_last" and rank > 2:  # PyTorch has the last axis behind the first
        at = 0 if at == 0 else 1 if at == rank - 1 else at + 1
    return {"dim": f"{at - rank} or {at}"}


# --- of kinds ----------------------------------------------------------------------------------------------------


def of_norm(native: Any) -> dict[str, Setting]:
    """Of a norm over images or features."""
    found: dict[str, Setting] = {"eps": native.epsilon}
    momentum = getattr(native, "momentum", None)  # of the old statistics, where PyTorch's is of the new
    if momentum is not None:
        found["momentum"] = round(1 - momentum, 12)
    return found


def of_conv(native: Any) -> dict[str, Setting]:
    """Of a convolution."""
    sizes = (native.kernel_size, native.strides, getattr(native, "pad", native.padding), native.dilation_rate)
    return convolution(*sizes, native.groups) | of_dense(native)


def of_conv_transpose(native: Any) -> dict[str, Setting]:
    """Of a transposed convolution."""
    kept = getattr(native, "kept", native.output_padding or 0)
    sizes = (native.kernel_size, native.strides, getattr(native, "pad", native.padding), native.dilation_rate)
    return transposed_convolution(*sizes, 1, kept) | of_dense(native)


def of_depthwise(native: Any) -> dict[str, Setting]:
    """Of a depthwise convolution."""
    channels = native.kernel.shape[-2] if native.built else 1
    sizes = (native.kernel_size, native.strides, getattr(native, "pad", native.padding), native.dilation_rate)
    return convolution(*sizes, channels) | of_dense(native)


def of_separable(native: Any) -> dict[str, Setting]:
    """Of a separable convolution, whose activation is behind the second one."""
    channels = native.depthwise_kernel.shape[-2] if native.built else 1
    sizes = (native.kernel_size, native.strides, getattr(native, "pad", native.padding), native.dilation_rate)
    flat = convolution((1,) * native.rank, 1, 0) | of_dense(native)
    return {
        **{f"depthwise.{name}": one for name, one in convolution(*sizes, channels).items()},
        **{f"pointwise.{name}": one for name, one in flat.items()},
    }


def of_pool(native: Any) -> dict[str, Setting]:
    """Of a pool."""
    return pooling(native.pool_size, native.strides, getattr(native, "pad", native.padding))


def of_zero_pad(native: Any) -> dict[str, Setting]:
    """Of a padding; PyTorch begins with the last axis."""
    pairs = native.padding if isinstance(native.padding[0], (tuple, list)) else [native.padding]
    return {"padding": [int(one) for pair in reversed(pairs) for one in pair]}


def of_upsampling(native: Any) -> dict[str, Setting]:
    """Of a layer that repeats or interpolates."""
    sizes = native.size if isinstance(native.size, (tuple, list)) else [native.size]
    factor: Setting = float(sizes[0]) if len(set(sizes)) == 1 else str(tuple(map(float, sizes)))
    return {"size": "none", "scale_factor": factor, "mode": getattr(native, "interpolation", "nearest")}


def of_relu(native: Any) -> dict[str, Setting]:
    """Of a ReLU with a limit, a slope or a threshold."""
    highest = "none" if native.max_value is None else float(native.max_value)
    return {
        "max_value": highest,
        "negative_slope": float(native.negative_slope),
        "threshold": float(native.threshold),
    }


def of_activation(native: Any) -> dict[str, Setting]:
    """Of a function as a layer, whose slope and form the layer of its own tells."""
    name = called(native.activation)
    known: dict[str, dict[str, Setting]] = {
        "gelu": {"approximate": "none"},
        "leaky_relu": {"negative_slope": 0.2},
        "elu": {"alpha": 1.0},
        "celu": {"alpha": 1.0},
        "hard_shrink": {"lambd": 0.5},
        "soft_shrink": {"lambd": 0.5},
    }
    return of_dim(native) if name in ("softmax", "log_softmax") else known.get(name, {})


def of_attention(native: Any) -> dict[str, Setting]:
    """Of an attention."""
    found: dict[str, Setting] = {
        "num_heads": native.num_heads,
        "batch_first": bool(getattr(native, "batch_first", True)),
    }
    axes = native._attention_axes
    if axes is not None and tuple(axes if isinstance(axes, (tuple, list)) else (axes,)) != (1,):
        found["attention_axes"] = axes_of(axes)
    window = getattr(native, "_sliding_window", None)
    return found | ({} if window is None else {"sliding_window": str(window)})


def of_sequence(native: Any) -> dict[str, Setting]:
    """How a recurrent layer goes through a sequence, and what of it comes out."""
    layer = native.stack[0] if hasattr(native, "stack") else native
    both = isinstance(layer, keras.layers.Bidirectional)
    found: dict[str, Setting] = {"merge": str(layer.merge_mode)} if both else {"reverse": bool(layer.go_backwards)}
    found["batch_first"] = bool(getattr(native, "batch_first", True))
    if layer is native:
        found |= {name: bool(getattr(native, name)) for name in ("return_sequences", "return_state")}
    found |= {"stateful": True} if layer.stateful else {}
    # a layer of two directions needs the zeros itself, and always has them
    return found | ({"zero_output_for_mask": True} if not both and layer.zero_output_for_mask else {})


# --- of what has no row ------------------------------------------------------------------------------------------


def said(native: Any) -> dict[str, Any] | None:
    """What a layer that is in no row says of itself, in its configuration."""
    if not isinstance(native, keras.layers.Layer) or isinstance(native, (keras.Model, keras.layers.InputLayer)):
        return None
    try:
        config: Mapping[str, Any] = native.get_config()
    except Exception:  # a layer of somebody's own that cannot be made again
        config = {}
    kept = {name: one for name, one in config.items() if name not in _IGNORED and not name.endswith(_ENDS)}
    return kept | of_dtype(native)
