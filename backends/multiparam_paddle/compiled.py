"""What Paddle keeps of a model that was compiled with `paddle.jit.to_static`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from paddle.jit.dy2static.program_translator import StaticFunction


def forget(model: Any) -> None:
    """Drops the compiled programs, which hold the parameters that the model had when it was traced."""
    for layer in model.sublayers(include_self=True):
        compiled = layer.__dict__.get("forward")
        if isinstance(compiled, StaticFunction):
            compiled._program_cache = type(compiled._program_cache)()


def compiled_parts(layers: Iterable[Any]) -> set[int]:
    """The identities of the layers whose forward pass is a part of another's compiled one."""
    return {
        id(inner)
        for layer in layers
        if isinstance(layer.__dict__.get("forward"), StaticFunction)
        for inner in layer.sublayers()
    }
