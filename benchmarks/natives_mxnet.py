"""MXNet's own calls."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mxnet as mx
from mxnet.gluon import nn

from .natives import Action, Natives, Tool


class MXNet(Natives):
    """`mxnet.gluon`."""

    distributions = ("mxnet", "safetensors")

    def linears(self, count: int, width: int) -> Any:
        return _made([nn.Dense(width, in_units=width) for _ in range(count)])

    def norms(self, count: int, width: int) -> Any:
        return _made([nn.LayerNorm(in_channels=width) for _ in range(count)])

    def enumerations(self, model: Any) -> Mapping[str, Action]:
        return {"collect_params": model.collect_params, "_collect_..._prefix": model._collect_params_with_prefix}

    def fills(self, model: Any, kind: str) -> Mapping[str, Action]:
        draw = getattr(mx.nd.random, kind)

        def fill() -> None:
            for one in model.collect_params().values():
                array = one.data()
                if array.ndim > 1:
                    draw(shape=array.shape, out=array)
                else:
                    array[:] = 0

        return {f"nd.random.{kind}": fill}

    def tools(self, model: Any, folder: Path) -> list[Tool]:
        own, arrays = str(folder / "mxnet.params"), str(folder / "mxnet.nd")

        def named() -> dict[str, Any]:
            return {name: one.data() for name, one in model._collect_params_with_prefix().items()}

        return [
            Tool(
                "save/load_parameters",
                Path(own),
                save=lambda: model.save_parameters(own),
                live=lambda: model.load_parameters(own),
            ),
            Tool(
                "mx.nd.save/load", Path(arrays), save=lambda: mx.nd.save(arrays, named()), fresh=lambda: _loaded(arrays)
            ),
        ]

    def wait(self, model: Any) -> None:
        mx.nd.waitall()


def _made(layers: list[Any]) -> Any:
    model = nn.HybridSequential()
    model.add(*layers)
    model.initialize()
    return model


def _loaded(path: str) -> Any:
    tensors = mx.nd.load(path)
    mx.nd.waitall()
    return tensors


OWN = MXNet()
