"""The neutral tree: what an adapter's walk over a native model looks like to every verb."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

from .adapter import Adapter, Members
from .errors import AmbiguousMatchError
from .layout import Array, At, Handle, Shape, Source, put_through, seen_through
from .names import join
from .table import LazyShape, Setting

__all__ = ["Node", "Slot", "Tree", "changed", "epoch"]

_epoch = itertools.count(1)
_current = 0


def epoch() -> int:
    """A number that grows whenever a verb changed the structure of some model, so that mappings walk it anew."""
    return _current


def changed() -> None:
    """Says that a verb changed the structure of some model: a tie, new parameters, a new layer kind."""
    global _current
    _current = next(_epoch)


class Slot:
    """The place of one canonical tensor: an owner layer and a role, resolved at each access.

    Args:
        node: the owner.
        role: the tensor's canonical name within its owner, `"weight"`.
        source: how it is made of the owner's native tensors.
        is_buffer: running statistics and other state that no optimizer trains.
        transient: not part of a saved model.
        lazy: for a tensor that does not exist yet, what is known of its shape.
    """

    __slots__ = ("is_buffer", "lazy", "name", "node", "role", "source", "transient")

    def __init__(
        self,
        node: Node,
        role: str,
        source: Source,
        *,
        is_buffer: bool = False,
        transient: bool = False,
        lazy: LazyShape = None,
    ) -> None:
        self.node = node
        self.role = role
        self.source = source
        self.is_buffer = is_buffer
        self.transient = transient
        self.lazy = lazy
        self.name = join(node.name, role)

    def handles(self) -> tuple[Handle, ...] | None:
        """The native variables the tensor is made of, now; None while one of them does not exist."""
        adapter, native = self.node.adapter, self.node.native
        found = []
        for part in self.source.parts:
            variable = adapter.part(native, part)
            if variable is None:
                return None
            found.append(variable if isinstance(variable, Handle) else Handle(variable))
        return tuple(found)

    def ready(self) -> tuple[Handle, ...] | None:
        """As `handles`, and None too while one of them has no value."""
        handles = self.handles()
        return handles if handles is not None and self.valued(handles) else None

    def valued(self, handles: tuple[Handle, ...]) -> bool:
        """Whether each of the variables has a value."""
        initialized = self.node.adapter.initialized
        return all(initialized(handle.variable) for handle in handles)

    def shape(self) -> LazyShape:
        """The canonical shape; for a lazy tensor what is known of it."""
        handles = self.handles()
        if handles is None:
            return self.lazy
        shapes: list[Shape] = []
        for handle in handles:
            shape = self.node.adapter.shape(handle.variable)
            if shape is None:
                return self.lazy
            shapes.append(_seen(handle, shape))
        return self.source.shape(shapes)

    def read(self, handles: tuple[Handle, ...]) -> Array:
        """The canonical array, a view of the framework's memory where that is possible."""
        adapter = self.node.adapter
        return self.source.read([seen_through(handle, adapter.read(handle.variable)) for handle in handles])

    def write(self, handles: tuple[Handle, ...], value: Array) -> None:
        """Writes a canonical array of the right shape and dtype."""
        adapter = self.node.adapter
        shapes = [_seen(handle, adapter.shape(handle.variable) or ()) for handle in handles]
        for handle, array in zip(handles, self.source.write(value, shapes), strict=True):
            adapter.write(handle.variable, put_through(handle, array))

    def storage(self, handles: tuple[Handle, ...] | None = None) -> tuple[Any, ...]:
        """A key that two tied slots share and no others do; `handles` are its own, where they are known already."""
        handles = self.handles() if handles is None else handles
        return ("absent", id(self.node.native), self.role) if handles is None else self.source.identity(handles)


def _seen(handle: Handle, shape: Shape) -> Shape:
    return shape if handle.axes is None else tuple(shape[axis] for axis in handle.axes)


class Node:
    """One layer or container of the neutral tree.

    Args:
        adapter: the backend's adapter.
        native: the native layer.
        name: the canonical path from the root, whose own name is empty.
        above: the native layers from the root down to this one's parent.
        parent: the layer above; the root has none.
    """

    __slots__ = (
        "above",
        "adapter",
        "children",
        "file_only",
        "key",
        "kind",
        "name",
        "native",
        "opaque",
        "parent",
        "slots",
    )

    def __init__(
        self, adapter: Adapter, native: Any, name: str, key: str, above: tuple[Any, ...], parent: Node | None
    ) -> None:
        self.parent = parent
        self.adapter = adapter
        self.native = native
        self.name = name
        self.key = key
        self.above = above
        self.kind = adapter.kind(native)
        self.children: list[Node] = []
        self.slots: list[Slot] = []
        self.opaque = False
        row = adapter.table.row(type(native))
        self.file_only = row.file_only if row is not None else {}

    def attached(self) -> bool:
        """Whether it is still where it was found, however the model was changed since."""
        node = self
        while node.parent is not None:
            if self.adapter.child(node.parent.native, node.key) is not node.native:
                return False
            node = node.parent
        return True

    def settings(self) -> Mapping[str, Setting]:
        """What decides the layer's function beside its weights."""
        row = self.adapter.table.row(type(self.native))
        return row.settings(self.native) if row is not None and row.settings is not None else {}

    def walk(self) -> Iterator[Node]:
        """This layer and everything below it, parents first."""
        yield self
        for child in self.children:
            yield from child.walk()


class Tree:
    """A native model as the verbs see it.

    Attributes:
        root: the model itself.
        groups: the slots that are one storage, in the order of their first slot; the first is the primary one.
        lazy: some layer has no parameters yet, so that a later walk can see more.
    """

    def __init__(self, adapter: Adapter, model: Any, prefix: str = "", above: tuple[Any, ...] = ()) -> None:
        self.adapter = adapter
        self.model = model
        self.root = _walk(adapter, model, prefix, "", above, None)
        groups: dict[tuple[Any, ...], list[Slot]] = {}
        self.lazy = False
        for node in self.root.walk():
            self.lazy = self.lazy or node.opaque
            for slot in node.slots:
                handles = slot.handles()
                groups.setdefault(slot.storage(handles), []).append(slot)
                self.lazy = self.lazy or handles is None or not slot.valued(handles)
        self.groups = list(groups.values())

    def opaque(self) -> list[Node]:
        """The layers whose parameters cannot be told before their first batch, each once."""
        found: dict[int, Node] = {}
        for node in self.root.walk():
            if node.opaque:
                found.setdefault(id(node.native), node)
        return list(found.values())


def _walk(adapter: Adapter, native: Any, name: str, key: str, above: tuple[Any, ...], parent: Node | None) -> Node:
    node = Node(adapter, native, name, key, above, parent)
    members = adapter.members(native)
    node.opaque = members.opaque
    node.slots = _slots(node, members)
    below = (*above, native)
    taken: dict[str, str] = {slot.role: f"the tensor {slot.role!r}" for slot in node.slots}
    for child_key, child in members.children:
        if any(child is ancestor for ancestor in below):
            continue  # a layer that refers back to its parent is no child of its own
        component = adapter.component(child_key)
        described = f"{type(child).__name__} {child_key!r}"
        if component in taken:
            raise AmbiguousMatchError(
                f"two things in {name or 'the model'!r} are called {component!r}; give one of them another name",
                [taken[component], described],
            )
        taken[component] = described
        node.children.append(_walk(adapter, child, join(name, component), child_key, below, node))
    return node


def _slots(node: Node, members: Members) -> list[Slot]:
    row = node.adapter.table.row(type(node.native))
    sources = row.sources_of(node.native) if row else {}
    slots = _of_row(node, members.parameters, sources, is_buffer=False)
    if row is not None and row.lazy is not None:
        known = {slot.role: slot for slot in slots}
        for role, shape in row.lazy(node.native).items():
            if role in known:
                known[role].lazy = shape
            else:
                slots.append(Slot(node, role, sources.get(role, At(role)), lazy=shape))
    slots += _of_row(node, members.buffers, row.buffers if row else {}, is_buffer=True)
    seen: dict[str, Slot] = {}
    for slot in slots:
        if slot.is_buffer and slot.source.parts[0] in members.transient:
            slot.transient = True
        if slot.role in seen:
            parts = [slot.source.parts[0], seen[slot.role].source.parts[0]]
            raise AmbiguousMatchError(f"two tensors of {node.name or 'the model'!r} are called {slot.role!r}", parts)
        seen[slot.role] = slot
    return slots


def _of_row(node: Node, parts: Any, sources: Any, *, is_buffer: bool) -> list[Slot]:
    """The row's tensors in the row's order, then the layer's own that no row mentions."""
    slots = [
        Slot(node, role, source, is_buffer=is_buffer)
        for role, source in sources.items()
        if all(parts.get(part) is not None for part in source.parts)
    ]
    claimed = {part for slot in slots for part in slot.source.parts}
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
