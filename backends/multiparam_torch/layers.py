"""The layer table of PyTorch: its names and layouts are the canonical ones, so the rows tell kinds and builders."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from multiparam.adapter import (
    KINDS,
    ArgumentError,
    LayerTable,
    Row,
    Setting,
    convolution,
    pooling,
    transposed_convolution,
)


class Lambda(nn.Module):
    """A function as a layer, which PyTorch has none for."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Any) -> Any:
        """The function's value."""
        return self.function(x)


class Reshape(nn.Module):
    """Each sample in another shape, from any shape; `nn.Unflatten` splits one axis only."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.shape = shape

    def forward(self, x: Any) -> Any:
        """The batch in its new shape."""
        return x.reshape(x.shape[0], *self.shape)


class _Separable(nn.Sequential):
    """A depthwise convolution without a bias, then one across the channels."""

    _conv: type[nn.Module]

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        depth_multiplier: int,
        bias: bool,
        **options: Any,
    ) -> None:
        super().__init__()
        wide = in_channels * depth_multiplier
        self.depthwise = self._conv(in_channels, wide, groups=in_channels, bias=False, **options)
        self.pointwise = self._conv(wide, out_channels, kernel_size=1, bias=bias)


class SeparableConv1d(_Separable):
    """A separable convolution over one axis."""

    _conv = nn.Conv1d


class SeparableConv2d(_Separable):
    """A separable convolution over two axes."""

    _conv = nn.Conv2d


def table() -> LayerTable:
    """The rows."""
    native = {kind: getattr(nn, kind) for kind in KINDS if hasattr(nn, kind)}
    rows = {kind: Row(kind, layer, builds={kind: layer}) for kind, layer in native.items()}
    for kind, settings in _settings():
        rows[kind] = replace(rows[kind], settings=settings)
    rows["Sequential"] = Row("Sequential", nn.Sequential, builds={"Sequential": _sequential})
    for layer in (Lambda, Reshape, SeparableConv1d, SeparableConv2d):
        rows[layer.__name__] = Row(layer.__name__, layer, builds={layer.__name__: layer})
    for name, layer in vars(nn).items():
        made = getattr(layer, "cls_to_become", None)
        if name.startswith("Lazy") and made is not None:
            settings = _norm if "Norm" in name else _transposed if "Transpose" in name else _convolution
            lazy = _lazy_norm if "Norm" in name else _lazy_conv
            rows[name] = Row(made.__name__, layer, settings=settings, lazy=lazy)
    rows["SyncBatchNorm"] = Row("BatchNorm", nn.SyncBatchNorm, settings=_norm)
    rows["LazyLinear"] = Row("Linear", nn.LazyLinear, lazy=_lazy_linear, builds={"LazyLinear": nn.LazyLinear})
    return LayerTable(rows.values())


def _settings() -> Iterator[tuple[str, Callable[[Any], dict[str, Setting]]]]:
    """What decides the function of a kind's layers beside their weights."""
    yield from ((kind, _norm) for kind in KINDS if "Norm" in kind and hasattr(nn, kind))
    for rank in (1, 2, 3):
        yield f"Conv{rank}d", _convolution
        yield f"ConvTranspose{rank}d", _transposed
        yield f"MaxPool{rank}d", _pool
        yield f"AvgPool{rank}d", _pool
    yield "GELU", lambda native: {"approximate": native.approximate}
    yield "LeakyReLU", lambda native: {"negative_slope": native.negative_slope}
    yield "ELU", lambda native: {"alpha": native.alpha}
    yield "MultiheadAttention", _attention
    yield "Softplus", lambda native: {"beta": native.beta}
    yield "CELU", lambda native: {"alpha": native.alpha}
    for rank in (1, 2, 3):
        yield f"AdaptiveAvgPool{rank}d", _adaptive
    for cell in ("", "Cell"):
        yield f"RNN{cell}", lambda native: {"nonlinearity": native.nonlinearity} | _forwards(native)
        for name in ("LSTM", "GRU"):
            yield (
                f"{name}{cell}",
                lambda native: {"activation": "tanh", "recurrent_activation": "sigmoid"} | _forwards(native),
            )


def _forwards(native: Any) -> dict[str, Setting]:
    if not isinstance(native, nn.RNNBase):
        return {}
    return {"merge": "concat"} if native.bidirectional else {"reverse": False}


def _convolution(native: Any) -> dict[str, Setting]:
    mode: dict[str, Setting] = {"padding_mode": native.padding_mode} if native.padding_mode != "zeros" else {}
    sizes = (native.kernel_size, native.stride, native.padding, native.dilation)
    return convolution(*sizes, native.groups) | mode


def _transposed(native: Any) -> dict[str, Setting]:
    sizes = (native.kernel_size, native.stride, native.padding, native.dilation)
    return transposed_convolution(*sizes, native.groups, native.output_padding)


def _pool(native: Any) -> dict[str, Setting]:
    rank = int(type(native).__name__[-2])
    window = native.kernel_size if isinstance(native.kernel_size, tuple) else (native.kernel_size,) * rank
    found = pooling(window, native.stride, native.padding)
    for name, default in (("ceil_mode", False), ("count_include_pad", True)):
        if getattr(native, name, default) != default:
            found[name] = not default
    return found


def _adaptive(native: Any) -> dict[str, Setting]:
    size = native.output_size if isinstance(native.output_size, tuple) else (native.output_size,)
    return {"output_size": size[0] if len(set(size)) == 1 and size[0] is not None else str(size)}


def _attention(native: Any) -> dict[str, Setting]:
    return {"num_heads": native.num_heads} | ({"add_zero_attn": True} if native.add_zero_attn else {})


def _norm(native: Any) -> dict[str, Setting]:
    dtype = torch.get_default_dtype() if native.weight is None else native.weight.dtype
    eps = torch.finfo(dtype).eps if native.eps is None else native.eps  # None is RMSNorm's default
    momentum = getattr(native, "momentum", None)
    groups: dict[str, Setting] = {"num_groups": native.num_groups} if isinstance(native, nn.GroupNorm) else {}
    return {"eps": eps} | ({"momentum": momentum} if momentum is not None else {}) | groups


def _sequential(children: Mapping[str, nn.Module], named: bool) -> nn.Sequential:
    net = nn.Sequential()
    for name, child in children.items():
        try:
            net.add_module(name, child)
        except KeyError as error:
            raise ArgumentError(f"a torch.nn.Sequential cannot have a child called {name!r}: {error.args[0]}") from None
    return net


def _lazy_conv(native: Any) -> dict[str, tuple[int | None, ...]]:
    between = (None, native.out_channels // native.groups) if native.transposed else (native.out_channels, None)
    roles: dict[str, tuple[int | None, ...]] = {"weight": (*between, *native.kernel_size)}
    return roles | ({"bias": (native.out_channels,)} if native.bias is not None else {})


def _lazy_norm(native: Any) -> dict[str, tuple[int | None, ...]]:
    return {"weight": (None,), "bias": (None,)} if native.affine else {}


def _lazy_linear(native: nn.LazyLinear) -> dict[str, tuple[int | None, ...]]:
    roles: dict[str, tuple[int | None, ...]] = {"weight": (native.out_features, None)}
    return roles | ({"bias": (native.out_features,)} if native.bias is not None else {})
