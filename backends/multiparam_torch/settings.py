"""What decides the function of PyTorch's layers beside their weights; its names and conventions are canonical."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import nn

from multiparam.adapter import Setting, convolution, pooling, transposed_convolution

Settings = Callable[[Any], dict[str, Setting]]

PADS = ("ConstantPad", "ReflectionPad", "ReplicationPad", "CircularPad", "ZeroPad")


def settings() -> Iterator[tuple[str, Settings]]:
    """For each kind what its layers are set to."""
    for rank in (1, 2, 3):
        yield f"Conv{rank}d", of_convolution
        yield f"ConvTranspose{rank}d", of_transposed
        yield f"MaxPool{rank}d", _pool
        yield f"AvgPool{rank}d", _pool
        yield f"AdaptiveAvgPool{rank}d", _adaptive
        yield f"AdaptiveMaxPool{rank}d", _adaptive
        yield from ((f"{name}{rank}d", _pad) for name in PADS)
    for name, arguments in _ARGUMENTS.items():
        yield name, _of(*arguments)
    yield "Embedding", _embedding
    yield "Softmax", _dim
    yield "LogSoftmax", _dim
    yield "Softmin", _dim
    yield "GLU", _dim
    yield "Upsample", _upsample
    yield "MultiheadAttention", _attention
    for cell in ("", "Cell"):
        yield f"RNN{cell}", lambda native: {"nonlinearity": native.nonlinearity} | _way(native)
        for name in ("LSTM", "GRU"):
            yield (
                f"{name}{cell}",
                lambda native: {"activation": "tanh", "recurrent_activation": "sigmoid"} | _way(native),
            )


# what is compared as it is
_ARGUMENTS: Mapping[str, Sequence[str]] = {
    "GELU": ("approximate",),
    "LeakyReLU": ("negative_slope",),
    "RReLU": ("lower", "upper"),
    "ELU": ("alpha",),
    "CELU": ("alpha",),
    "Softplus": ("beta", "threshold"),
    "Hardtanh": ("min_val", "max_val"),
    "Hardshrink": ("lambd",),
    "Softshrink": ("lambd",),
    "Threshold": ("threshold", "value"),
    "Flatten": ("start_dim", "end_dim"),
    "PixelShuffle": ("upscale_factor",),
    "PixelUnshuffle": ("downscale_factor",),
    "ChannelShuffle": ("groups",),
    "LocalResponseNorm": ("size", "alpha", "beta", "k"),
    "Unflatten": ("dim", "unflattened_size"),
}


def _of(*names: str) -> Settings:
    return lambda native: {name: _plain(getattr(native, name)) for name in names}


def _plain(value: Any) -> Setting:
    """A number as it is, those of several axes as a list."""
    if isinstance(value, (tuple, list)):
        return [int(one) for one in value] if all(isinstance(one, int) for one in value) else str(tuple(value))
    return "none" if value is None else value


def _dim(native: Any) -> dict[str, Setting]:
    return {"dim": "implicit" if native.dim is None else int(native.dim)}


def _embedding(native: Any) -> dict[str, Setting]:
    if native.max_norm is None:
        return {}
    return {"max_norm": float(native.max_norm), "norm_type": float(native.norm_type)}


def _upsample(native: Any) -> dict[str, Setting]:
    found = {name: _one(getattr(native, name)) for name in ("size", "scale_factor")} | {"mode": native.mode}
    if native.align_corners:
        found["align_corners"] = True
    if native.recompute_scale_factor:
        found["recompute_scale_factor"] = True
    return found


def _one(sizes: Any) -> Setting:
    """One number where all axes have the same."""
    each = set(sizes) if isinstance(sizes, (tuple, list)) else {sizes}
    return _plain(each.pop() if len(each) == 1 else tuple(sizes))


def _pad(native: Any) -> dict[str, Setting]:
    value = getattr(native, "value", 0)
    return {"padding": [int(one) for one in native.padding]} | ({"value": float(value)} if value else {})


def _way(native: Any) -> dict[str, Setting]:
    if not isinstance(native, nn.RNNBase):
        return {}
    way: dict[str, Setting] = {"merge": "concat"} if native.bidirectional else {"reverse": False}
    return way | {"batch_first": bool(native.batch_first)}


def of_convolution(native: Any) -> dict[str, Setting]:
    """Of a convolution."""
    mode: dict[str, Setting] = {"padding_mode": native.padding_mode} if native.padding_mode != "zeros" else {}
    sizes = (native.kernel_size, native.stride, native.padding, native.dilation)
    return convolution(*sizes, native.groups) | mode


def of_transposed(native: Any) -> dict[str, Setting]:
    """Of a transposed convolution."""
    sizes = (native.kernel_size, native.stride, native.padding, native.dilation)
    return transposed_convolution(*sizes, native.groups, native.output_padding)


def _pool(native: Any) -> dict[str, Setting]:
    rank = next(int(base.__name__[-2]) for base in type(native).__mro__ if base.__module__ == nn.MaxPool1d.__module__)
    window = native.kernel_size if isinstance(native.kernel_size, tuple) else (native.kernel_size,) * rank
    found = pooling(window, native.stride, native.padding)
    for name, default in (("ceil_mode", False), ("count_include_pad", True), ("return_indices", False)):
        if getattr(native, name, default) != default:
            found[name] = not default
    spread = getattr(native, "dilation", 1)
    if set(spread if isinstance(spread, tuple) else (spread,)) != {1}:
        found["pool_dilation"] = str(spread)
    divisor = getattr(native, "divisor_override", None)
    return found | ({} if divisor is None else {"divisor_override": int(divisor)})


def _adaptive(native: Any) -> dict[str, Setting]:
    size = native.output_size if isinstance(native.output_size, tuple) else (native.output_size,)
    found: dict[str, Setting] = {
        "output_size": size[0] if len(set(size)) == 1 and size[0] is not None else str(size),
    }
    return found | ({"return_indices": True} if getattr(native, "return_indices", False) else {})


def _attention(native: Any) -> dict[str, Setting]:
    found: dict[str, Setting] = {"num_heads": native.num_heads, "batch_first": bool(native.batch_first)}
    return found | ({"add_zero_attn": True} if native.add_zero_attn else {})


def of_norm(native: Any) -> dict[str, Setting]:
    """Of a norm; one without weights has no shapes that would tell what it works on."""
    dtype = torch.get_default_dtype() if native.weight is None else native.weight.dtype
    eps = torch.finfo(dtype).eps if native.eps is None else native.eps  # None is RMSNorm's default
    found: dict[str, Setting] = {"eps": eps}
    momentum = getattr(native, "momentum", None)
    if momentum is not None:
        found["momentum"] = momentum
    if isinstance(native, nn.GroupNorm):
        found["num_groups"] = native.num_groups
    shape = getattr(native, "normalized_shape", ())
    if len(shape) > 1:
        found["axes"] = ", ".join(map(str, range(-len(shape), 0)))
    if shape and native.weight is None:
        found["normalized_shape"] = [int(one) for one in shape]
    # where there are no running statistics, those of the batch are taken in eval mode too
    if isinstance(native, nn.modules.batchnorm._BatchNorm) and native.running_mean is None:
        found["statistics"] = "batch"
    return found


# --- of what has no row ------------------------------------------------------------------------------------------

# arguments that an output in eval mode does not depend on, or that the weights tell
_IGNORED = frozenset(("device", "dtype", "inplace", "dropout", "p", "bias", "device_ids", "output_device", "sparse"))


def said(native: nn.Module) -> dict[str, Any]:
    """What a layer that is in no row says of itself: one of PyTorch's own its arguments, any other its `extra_repr`."""
    own = next((base for base in type(native).__mro__ if base.__module__.startswith("torch.")), nn.Module)
    found = {name: _named(getattr(native, name)) for name in _constructed(own) if hasattr(native, name)}
    if type(native).extra_repr is not own.extra_repr:
        try:
            text = native.extra_repr()
        except Exception:  # it is somebody's own, and nothing depends on it
            text = ""
        found |= {"extra_repr": text} if text else {}
    return found


def _named(value: Any) -> Any:
    """The value; a function or a layer in its place by its name, which are one and the same to a layer."""
    if isinstance(value, nn.Module):
        return type(value).__name__.lower()
    return value.__name__ if callable(value) and hasattr(value, "__name__") else value


@lru_cache(maxsize=256)
def _constructed(cls: type) -> tuple[str, ...]:
    if cls is nn.Module or "Dropout" in cls.__name__:
        return () if cls is nn.Module else ("dim",)
    return tuple(name for name in inspect.signature(cls.__init__).parameters if name not in {*_IGNORED, "self"})
