"""Layers that see another layer's variable with its axes in another order, for ties across transposed layouts.

The layer's class is replaced by a subclass in which the tensor is a property, so that each forward pass computes it
from the one variable there is, and gradients flow into that.
"""

from __future__ import annotations

import copyreg
import functools
from collections.abc import Callable
from typing import Any, cast

__all__ = ["View", "plain_class", "see", "unsee"]

View = Callable[[Any, str], Any]


def see(layer: Any, part: str, view: View) -> None:
    """Makes a layer's attribute a property that calls `view(layer, part)`; the attribute itself must be gone."""
    layer.__class__ = _viewing(plain_class(type(layer)), (*_parts(type(layer)), part), view)


def unsee(layer: Any, part: str, view: View) -> None:
    """Makes it an attribute again."""
    left = tuple(one for one in _parts(type(layer)) if one != part)
    base = plain_class(type(layer))
    layer.__class__ = _viewing(base, left, view) if left else base


def plain_class(native: type) -> type:
    """The class that a layer had before it saw anything."""
    base: type = native.__dict__.get("_multiparam_base", native)
    return base


def _parts(native: type) -> tuple[str, ...]:
    parts: tuple[str, ...] = native.__dict__.get("_multiparam_parts", ())
    return parts


@functools.cache
def _viewing(base: type, parts: tuple[str, ...], view: View) -> type:
    def reduce(self: Any, protocol: Any) -> Any:
        reduced: Any = cast(Any, base).__reduce_ex__(self, protocol)
        if reduced[0] is not copyreg.__newobj__:  # type: ignore[attr-defined]  # typeshed lacks it
            return reduced
        return (_made_anew, (base, parts, view), *reduced[2:])

    body: dict[str, Any] = {part: property(functools.partial(_look, view=view, part=part)) for part in parts}
    body |= {
        "_multiparam_base": base,
        "_multiparam_parts": parts,
        "__module__": base.__module__,
        "__qualname__": base.__qualname__,
        "__reduce_ex__": reduce,
    }
    if hasattr(base, "from_config"):  # a layer made anew from its configuration sees nothing
        body["from_config"] = classmethod(lambda cls, config: base.from_config(config))
    native: type = type(base)(base.__name__, (base,), body)
    return native


def _look(layer: Any, *, view: View, part: str) -> Any:
    return view(layer, part)


def _made_anew(base: type, parts: tuple[str, ...], view: View) -> Any:
    native = _viewing(base, parts, view)
    return object.__new__(native)
