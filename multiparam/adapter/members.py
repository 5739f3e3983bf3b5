"""What one native layer directly holds."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from operator import is_
from types import MappingProxyType
from typing import Any

from ..layer_table.layout import Handle

__all__ = ["NOTHING", "Members", "same_children", "same_members", "same_variables"]

NOTHING: Mapping[str, Any] = MappingProxyType({})  # one for all layers, so that it is soon told to be the same


@dataclass(slots=True)
class Members:
    """What one native layer directly holds, in the order of its definition.

    Attributes:
        parameters: native variables (or a `Handle`, where the layer sees one in another order) by native name; one
            that lies in a list or dict of the layer's has a path, `"scales.0"`, its components escaped.
        buffers: the same for state that no optimizer trains.
        children: layers and containers, as (component of their name, native object).
        transient: names of buffers that are not part of a saved model.
        opaque: the layer has parameters that cannot be told before its first batch.
        optional: names of buffers that the files of other frameworks need not have.
        extras: what is no tensor now, and takes one when a file has it, by the name that it has in files.
    """

    parameters: Mapping[str, Any] = field(default_factory=lambda: NOTHING)
    buffers: Mapping[str, Any] = field(default_factory=lambda: NOTHING)
    children: Sequence[tuple[str, Any]] = ()
    transient: frozenset[str] = frozenset()
    opaque: bool = False
    optional: frozenset[str] = frozenset()
    extras: Mapping[str, Any] = field(default_factory=lambda: NOTHING)


def same_members(one: Members, other: Members) -> bool:
    """Whether a layer holds the same as before."""
    return (
        same_variables(one.parameters, other.parameters)
        and (one.buffers is other.buffers or same_variables(one.buffers, other.buffers))
        and (one.children is other.children or same_children(one.children, other.children))
        and one.opaque == other.opaque
        and one.transient == other.transient
    )


def same_children(one: Collection[tuple[str, Any]], other: Collection[tuple[str, Any]]) -> bool:
    """Whether the same layers are there, under the same names and in the same order."""
    pairs = zip(one, other, strict=False)
    return len(one) == len(other) and all(child is old and key == name for (key, child), (name, old) in pairs)


def same_variables(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether the same variables are there, under the same names and in the same order."""
    if [*one] != [*other]:
        return False
    return all(map(is_, one.values(), other.values())) or all(map(_is_same, one.values(), other.values()))


def _is_same(one: Any, other: Any) -> bool:
    """Whether two variables are one; what is seen transposed, in the same order."""
    if isinstance(one, Handle) and isinstance(other, Handle):
        return one.variable is other.variable and one.axes == other.axes
    return one is other
