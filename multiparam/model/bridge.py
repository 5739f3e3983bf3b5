"""Layers of one framework inside of another's model: read by the layer table of their own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..adapter.capabilities import Bridges
from ..adapter.registry import adapter
from ..layer_table.layout import Source
from ..layer_table.table import Row
from .node import Node
from .tree import Tree

__all__ = ["bridged_row"]


def bridged_row(
    native: type, backend: str, model: Callable[[Bridges], Any], part: Callable[[Sequence[str]], str]
) -> Row:
    """The row of a layer that wraps a model of another backend.

    Args:
        native: the wrapping class.
        backend: whose model it wraps.
        model: makes that model, given the backend's adapter; only its layers and shapes matter.
        part: the name in the wrapping layer of a native tensor, given the keys that lead to it in that model.
    """
    other = adapter(backend).require(Bridges)
    tree = Tree(other, model(other))
    found: dict[bool, dict[str, Source]] = {False: {}, True: {}}
    for group in tree.groups:
        for slot in group:
            if slot.node.row is not None and slot.role in _told(slot.node):
                found[slot.is_buffer][slot.name] = slot.source.renamed(_below(_keys(slot.node), part))
    nodes = [node for node in tree.root.walk() if node.name and any(slot.name in found[False] for slot in node.slots)]
    return Row(
        tree.root.kind,
        native,
        found[False],
        found[True],
        inner={node.name: node.kind for node in nodes},
        settings=lambda _: {
            f"{node.name}.{name}" if node.name else name: one
            for node in tree.root.walk()
            for name, one in node.settings().items()
        },
    )


def _below(keys: Sequence[str], part: Callable[[Sequence[str]], str]) -> Callable[[str], str]:
    return lambda name: part([*keys, *name.split("/")])


def _told(node: Node) -> frozenset[str]:
    """The roles that a layer's row tells, those of its canonical sublayers without these' names."""
    assert node.row is not None
    roles = [*node.row.sources_of(node.native), *node.row.buffers]
    start = f"{node.key}." if node.is_inner else ""
    return frozenset(role.removeprefix(start) for role in roles if role.startswith(start))


def _keys(node: Node) -> list[str]:
    """The keys that lead to a native layer."""
    layer, keys = node.layer, []
    while layer.parent is not None:
        keys.append(layer.key)
        layer = layer.parent
    return keys[::-1]
