"""The layer table of PyTorch: its names and layouts are the canonical ones, so the rows tell kinds and builders."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from multiparam.adapter import KINDS, ArgumentError, LayerTable, Row, Setting


class Lambda(nn.Module):
    """A function as a layer, which PyTorch has none for."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Any) -> Any:
        """The function's value."""
        return self.function(x)


def table() -> LayerTable:
    """The rows."""
    native = {kind: getattr(nn, kind) for kind in KINDS if hasattr(nn, kind)}
    rows = {kind: Row(kind, layer, builds={kind: layer}) for kind, layer in native.items()}
    for kind in KINDS:
        if "Norm" in kind and hasattr(nn, kind):
            rows[kind] = replace(rows[kind], settings=_norm)
    rows["GELU"] = replace(rows["GELU"], settings=lambda native: {"approximate": native.approximate})
    rows["LeakyReLU"] = replace(rows["LeakyReLU"], settings=lambda native: {"negative_slope": native.negative_slope})
    rows["Sequential"] = Row("Sequential", nn.Sequential, builds={"Sequential": _sequential})
    rows["Lambda"] = Row("Lambda", Lambda, builds={"Lambda": Lambda})
    for name, layer in vars(nn).items():
        made = getattr(layer, "cls_to_become", None)
        if name.startswith("Lazy") and made is not None:
            settings = _norm if "Norm" in name else None
            lazy = _lazy_norm if "Norm" in name else _lazy_conv
            rows[name] = Row(made.__name__, layer, settings=settings, lazy=lazy)
    rows["SyncBatchNorm"] = Row("BatchNorm", nn.SyncBatchNorm, settings=_norm)
    rows["LazyLinear"] = Row("Linear", nn.LazyLinear, lazy=_lazy_linear, builds={"LazyLinear": nn.LazyLinear})
    return LayerTable(rows.values())


def _norm(native: Any) -> dict[str, Setting]:
    dtype = torch.get_default_dtype() if native.weight is None else native.weight.dtype
    eps = torch.finfo(dtype).eps if native.eps is None else native.eps  # None is RMSNorm's default
    momentum = getattr(native, "momentum", None)
    return {"eps": eps} | ({"momentum": momentum} if momentum is not None else {})


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
