"""Tensors that layers compute from parameters: weights under a normalization, a parametrization, a mask."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from ..adapter.capabilities import Computes
from ..layer_table.layout import At
from .node import Node
from .parameter import Parameter
from .slot import Slot
from .tree import Tree

__all__ = ["Effective", "computed_slots", "effective", "with_effective"]


class Effective(NamedTuple):
    """A computed tensor, and the names of the parameters it is computed from.

    A rule for the one is not a rule for the others: a weight of norm g and direction v is not made twos by making both.
    """

    parameter: Parameter
    originals: frozenset[str]

    @property
    def name(self) -> str:
        """The tensor's canonical name."""
        return self.parameter.name


def computed_slots(node: Node) -> list[Slot]:
    """The tensors that a layer computes."""
    if node.is_inner:
        return []
    found = []
    for one in node.adapter.computed(node.native) if isinstance(node.adapter, Computes) else ():
        row = node.row
        sources = {} if row is None else row.sources_of(node.native)
        source = next((own for own in sources.values() if own.parts == (one.role,)), At(one.role))
        role = next((role for role, own in sources.items() if own is source), one.role)
        found.append(Slot(node, role, source, computed=one))
    return found


def effective(tree: Tree, layer: Callable[[Slot], Any]) -> list[Effective]:
    """All tensors that a model's layers compute, each once."""
    names = {id(handle.variable): slot.name for slot in tree.primary for handle in slot.handles() or ()}
    found: list[Effective] = []
    seen: set[int] = set()
    for node in tree.root.walk():
        if node.is_inner or id(node.native) in seen:
            continue
        seen.add(id(node.native))
        for slot in computed_slots(node):
            own = slot.computed.originals if slot.computed is not None else ()
            originals = frozenset(names[id(one)] for one in own if id(one) in names)
            found.append(Effective(Parameter(tree.model, [slot], layer), originals))
    return found


def with_effective(parameters: Iterable[Parameter], computed: Iterable[Effective]) -> list[Parameter]:
    """A model's parameters, each computed tensor before those that it is computed from."""
    first: dict[str, list[Parameter]] = {}
    given = list(parameters)
    for one in computed:
        before = next((parameter.name for parameter in given if parameter.name in one.originals), "")
        first.setdefault(before, []).append(one.parameter)
    return [*first.get("", ()), *(one for each in given for one in (*first.get(each.name, ()), each))]
