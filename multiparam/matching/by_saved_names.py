"""Which tensors of a file are which of a model, as the framework whose saver wrote the file has it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..adapter.base import Adapter
from ..adapter.capabilities import SavesNames
from ..formats.contents import Contents
from ..formats.entry import Entry
from ..layer_table.layout import seen_through
from ..model.slot import Slot
from ..model.tree import Tree

__all__ = ["placed"]


def placed(contents: Contents, tree: Tree) -> tuple[Contents, dict[str, str], list[str]]:
    """What is in a file of the model's own framework, under the model's names, if its saver names them so.

    Args:
        contents: what is in the file.
        tree: the model.

    Returns:
        The contents; the model's layers by those of the file that have other names; and the names of what the saver
        put beside the model's tensors, such as how far a metric has counted. Where it cannot be told, or not all of
        the file and the model has its place in the other, the contents as they were.
    """
    originals, adapter = contents.originals, tree.adapter
    if originals is None or contents.backend != adapter.name or not isinstance(adapter, SavesNames):
        return contents, {}, []
    variables = adapter.saved(tree.model, originals.labels)
    held = _held(originals.entries, variables, tree.adapter)
    groups = [group for group in tree.groups if not group[0].transient]
    entries = [entry for entry in (_entry(group[0], held) for group in groups) if entry is not None]
    if not entries or len(entries) < len(groups):
        return contents, {}, []
    names = {node.name for node in tree.root.walk()}
    made = Contents(
        entries,
        content=contents.content,
        layers={name: about for name, about in contents.layers.items() if name in names},
        settled=contents.settled,
        ties=[[slot.name for slot in group] for group in groups if len(group) > 1],
        left_out=contents.left_out,
        backend=contents.backend,
    )
    used = {name for entry in entries for name in entry.original}
    return made, _renamed(contents, entries), [one.name for one in originals.entries if one.name not in used]


def _held(entries: Sequence[Entry], variables: Mapping[str, Any], adapter: Adapter) -> dict[int, Entry]:
    """The file's tensors by the model's variables; none if one has no place there, or a variable has two values."""
    found: dict[int, Entry] = {}
    for entry in entries:
        variable = variables.get(entry.name)
        if variable is None or adapter.shape(variable) != entry.shape:
            return {}
        other = found.setdefault(id(variable), entry)
        if other is not entry and not np.array_equal(other.value, entry.value):
            return {}
    return found


def _entry(slot: Slot, held: Mapping[int, Entry]) -> Entry | None:
    """A slot's tensor, made of the file's; None where one is not there."""
    handles = slot.handles()
    if handles is None or any(id(handle.variable) not in held for handle in handles):
        return None
    parts = [held[id(handle.variable)] for handle in handles]
    return Entry(
        slot.name,
        parts[0].dtype,
        slot.extents(),
        lambda: slot.source.read(
            [seen_through(*one) for one in zip(handles, [part.read() for part in parts], strict=True)]
        ),
        tuple(part.name for part in parts),
        next((part.refusal for part in parts if part.refusal), ""),
    )


def _renamed(contents: Contents, entries: Sequence[Entry]) -> dict[str, str]:
    """The layers whose names are not the file's."""
    names = {one: entry.name for entry in contents.entries for one in entry.original or (entry.name,)}
    known, found = contents.by_name, dict[str, str]()
    for entry in entries:
        there = names.get(entry.original[0], entry.original[0])
        if there != entry.name and entry.name not in known:
            layer = f".{there}".rpartition(".")[0].removesuffix(".vars")[1:]
            found.setdefault(layer, entry.name.rpartition(".")[0])
    return {there: here for there, here in found.items() if there != here}
