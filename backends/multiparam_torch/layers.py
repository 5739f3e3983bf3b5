"""The layer table of PyTorch: its names and layouts are the canonical ones, so the rows tell kinds and builders."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from torch import nn

from multiparam.adapter import KINDS, ArgumentError, LayerTable, Row

from .settings import of_convolution, of_norm, of_transposed, settings


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
    for kind in native:
        if "Norm" in kind:
            rows[kind] = replace(rows[kind], settings=of_norm)
    for kind, found in settings():
        if kind in rows:  # a later release's
            rows[kind] = replace(rows[kind], settings=found)
    for rank in (1, 2, 3):  # one of zeros is called so
        kind = f"ConstantPad{rank}d"
        rows[kind] = replace(rows[kind], kind=lambda native, rank=rank: _constant_pad(native, rank))
    rows["Sequential"] = Row("Sequential", nn.Sequential, builds={"Sequential": _sequential})
    for layer in (Lambda, Reshape, SeparableConv1d, SeparableConv2d):
        rows[layer.__name__] = Row(layer.__name__, layer, builds={layer.__name__: layer})
    rows["Reshape"] = replace(rows["Reshape"], settings=lambda native: {"shape": str(tuple(native.shape))})
    for name, layer in vars(nn).items():
        made = getattr(layer, "cls_to_become", None)
        if name.startswith("Lazy") and made is not None:
            told = of_norm if "Norm" in name else of_transposed if "Transpose" in name else of_convolution
            lazy = _lazy_norm if "Norm" in name else _lazy_conv
            rows[name] = Row(made.__name__, layer, settings=told, lazy=lazy)
    rows["SyncBatchNorm"] = Row("BatchNorm", nn.SyncBatchNorm, settings=of_norm)
    rows["LazyLinear"] = Row("Linear", nn.LazyLinear, lazy=_lazy_linear, builds={"LazyLinear": nn.LazyLinear})
    return LayerTable(rows.values())


def _constant_pad(native: Any, rank: int) -> str:
    return f"{'ConstantPad' if native.value else 'ZeroPad'}{rank}d"


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
