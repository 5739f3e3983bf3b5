"""Which canonical tensors a layer has: worked out through its row, once for all that hold tensors of the same names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ..adapter.members import Members
from ..arrays.types import Shape
from ..errors import AmbiguousMatchError
from ..layer_table.layout import At, Source
from ..layer_table.stacks import UNTOLD, Axes, stack_axes
from ..layer_table.table import Row
from .node import Form, Node
from .slot import Slot, as_handle, seen

__all__ = ["Claims", "is_alone", "own_slots", "shared_form"]

Claims = frozenset[tuple[str, ...]]  # paths to native tensors that a layer above has claimed


def shared_form(node: Node) -> Form | None:
    """What all layers of a row have that hold tensors of the names of this one's; None where more than names tells."""
    row = node.row
    if row is not None and (row.inner or (row.lazy is not None and row.lazy(node.native))):
        return None
    sources = {} if row is None else row.sources_of(node.native)
    if any("/" in part for source in sources.values() for part in source.parts):
        return None  # what is in layers below is another in each
    members, slots = node.members, node.slots
    for slot in slots:
        held = members.buffers if slot.is_buffer else members.parameters
        if (
            slot.lazy is not None
            or not isinstance(slot.source, At)
            or held.get(slot.source.parts[0]) is None
            or slot.source.stack is not None
        ):
            return None
    return Form(slots)


def is_alone(node: Node, row: Row) -> bool:
    """Whether a layer is neither a stack of layers nor lazy, so that its row's form is its own."""
    if row.lazy is not None and row.lazy(node.native):
        return False
    return row.shapes is None or _stack(node)[0] == {}


def own_slots(node: Node, members: Members, claimed: Claims = frozenset()) -> list[Slot]:
    """The tensors that a layer has itself, given what it holds and what layers above have claimed of it."""
    axes, shapes = _stack(node)
    if axes is None:
        node.take_own_names(UNTOLD)
    row = node.row
    if claimed:
        members = replace(
            members,
            parameters={part: one for part, one in members.parameters.items() if (part,) not in claimed},
            buffers={part: one for part, one in members.buffers.items() if (part,) not in claimed},
        )
    sources = row.sources_of(node.native) if row is not None else {}
    if claimed:
        free = {role: all(tuple(part.split("/")) not in claimed for part in one.parts) for role, one in sources.items()}
        sources = {role: source for role, source in sources.items() if free[role]}
    sources = _stacked(sources, axes, shapes)
    slots = _of_row(node, members.parameters, sources, is_buffer=False) if members.parameters or sources else []
    if row is not None and row.lazy is not None:
        known = {slot.role: slot for slot in slots}
        for role, shape in (row.lazy(node.native) or {}).items():
            if role in known:
                known[role].lazy = shape
            elif role in sources or not claimed:
                slots.append(Slot(node, role, sources.get(role, At(role)), lazy=shape))
    if members.buffers:
        slots += _of_row(node, members.buffers, _stacked(row.buffers if row else {}, axes, shapes), is_buffer=True)
        _check_buffers(node, members, slots)
    return _into_inner(node, slots) if row is not None and row.inner else slots


def _stack(node: Node) -> tuple[Axes | None, dict[str, Shape]]:
    """Which axes of a layer's native tensors count layers, as `stack_axes` tells, and all the tensors' shapes."""
    row = node.row
    if row is None or row.shapes is None:
        return {}, {}
    adapter, declared = node.adapter, dict(row.shapes(node.native))
    sources = [*row.sources_of(node.native).values(), *row.buffers.values()]
    shapes: dict[str, Shape] = {}
    for part in dict.fromkeys(part for source in sources for part in source.parts):
        found = node.find(part)
        if "/" in part and (owner := node.owner(part)) is not None and len(owner[0]) > 1:
            below = adapter.row(owner[0][-1])
            if below is not None and below.shapes is not None:
                declared.setdefault(part, below.shapes(owner[0][-1]).get(owner[1]))
        handle = None if found is None else as_handle(found)
        shape = None if handle is None else adapter.shape(handle.variable)
        if handle is not None and shape is not None:
            shapes[part] = seen(handle, shape)
    return stack_axes(declared, shapes), shapes


def _stacked(sources: Mapping[str, Source], axes: Axes | None, shapes: Mapping[str, Shape]) -> Mapping[str, Source]:
    """The sources for a stack of layers, where it is one."""
    if not axes:
        return sources
    return {
        role: one.stacked(axes, shapes) if all(part in axes for part in one.parts) else one
        for role, one in sources.items()
    }


def _check_buffers(node: Node, members: Members, slots: list[Slot]) -> None:
    seen: dict[str, Slot] = {}
    for slot in slots:
        if slot.is_buffer and slot.source.parts[0] in members.transient:
            slot.transient = True
        slot.optional = slot.is_buffer and slot.source.parts[0] in members.optional
        if slot.role in seen:
            parts = [slot.source.parts[0], seen[slot.role].source.parts[0]]
            raise AmbiguousMatchError(f"two tensors of {node.name or 'the model'!r} are called {slot.role!r}", parts)
        seen[slot.role] = slot


def _into_inner(node: Node, slots: list[Slot]) -> list[Slot]:
    """The slots, those of canonical sublayers moved into nodes of their own."""
    assert node.row is not None
    inner: dict[str, Node] = {}
    moved = []
    for slot in slots:
        key, _, role = slot.role.rpartition(".")
        if key in node.row.inner:
            kind = node.row.inner[key]
            if key not in inner:
                inner[key] = node.inner_node(key, kind)
            slot = Slot(
                inner[key],
                role,
                slot.source,
                is_buffer=slot.is_buffer,
                transient=slot.transient,
                optional=slot.optional,
                lazy=slot.lazy,
            )
            inner[key].slots.append(slot)
        moved.append(slot)
    return moved


def _of_row(node: Node, parts: Mapping[str, Any], sources: Mapping[str, Source], *, is_buffer: bool) -> list[Slot]:
    """The row's tensors in the row's order, then the layer's own that no row mentions."""
    if not sources:
        return [Slot(node, part, At(part), is_buffer=is_buffer) for part, one in parts.items() if one is not None]
    slots: list[Slot] = []
    claimed: set[str] = set()
    for role, source in sources.items():
        slot = Slot(node, role, source, is_buffer=is_buffer)
        if _has_all(parts, source) or (
            not is_buffer and any("/" in part for part in source.parts) and slot.handles() is not None
        ):
            slots.append(slot)
            claimed.update(source.parts)
    roles = {slot.role for slot in slots}
    for part, variable in parts.items():
        if part in claimed or variable is None:
            continue
        if part in roles:
            raise AmbiguousMatchError(
                f"{node.name or 'the model'!r} ({node.kind}) has a native tensor called {part!r} "
                f"beside its canonical one",
                [part, *(slot.source.parts[0] for slot in slots if slot.role == part)],
            )
        slots.append(Slot(node, part, At(part), is_buffer=is_buffer))
    return slots


def _has_all(parts: Mapping[str, Any], source: Source) -> bool:
    # a loop, since most have one part and a generator takes longer than all else here
    for part in source.parts:  # noqa: SIM110
        if parts.get(part) is None:
            return False
    return True
