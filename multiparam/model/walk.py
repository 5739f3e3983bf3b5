"""The one pass over a native model: what each layer holds, what its tensors are called, and which of them are one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ..adapter.base import Adapter
from ..adapter.members import Members
from ..adapter.registry import foreign
from ..errors import AmbiguousMatchError
from ..layer_table.layout import Handle
from ..layer_table.table import Row
from .forms import Claims, is_alone, own_slots, shared_form
from .node import Form, Held, Node, unwrapped
from .slot import Slot

__all__ = ["Place", "Walk"]

Place = tuple[Node, int]  # a layer, and which of its slots

_NO_CLAIMS: Claims = frozenset()


class _Class:
    """What holds of all layers of a class.

    Args:
        adapter: whose they are.
        row: their row; None where it takes the layer to tell it, or they have none.
        asks: it takes the layer to tell its row.
        wraps: they stand for what they are around.
    """

    __slots__ = ("adapter", "alike", "asks", "bare", "forms", "row", "wraps")

    def __init__(self, adapter: Adapter, row: Row | None, asks: bool, wraps: bool) -> None:
        self.adapter = adapter
        self.row = row
        self.asks = asks
        self.wraps = wraps
        self.forms: dict[tuple[Any, ...], Form | None] = {}
        # whether the names of their tensors tell all about them
        self.alike = not asks and (row is None or not (callable(row.sources) or row.lazy or row.shapes))
        # and whether those that hold none have none, not even in layers below
        self.bare = self.alike and (row is None or not row.sources)


class Walk:
    """A walk over a native model.

    Args:
        adapter: the model's.
        above: the native layers that lead to it, where it is a part of another.

    Attributes:
        first: of each storage, the first place that has it.
        others: of the storages that have several, the further places.
        held: what each native layer holds.
        incomplete: some layer has not all of its parameters yet.
    """

    def __init__(self, adapter: Adapter, above: Sequence[Any] = ()) -> None:
        self._adapter = adapter
        self._classes: dict[type, _Class] = {}
        self._above = {*map(id, above)}
        self.first: dict[Any, Place] = {}
        self.others: dict[Any, list[Place]] = {}
        self.held: Held = {}
        self.incomplete = False

    def visit(self, native: Any, name: str, wrappers: Sequence[Any] = ()) -> Node:
        """Visits a model, or a layer of one, and all below it.

        Args:
            native: the native layer.
            name: its name.
            wrappers: what is around it.
        """
        node = self._met(native, self._class(native, self._adapter), name, "", None, _NO_CLAIMS)
        for wrapper in wrappers:
            self._add_own(wrapper, node)
        return node

    def _met(self, native: Any, about: _Class, name: str, key: str, parent: Node | None, claimed: Claims) -> Node:
        """Meets a layer, and all below it."""
        adapter = about.adapter
        held = self.held.get(id(native))
        if held is None:
            held = self.held[id(native)] = (adapter, native, adapter.members(native))
        members = held[2]
        row = adapter.row(native) if about.asks else about.row
        node = Node(adapter, native, name, key, parent, row, members, self.held)
        if members.parameters or members.buffers or members.opaque or not about.bare:
            # what layers of a class have in common that have one form: as a rule the names of what they hold
            names = (*members.parameters,)
            shared = names if about.alike and not members.buffers else _told(row, native, names, members)
            form = None if claimed else about.forms.get(shared)
            if form is not None and (about.alike or row is None or is_alone(node, row)):
                node.form = form
                self._sort_all(node, form)
            else:
                self._work_out(node, claimed)
                if not (claimed or node.untold) and shared not in about.forms:
                    about.forms[shared] = shared_form(node)
            if members.opaque:
                self.incomplete = True
        if members.children:
            self._meet_children(node, _deep(node, claimed))
        return node

    def _work_out(self, node: Node, claimed: Claims) -> None:
        """Finds out which tensors a layer has, where it is the first of its form or has one of its own."""
        slots = own_slots(node, node.members, claimed)
        node.slots = [slot for slot in slots if slot.node is node]
        node.children = list({id(slot.node): slot.node for slot in slots if slot.node is not node}.values())
        for one in (node, *node.children):
            self._sort(one, one.slots)
        if any(slot.lazy is not None or slot.handles() is None for slot in slots):
            self.incomplete = True

    def _class(self, native: Any, around: Adapter) -> _Class:
        """What holds of all layers of a class."""
        native_type: type = type(native)
        if (known := self._classes.get(native_type)) is not None:
            return known
        adapter = foreign(native, around) or around
        told = type(adapter)
        asks = told.row is not Adapter.row or told.layer_class is not Adapter.layer_class
        row = None if asks else adapter.row(native)
        found = self._classes[native_type] = _Class(adapter, row, asks, around.wrapped(native) is not None)
        return found

    def _sort_all(self, node: Node, form: Form) -> None:
        """Sorts the tensors of a layer of a known form into the storages."""
        members, first = node.members, self.first
        parameters, buffers = members.parameters, members.buffers
        for position, (part, is_buffer, tail) in enumerate(form.looks):
            variable = buffers[part] if is_buffer else parameters[part]
            key: Any = id(variable) if tail is None else (id(variable), *tail)
            if variable.__class__ is Handle:
                key = node.slots[position].storage()
            place = (node, position)
            if first.setdefault(key, place) is not place:
                self.others.setdefault(key, []).append(place)

    def _sort(self, node: Node, slots: Sequence[Slot]) -> None:
        """As `_sort_all`, of a layer that has slots."""
        for position, slot in enumerate(slots):
            key = slot.storage()
            place = (node, position)
            if self.first.setdefault(key, place) is not place:
                self.others.setdefault(key, []).append(place)

    def _add_own(self, wrapper: Any, node: Node) -> None:
        """Adds what a wrapper keeps beside the tensors of what it wraps, a count of its own say."""
        about = self._class(wrapper, self._adapter)
        adapter, whole = about.adapter, about.adapter.members(wrapper)
        self.held[id(wrapper)] = (adapter, wrapper, whole)
        around = Node(
            adapter,
            wrapper,
            node.name,
            node.key,
            node.parent,
            adapter.row(wrapper),
            replace(whole, children=()),
            self.held,
        )
        around.slots = own_slots(around, around.members)
        taken = {*(slot.role for slot in node.slots), *(child.key for child in node.children)}
        for slot in around.slots:
            if slot.role in taken:
                raise AmbiguousMatchError(
                    f"{node.name or 'the model'!r} and the {around.kind} around it both have a {slot.role!r}",
                    [f"that of {node.kind}", f"that of {around.kind}"],
                )
        self._sort(around, around.slots)
        node.slots = [*node.slots, *around.slots]

    def _meet_children(self, node: Node, deep: Claims) -> None:
        adapter, prefix = node.adapter, f"{node.name}." if node.name else ""
        classes, above, component_of = self._classes, self._above, adapter.component
        above.add(id(node.native))
        taken: dict[str, Any] = dict.fromkeys(_roles(node))
        taken |= {child.key: child for child in node.children}
        for key, child in node.members.children:
            about = classes.get(type(child)) or self._class(child, adapter)
            wrappers: Sequence[Any] = ()
            if about.wraps:
                child, wrappers = unwrapped(adapter, child)
                about = self._class(child, adapter)
            if id(child) in above:
                continue  # a layer that refers back to its parent is no child of its own
            component = component_of(key)
            claims = frozenset(path[1:] for path in deep if path[0] == key) if deep else deep
            made = self._met(child, about, prefix + component, key, node, claims)
            for wrapper in wrappers:
                self._add_own(wrapper, made)
            if deep and _empty(made):
                continue  # a part of this layer, or of one above
            if component in taken:
                raise _clash(node, component, taken[component], made)
            taken[component] = made
            node.children.append(made)
        above.discard(id(node.native))


def _told(row: Row | None, native: Any, names: tuple[str, ...], members: Members) -> tuple[Any, ...]:
    """What layers have in common that have one form, where the names of their parameters do not tell."""
    buffers = (*members.buffers, members.transient, members.optional)
    told = row.sources(native).items() if row is not None and callable(row.sources) else ()
    return (id(row), *names, None, *buffers, *told)


def _clash(node: Node, component: str, one: Any, other: Node) -> AmbiguousMatchError:
    """The error for two things in a layer that have one name."""
    return AmbiguousMatchError(
        f"two things in {node.name or 'the model'!r} are called {component!r}; give one of them another name",
        [f"the tensor {component!r}" if one is None else _described(one), _described(other)],
    )


def _described(node: Node) -> str:
    return f"the part {node.key!r}" if node.is_inner else f"{type(node.native).__name__} {node.key!r}"


def _roles(node: Node) -> Sequence[str]:
    """What a layer's own tensors are called in it."""
    return [slot.role for slot in node.slots] if node.form is None else node.form.roles


def _deep(node: Node, claimed: Claims) -> Claims:
    """The claimed paths, this layer's and those of layers above, that lead into sublayers."""
    if node.form is not None:
        return _NO_CLAIMS
    slots = [slot for one in (node, *node.children) for slot in one.slots]
    own = [part for slot in slots for part in slot.source.parts if "/" in part]
    if not own and not claimed:
        return claimed
    return frozenset(path for path in (*(_path(part, node.members) for part in own), *claimed) if len(path) > 1)


def _empty(node: Node) -> bool:
    return not any(one.slots or one.opaque for one in node.walk())


def _path(part: str, members: Members) -> tuple[str, ...]:
    """Where a part lies; the name of a layer's own tensor may hold a slash."""
    return (part,) if part in members.parameters or part in members.buffers else tuple(part.split("/"))
