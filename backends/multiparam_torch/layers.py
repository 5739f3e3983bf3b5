"""The layer table of PyTorch: its names and layouts are the canonical ones, so the rows tell kinds and builders."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from multiparam.adapter import KINDS, LayerTable, Row


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
    rows = {kind: Row(kind, getattr(nn, kind)) for kind in KINDS if hasattr(nn, kind)}
    for kind in (
        "Linear",
        "Embedding",
        "LayerNorm",
        "ReLU",
        "GELU",
        "Tanh",
        "Sigmoid",
        "Softmax",
        "Dropout",
        "Identity",
    ):
        rows[kind] = Row(kind, getattr(nn, kind), builds={kind: getattr(nn, kind)})
    rows["Sequential"] = Row("Sequential", nn.Sequential, builds={"Sequential": _sequential})
    rows["Flatten"] = Row("Flatten", nn.Flatten, builds={"Flatten": nn.Flatten})
    rows["Lambda"] = Row("Lambda", Lambda, builds={"Lambda": Lambda})
    rows["LazyLinear"] = Row("Linear", nn.LazyLinear, lazy=_lazy_linear, builds={"LazyLinear": nn.LazyLinear})
    return LayerTable(rows.values())


def _sequential(children: Mapping[str, nn.Module], named: bool) -> nn.Sequential:
    net = nn.Sequential()
    for name, child in children.items():
        net.add_module(name, child)
    return net


def _lazy_linear(native: nn.LazyLinear) -> dict[str, tuple[int | None, ...]]:
    roles: dict[str, tuple[int | None, ...]] = {"weight": (native.out_features, None)}
    return roles | ({"bias": (native.out_features,)} if native.bias is not None else {})
