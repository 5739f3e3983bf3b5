"""Parameters whose shapes, or numbers, come with the first batch."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

from mxnet.gluon.parameter import Parameter

from multiparam.adapter import LazyShape, Source

_PENDING = "_multiparam_pending"

__all__ = ["begin", "known", "when_ready"]


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
    """Does for parameters that nobody initialized what `model.initialize()` does; those with numbers keep them."""
    for parameter in model.collect_params().values():
        if parameter._data is None and not parameter._deferred_init:
            parameter.initialize()


def when_ready(layer: Any, call: Callable[[Any], None]) -> None:
    """Calls `call(layer)` once all of its parameters have been given numbers by Gluon's own initialization.

    A batch runs through a hybridized model as symbols, which no hook of a layer can tell from others; so it is the
    parameters that know when they are made.
    """
    waiting = layer.__dict__.setdefault(_PENDING, [])
    waiting.append(call)
    for parameter in layer._reg_params.values():
        if parameter._data is None:
            parameter._finish_deferred_init = functools.partial(_finish, layer, parameter)
            if not parameter._deferred_init:
                parameter.initialize()


def _finish(layer: Any, parameter: Any) -> None:
    Parameter._finish_deferred_init(parameter)
    if all(one._data is not None for one in layer._reg_params.values()):
        for one in layer._reg_params.values():
            one.__dict__.pop("_finish_deferred_init", None)
        waiting = layer.__dict__.pop(_PENDING, [])
        while waiting:
            waiting[0](layer)
            del waiting[0]
