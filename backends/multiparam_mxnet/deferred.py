"""Parameters whose shapes, or numbers, come with the first batch."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

from mxnet import context, initializer

from multiparam.adapter import LazyShape, Source

__all__ = ["begin", "known", "lazy_shapes", "when_ready"]

_WAITING = "_multiparam_waiting"


def known(parameter: Any) -> LazyShape:
    """What is known of a parameter's shape; Gluon has 0, or -1 under `npx.set_np()`, where it is not."""
    shape = parameter._shape
    return None if shape is None else tuple(extent if extent > 0 else None for extent in shape)


def lazy_shapes(native: Any, sources: Mapping[str, Source]) -> dict[str, LazyShape]:
    """The shapes of a layer's tensors that have no numbers yet, by role."""
    found: dict[str, LazyShape] = {}
    for role, source in sources.items():
        parameter = native._reg_params.get(source.parts[0])
        if parameter is not None and parameter._data is None:
            shape, axes = known(parameter), getattr(source, "axes", None)
            found[role] = shape if shape is None or axes is None else tuple(shape[axis] for axis in axes)
    return found


def begin(model: Any) -> None:
    """Does for parameters that nobody initialized what `model.initialize()` does, where the others are."""
    parameters = list(model.collect_params().values())
    placed = next((one.list_ctx() for one in parameters if one._data is not None or one._deferred_init), None)
    for parameter in parameters:
        if parameter._data is None and not parameter._deferred_init:
            parameter.initialize(ctx=placed)


def when_ready(layer: Any, call: Callable[[Any], None]) -> None:
    """Calls `call(layer)` once Gluon has given numbers to all of the layer's parameters that have none.

    It hears of that as their initializer, so that whatever natively takes its place, a file say, or an initialization
    that is forced, has the last word. Hooks of layers would not do: a batch runs through a hybridized model as symbols.
    """
    waiting = layer.__dict__.get(_WAITING)
    if waiting is None or not waiting.is_heard():
        waiting = layer.__dict__[_WAITING] = _Waiting(layer)
    waiting.calls.append(call)
    for parameter in waiting.parameters:
        if parameter._data is None:
            _remembered(parameter).waiting.append(waiting)


class _Waiting:
    """A layer that waits for its parameters, and what is to be done then.

    Args:
        layer: the layer; where it has no parameters of its own that wait, those of its sublayers count.
    """

    def __init__(self, layer: Any) -> None:
        self.layer = layer
        own = [one for one in layer._reg_params.values() if one._data is None]
        self.parameters = own or [one for one in layer.collect_params().values() if one._data is None]
        self.calls: list[Callable[[Any], None]] = []

    def is_heard(self) -> bool:
        """Whether some parameter will still tell."""
        requests = [one._deferred_init[0] for one in self.parameters if one._deferred_init]
        return any(self in request.waiting for request in requests if isinstance(request, _Remembered))

    def arrived(self) -> None:
        """Does what is to be done if this parameter was the last."""
        if self.layer.__dict__.get(_WAITING) is self and all(one._data is not None for one in self.parameters):
            del self.layer.__dict__[_WAITING]
            for call in self.calls:
                call(self.layer)


class _Remembered(initializer.Initializer):
    """A parameter's initializer, which also tells the layers that wait for it.

    Args:
        parameter: the parameter.
        original: the initializer that it has otherwise, or its name.
    """

    def __init__(self, parameter: Any, original: Any) -> None:
        super().__init__()
        self.parameter, self.original = parameter, original
        self.waiting: list[_Waiting] = []

    def _init_weight(self, desc: Any, array: Any) -> None:
        initializer.create(self.original)._init_weight(desc, array)
        self.parameter._init_impl = functools.partial(_made, self.parameter, self.waiting)


def _remembered(parameter: Any) -> _Remembered:
    request, *rest = parameter._deferred_init
    if not isinstance(request, _Remembered):
        request = _Remembered(parameter, request)
        parameter._deferred_init = (request, *rest)
        parameter.initialize = functools.partial(_initialize, parameter)
    return request


def _initialize(
    parameter: Any, init: Any = None, ctx: Any = None, default_init: Any = None, force_reinit: bool = False
) -> None:
    """`Parameter.initialize` while numbers are remembered: it says where to, and does not forget them unless forced."""
    default = default_init or initializer.Uniform()
    request = parameter._deferred_init[0] if parameter._deferred_init else None
    if force_reinit or not isinstance(request, _Remembered):
        parameter.__dict__.pop("initialize", None)
        parameter.initialize(init, ctx, default, force_reinit)
        return
    _, devices, _, data = parameter._deferred_init
    devices = devices if ctx is None else [ctx] if isinstance(ctx, context.Context) else list(ctx)
    parameter._deferred_init = (request, devices, default, data)


def _made(parameter: Any, waiting: list[_Waiting], data: Any, devices: Any) -> None:
    """`Parameter._init_impl`, once: it puts the numbers in their place."""
    for name in ("_init_impl", "initialize"):
        parameter.__dict__.pop(name, None)
    parameter._init_impl(data, devices)
    for one in waiting:
        one.arrived()
