"""The numpy backend's adapter."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from multiparam.adapter import (
    At,
    Freezes,
    Handle,
    LayerTable,
    Lazy,
    Members,
    Row,
    Runs,
    Ties,
    TieSide,
    collect,
    entries,
    escape,
    fresh,
    is_container,
    replace,
    resolve,
)

from . import layers, plugin
from .layers import Buffer, Module, TransposedVariable, Variable

_AFFINE = {"weight": At("weight"), "bias": At("bias")}


def _lazy(native: layers.LazyLinear) -> dict[str, tuple[int | None, ...]]:
    if native.weight is not None:
        return {}
    roles: dict[str, tuple[int | None, ...]] = {"weight": (native.out_features, None)}
    return roles | ({"bias": (native.out_features,)} if native.has_bias else {})


def _rows() -> list[Row]:
    plain = (
        *("Lambda", "ReLU", "ReLU6", "SELU", "SiLU", "Mish", "Softplus", "Tanh", "Sigmoid"),
        *("Flatten", "Dropout", "Identity"),
    )
    return [
        Row("Sequential", layers.Sequential, builds={"Sequential": _sequential}),
        Row("Linear", layers.Linear, _AFFINE, builds={"Linear": layers.Linear}),
        Row("Linear", layers.LazyLinear, _AFFINE, lazy=_lazy, builds={"LazyLinear": layers.LazyLinear}),
        Row("Embedding", layers.Embedding, {"weight": At("weight")}, builds={"Embedding": layers.Embedding}),
        Row(
            "LayerNorm",
            layers.LayerNorm,
            _AFFINE,
            settings=lambda native: {"eps": native.eps},
            builds={"LayerNorm": layers.LayerNorm},
        ),
        Row(
            "GELU",
            layers.GELU,
            settings=lambda native: {"approximate": native.approximate},
            builds={"GELU": layers.GELU},
        ),
        Row(
            "LeakyReLU",
            layers.LeakyReLU,
            settings=lambda native: {"negative_slope": native.negative_slope},
            builds={"LeakyReLU": layers.LeakyReLU},
        ),
        Row("ELU", layers.ELU, settings=lambda native: {"alpha": native.alpha}, builds={"ELU": layers.ELU}),
        *(
            Row(kind, layer, settings=lambda native: {"dim": native.dim}, builds={kind: layer})
            for kind, layer in {"Softmax": layers.Softmax, "LogSoftmax": layers.LogSoftmax}.items()
        ),
        Row(
            "Reshape",
            layers.Reshape,
            settings=lambda native: {"shape": str(tuple(native.shape))},
            builds={"Reshape": layers.Reshape},
        ),
        *(Row(kind, getattr(layers, kind), builds={kind: getattr(layers, kind)}) for kind in plain),
    ]


def _sequential(children: Mapping[str, Module], named: bool) -> layers.Sequential:
    return layers.Sequential.of(children)


class NumpyAdapter(Runs, Freezes, Lazy, Ties):
    """Modules of `multiparam_numpy`, whose layouts are the canonical ones."""

    plugin = plugin
    table = LayerTable(_rows())

    def is_model(self, native: Any) -> bool:
        return isinstance(native, Module)

    def is_tensor(self, native: Any) -> bool:
        return isinstance(native, (np.ndarray, np.generic, Variable))

    def settings(self, native: Any) -> dict[str, Any] | None:
        plain = (bool, int, float, str, tuple)
        if not isinstance(native, Module):
            return None
        return {name: one for name, one in vars(native).items() if isinstance(one, plain) and not name.startswith("_")}

    def members(self, native: Any) -> Members:
        if not isinstance(native, Module):
            return Members(children=collect(entries(native), _is_layer, _is_variable)[1])
        attributes, listed = vars(native).items(), []
        if isinstance(native, layers.Sequential):
            attributes, listed = [(key, one) for key, one in attributes if key != "layers"], list(native.layers.items())
        variables, children = collect(attributes, _is_layer, _is_variable)
        return Members(
            parameters={key: _handle(one) for key, one in variables.items() if not isinstance(one, Buffer)},
            buffers={key: one for key, one in variables.items() if isinstance(one, Buffer)},
            children=[*listed, *children],
        )

    def lookup(self, native: Any, name: str) -> Any:
        if isinstance(native, layers.Sequential) and name in native.layers:
            return native.layers[name]
        found = resolve(native, name)
        if _is_variable(found):
            return _handle(found)
        below = resolve(native, escape(name))
        return below if _is_layer(below) or is_container(below) else None

    def read(self, variable: Variable) -> Any:
        return variable.value

    def memory(self, variable: Variable) -> Any:
        return variable.value

    def shape(self, variable: Variable) -> tuple[int, ...]:
        return tuple(variable.value.shape)

    def dtype(self, variable: Variable) -> np.dtype[Any]:
        return variable.value.dtype

    def tensor(self, value: Any) -> Any:
        return fresh(value)

    def array(self, tensor: Any) -> Any:
        return tensor.value if isinstance(tensor, Variable) else np.asarray(tensor)

    def trainable(self, variable: Variable) -> bool:
        return variable.trainable

    def set_trainable(self, model: Any, layers: Sequence[Any], variable: Variable, value: bool) -> None:
        variable.trainable = value

    def run(self, model: Module, inputs: Sequence[Any]) -> Any:
        return model(*inputs)

    @contextmanager
    def watch(self, layers: Sequence[Any], seen: Callable[..., None]) -> Iterator[None]:
        watched = {id(layer) for layer in layers}
        original = Module.__call__

        def call(layer: Module, *inputs: Any) -> Any:
            output = original(layer, *inputs)
            if id(layer) in watched:
                seen(layer, output, inputs)
            return output

        Module.__call__ = call
        try:
            yield
        finally:
            Module.__call__ = original

    def when_ready(self, layer: layers.LazyLinear, call: Callable[[Any], None]) -> None:
        layer.when_ready.append(call)

    def tie(self, model: Any, side: TieSide, handle: Handle) -> None:
        variable = handle.variable if handle.axes is None else TransposedVariable(handle.variable, handle.axes)
        replace(side.layer, side.part, variable)

    def untie(self, model: Any, side: TieSide, value: Any) -> None:
        replace(side.layer, side.part, Variable(value, side.handle.variable.trainable))


def _handle(found: Any) -> Any:
    return Handle(found.variable, found.axes) if isinstance(found, TransposedVariable) else found


def _is_layer(native: Any) -> bool:
    return isinstance(native, Module)


def _is_variable(native: Any) -> bool:
    return isinstance(native, (Variable, TransposedVariable))
