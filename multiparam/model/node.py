"""One layer or container of the neutral tree."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ..adapter.base import Adapter
from ..adapter.members import Members
from ..arrays.types import Array
from ..layer_table.kinds import KINDS
from ..layer_table.layout import At, Source
from ..layer_table.settings import plain
from ..layer_table.table import Fold, Row, Setting
from ..names.pattern import join
from .slot import Slot

__all__ = ["Form", "Held", "Node", "unwrapped"]

Held = dict[int, tuple[Adapter, Any, Members]]  # what a walk found each native layer to hold, by the layer's identity


class Form:
    """The tensors that a layer has itself, each one native tensor of its own, whatever the layer is called.

    Args:
        slots: those of the first layer that has them.

    Attributes:
        roles: their canonical names.
        buffers: of each, whether it is a buffer.
        looks: of each, its native name, whether it is a buffer, and what tells it from others of the same variable.
    """

    __slots__ = ("_told", "buffers", "looks", "roles")

    def __init__(self, slots: Sequence[Slot]) -> None:
        self.roles = [slot.role for slot in slots]
        self.buffers = [slot.is_buffer for slot in slots]
        self.looks = [(slot.source.parts[0], slot.is_buffer, _tail(slot.source)) for slot in slots]
        self._told = [(slot.role, slot.source, slot.is_buffer, slot.transient, slot.optional) for slot in slots]

    def slots(self, node: Node) -> list[Slot]:
        """The slots of a layer."""
        return [
            Slot(node, role, source, is_buffer=is_buffer, transient=transient, optional=optional)
            for role, source, is_buffer, transient, optional in self._told
        ]


class Node:
    """One layer or container of the neutral tree.

    Args:
        adapter: the adapter of the layer's own framework.
        native: the native layer; an inner sublayer's is the layer that it is a part of.
        name: the canonical path from the root, whose own name is empty.
        key: the name within its parent, as the framework has it.
        parent: the layer above; the root has none.
        row: what the layer table says of the layer.
        members: what it directly holds.
        held: the same of all layers that the walk has met.
        inner: the kind, for a canonical sublayer which is no native layer of its own.

    Attributes:
        form: its tensors, where others of its row have the same; else its slots are set.
        untold: why its rows cannot be told to be canonical ones; empty if they can.
    """

    __slots__ = (
        "_above",
        "_held",
        "_kind",
        "_slots",
        "adapter",
        "children",
        "form",
        "is_inner",
        "key",
        "members",
        "name",
        "native",
        "parent",
        "row",
        "untold",
    )

    def __init__(
        self,
        adapter: Adapter,
        native: Any,
        name: str,
        key: str,
        parent: Node | None,
        row: Row | None,
        members: Members,
        held: Held,
        inner: str | None = None,
    ) -> None:
        self.adapter = adapter
        self.native = native
        self.name = name
        self.key = key
        self.parent = parent
        self.row = row
        self.members = members
        self.is_inner = inner is not None
        self.children: list[Node] = []
        self.form: Form | None = None
        self.untold = ""
        self._held = held
        self._kind = inner
        self._slots: list[Slot] | None = None
        self._above: tuple[Any, ...] = ()

    @property
    def slots(self) -> list[Slot]:
        """The tensors that it has itself, in canonical order."""
        if self._slots is None:
            self._slots = [] if self.form is None else self.form.slots(self)
        return self._slots

    @slots.setter
    def slots(self, slots: list[Slot]) -> None:
        self._slots, self.form = slots, None

    @property
    def above(self) -> tuple[Any, ...]:
        """The native layers from the root down to its parent."""
        if self.parent is None:
            return self._above
        return self.parent.above if self.is_inner else (*self.parent.above, self.parent.native)

    def set_above(self, above: tuple[Any, ...]) -> None:
        """Says which native layers lead to the root, where it is a part of a model."""
        self._above = above

    def inner_node(self, key: str, kind: str) -> Node:
        """A canonical sublayer of it, which is no native layer of its own."""
        name = join(self.name, key)
        node = Node(self.adapter, self.native, name, key, self, self.row, self.members, self._held, kind)
        node.slots = []
        return node

    @property
    def opaque(self) -> bool:
        """Whether it has parameters that cannot be told before its first batch."""
        return self.members.opaque and not self.is_inner

    @property
    def extras(self) -> Mapping[str, Any]:
        """What is no tensor now, and takes one when a file has it."""
        return {} if self.is_inner else self.members.extras

    def members_of(self, native: Any) -> Members:
        """What a native layer below holds."""
        found = self._held.get(id(native))
        if found is None:
            found = self._held[id(native)] = (self.adapter, native, self.adapter.members(native))
        return found[2]

    def find(self, part: str, is_buffer: bool = False) -> Any:
        """One of the native variables that the walk found, by its name or the way to it; None if there is none."""
        members = self.members
        held, others = (members.buffers, members.parameters) if is_buffer else (members.parameters, members.buffers)
        found = held.get(part)
        if found is None:
            found = others.get(part)
        if found is None and "/" in part and (owner := self.owner(part)) is not None:
            members = self.members_of(owner[0][-1])
            found = members.parameters.get(owner[1], members.buffers.get(owner[1]))
        return found

    def owner(self, part: str) -> tuple[tuple[Any, ...], str] | None:
        """Who holds a part: the native layers from this one down to it, and the part's name there."""
        members = self.members
        own = "/" not in part or members.parameters.get(part, members.buffers.get(part)) is not None
        *path, name = [part] if own else part.split("/")
        layers = [self.native]
        for key in path:
            below = next((child for one, child in members.children if one == key), None)
            if below is None:  # of a layer that has other members than it leads to, as a fused one
                below = self.adapter.lookup(layers[-1], key)
            if below is None:
                return None
            layers.append(below)
            members = self.members_of(below)
        return tuple(layers), name

    def look(self, part: str) -> Any:
        """As `find`, as it is now, however the model was changed since the walk."""
        owner = self.owner_now(part)
        return None if owner is None else self.adapter.lookup(owner[0][-1], owner[1])

    def owner_now(self, part: str) -> tuple[tuple[Any, ...], str] | None:
        """As `owner`, as it is now."""
        own = "/" not in part or self.adapter.lookup(self.native, part) is not None
        *path, name = [part] if own else part.split("/")
        layers = [self.native]
        for key in path:
            below = self.adapter.lookup(layers[-1], key)
            if below is None:
                return None
            layers.append(below)
        return tuple(layers), name

    @property
    def kind(self) -> str:
        """The canonical kind, or the class's name."""
        if self._kind is None:
            self._kind = self.adapter.kind(self.native)
        return self._kind

    @property
    def is_wrapper(self) -> bool:
        """Whether it stands for what is around a layer, and has only the tensors that this keeps for itself."""
        return self.adapter.wrapped(self.native) is not None

    @property
    def layer(self) -> Node:
        """The node of the native layer: this one, or for an inner sublayer the one it is a part of."""
        return self.parent if self.is_inner and self.parent is not None else self

    def take_own_names(self, why: str) -> None:
        """Makes the layer one of no row, whose tensors keep their own names and axes."""
        self.row, self.untold = None, why
        self._kind = self.adapter.layer_class(self.native).__name__

    def attached(self) -> bool:
        """Whether it is still where it was found, however the model was changed since."""
        node = self.layer
        while (parent := node.parent) is not None:
            there, _ = unwrapped(parent.adapter, parent.adapter.lookup(parent.native, node.key))
            if there is not node.native:
                return False
            node = parent
        return True

    @property
    def a_role(self) -> str | None:
        """What one of the layer's own tensors is called in it; None if it has none."""
        return self.slots[0].role if self.slots else None

    def settings(self) -> Mapping[str, Setting]:
        """What decides the layer's function beside its weights."""
        if self.row is None or self.row.settings is None:
            return {}
        found = self.row.settings(self.native)
        if self.is_inner:
            start = f"{self.key}."
            return {name[len(start) :]: one for name, one in found.items() if name.startswith(start)}
        return {name: one for name, one in found.items() if "." not in name}

    def described(self) -> dict[str, Any]:
        """What a file says of the layer: its kind and settings; of one of no known kind its class and what it says."""
        if self.kind in KINDS:
            return {**({"kind": self.kind} if self.kind not in ("Sequential", "Lambda") else {}), **self.settings()}
        said = None if self.is_inner else self.adapter.settings(self.native)
        found = {**plain(said or {}), **self.settings()}
        if said is None or (self.children and not found):
            return found
        name = f"{self.adapter.name}.{self.adapter.layer_class(self.native).__name__}"
        return {"container" if self.children else "class": name, **found}

    def folds(self) -> Mapping[str, Fold]:
        """What is added to the layer's tensors when a file is loaded."""
        return {} if self.row is None or self.is_inner else self.row.folds_of(self.native)

    def file_only(self) -> Mapping[str, Array]:
        """What PyTorch has and the layer has no place for, with its neutral values."""
        if self.row is None or self.is_inner:
            return {}
        slots = {slot.role: slot for slot in self.slots}
        found = dict(self.row.file_only)
        for role, fold in self.folds().items():
            into = slots.get(fold.into)
            handles = None if into is None or role in slots else into.ready()
            if into is not None and handles is not None:
                found[role] = np.zeros(into.extents(), self.adapter.dtype(handles[0].variable))
        return found

    def walk(self) -> Iterator[Node]:
        """This layer and everything below it, parents first."""
        waiting = [self]
        while waiting:
            node = waiting.pop()
            yield node
            waiting += node.children[::-1]


def unwrapped(adapter: Adapter, native: Any) -> tuple[Any, list[Any]]:
    """A layer or model without the wrappers around it, and these."""
    wrappers: list[Any] = []
    while native is not None and (inside := adapter.wrapped(native)) is not None:
        wrappers.append(native)
        native = inside
    return native, wrappers


def _tail(source: Source) -> tuple[Any, ...] | None:
    """What stands behind a variable's identity in the key of its storage; None for the variable as it is."""
    assert isinstance(source, At)
    return None if source.is_plain else (source.axes, source.steps)
