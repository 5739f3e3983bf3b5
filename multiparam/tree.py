"""The neutral tree: what an adapter's walk over a native model looks like to every verb."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from .adapter import Adapter, Members
from .errors import AmbiguousMatchError
from .kinds import KINDS
from .layout import At, Handle, Source, put_through, seen_through, stand_in
from .names import join
from .steps import Array, Shape
from .table import Fold, LazyShape, Row, Setting

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

    def owner(self, part: str) -> tuple[tuple[Any, ...], str] | None:
        """Who holds a part: the native layers from the slot's own down to it, and the part's name there."""
        adapter, native = self.node.adapter, self.node.native
        *path, name = [part] if adapter.part(native, part) is not None else part.split("/")
        layers = [native]
        for key in path:
            below = adapter.child(layers[-1], key)
            if below is None:
                return None
            layers.append(below)
        return tuple(layers), name

    def handles(self) -> tuple[Handle, ...] | None:
        """The native variables the tensor is made of, now; None while one of them does not exist."""
        adapter, native = self.node.adapter, self.node.native
        found = []
        for part in self.source.parts:
            variable = adapter.part(native, part)
            if variable is None and "/" in part and (owner := self.owner(part)) is not None:
                variable = adapter.part(owner[0][-1], owner[1])
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

    def lead(self) -> int:
        """How many axes a stack of layers has put before the layer's own."""
        handles = self.handles()
        if handles is None or not isinstance(self.source, At):
            return 0
        shape = self.node.adapter.shape(handles[0].variable)
        return 0 if shape is None else self.source.lead(shape)

    def extents(self) -> Shape:
        """The shape of a tensor that has one."""
        return tuple(int(extent or 0) for extent in self.shape() or ())

    def read(self, handles: tuple[Handle, ...]) -> Array:
        """The canonical array, a view of the framework's memory where that is possible."""
        adapter = self.node.adapter
        return self.source.read([seen_through(handle, adapter.read(handle.variable)) for handle in handles])

    def write(self, handles: tuple[Handle, ...], value: Array) -> None:
        """Writes a canonical array of the right shape and dtype."""
        for handle, array in self._apart(handles, value):
            self.node.adapter.write(handle.variable, put_through(handle, array))
        self.node.adapter.written(self.node.native)

    def problem(self, handles: tuple[Handle, ...], value: Array) -> str:
        """Why the layer cannot keep a canonical array of the right shape; empty if it can."""
        kept = self.source.kept(value)
        if kept is not value and np.any(kept != value):
            return f"{self.node.kind} has no place for some of its numbers, which must be 0 here"
        if len({id(handle.variable) for handle in handles}) < len(handles):
            found: dict[int, Array] = {}
            for handle, array in self._apart(handles, value):
                array = put_through(handle, array)
                if not np.array_equal(found.setdefault(id(handle.variable), array), array):
                    return "parts of it are one native tensor, and are given different numbers"
        return ""

    def _apart(self, handles: tuple[Handle, ...], value: Array) -> list[tuple[Handle, Array]]:
        """What each native tensor becomes, as the layer sees it."""
        adapter = self.node.adapter
        if self.source.partial:
            olds = [seen_through(handle, adapter.read(handle.variable)) for handle in handles]
        else:
            olds = [stand_in(_seen(handle, adapter.shape(handle.variable) or ()), value.dtype) for handle in handles]
        return list(zip(handles, self.source.write(value, olds), strict=True))

    def storage(self, handles: tuple[Handle, ...] | None = None) -> tuple[Any, ...]:
        """A key that two tied slots share and no others do; `handles` are its own, where they are known already."""
        handles = self.handles() if handles is None else handles
        return ("absent", *self.place) if handles is None else self.source.identity(handles)

    @property
    def place(self) -> tuple[Any, ...]:
        """A key that two slots share exactly if they are one tensor of one layer object, met under two names."""
        owners = [self.owner(part) for part in self.source.parts]
        held = [(id(owner[0][-1]), owner[1]) for owner in owners if owner is not None]
        return (*held, self.source.form()) if len(held) == len(owners) else (id(self.node.native), self.role)


def _seen(handle: Handle, shape: Shape) -> Shape:
    return shape if handle.axes is None else tuple(shape[axis] for axis in handle.axes)


class Node:
    """One layer or container of the neutral tree.

    Args:
        adapter: the backend's adapter.
        native: the native layer; an inner sublayer's is the layer that it is a part of.
        name: the canonical path from the root, whose own name is empty.
        key: the name within its parent, as the framework has it.
        above: the native layers from the root down to this one's parent.
        parent: the layer above; the root has none.
        inner: the kind, for a canonical sublayer which is no native layer of its own.
    """

    __slots__ = (
        "above",
        "adapter",
        "children",
        "is_inner",
        "key",
        "kind",
        "name",
        "native",
        "opaque",
        "parent",
        "row",
        "slots",
    )

    def __init__(
        self,
        adapter: Adapter,
        native: Any,
        name: str,
        key: str,
        above: tuple[Any, ...],
        parent: Node | None,
        inner: str | None = None,
    ) -> None:
        self.parent = parent
        self.adapter = adapter
        self.native = native
        self.name = name
        self.key = key
        self.above = above
        self.is_inner = inner is not None
        self.kind = adapter.kind(native) if inner is None else inner
        self.row: Row | None = adapter.row(native)
        self.children: list[Node] = []
        self.slots: list[Slot] = []
        self.opaque = False

    @property
    def layer(self) -> Node:
        """The node of the native layer: this one, or for an inner sublayer the one it is a part of."""
        return self.parent if self.is_inner and self.parent is not None else self

    def attached(self) -> bool:
        """Whether it is still where it was found, however the model was changed since."""
        node = self.layer
        while node.parent is not None:
            if self.adapter.child(node.parent.native, node.key) is not node.native:
                return False
            node = node.parent
        return True

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
        """What a file says of the layer: its kind and settings, where the kind is known and no mere container's."""
        known = self.kind in KINDS and self.kind not in ("Sequential", "Lambda")
        return {**({"kind": self.kind} if known else {}), **self.settings()}

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

    def file_only(self) -> tuple[dict[str, Array], list[list[str]]]:
        """What PyTorch has and the model has no place for, and the groups of its names in shared layers."""
        found: dict[str, Array] = {}
        names: dict[tuple[int, str], list[str]] = {}
        for node in self.root.walk():
            for role, value in node.file_only().items():
                found[join(node.name, role)] = value
                names.setdefault((id(node.native), role), []).append(join(node.name, role))
        return found, [group for group in names.values() if len(group) > 1]

    def opaque(self) -> list[Node]:
        """The layers whose parameters cannot be told before their first batch, each once."""
        found: dict[int, Node] = {}
        for node in self.root.walk():
            if node.opaque:
                found.setdefault(id(node.native), node)
        return list(found.values())


Claims = frozenset[tuple[str, ...]]  # paths to native tensors that a layer above has claimed


def _walk(
    adapter: Adapter,
    native: Any,
    name: str,
    key: str,
    above: tuple[Any, ...],
    parent: Node | None,
    claimed: Claims = frozenset(),
) -> Node:
    node = Node(adapter, native, name, key, above, parent)
    members = adapter.members(native)
    node.opaque = members.opaque
    slots = _slots(node, members, claimed)
    node.slots = [slot for slot in slots if slot.node is node]
    node.children = list({id(slot.node): slot.node for slot in slots if slot.node is not node}.values())
    deep = _deep(slots, members, claimed)
    if not members.children:
        return node
    below = (*above, native)
    taken: dict[str, str] = {slot.role: f"the tensor {slot.role!r}" for slot in node.slots}
    taken |= {child.key: f"the part {child.key!r}" for child in node.children}
    for child_key, child in members.children:
        if any(child is ancestor for ancestor in below):
            continue  # a layer that refers back to its parent is no child of its own
        component = adapter.component(child_key)
        claims = frozenset(path[1:] for path in deep if path[0] == child_key) if deep else deep
        made = _walk(adapter, child, join(name, component), child_key, below, node, claims)
        if deep and _empty(made):
            continue  # a part of this layer, or of one above
        described = f"{type(child).__name__} {child_key!r}"
        if component in taken:
            raise AmbiguousMatchError(
                f"two things in {name or 'the model'!r} are called {component!r}; give one of them another name",
                [taken[component], described],
            )
        taken[component] = described
        node.children.append(made)
    return node


def _deep(slots: list[Slot], members: Members, claimed: Claims) -> Claims:
    """The claimed paths, this layer's and those of layers above, that lead into sublayers."""
    own = [part for slot in slots for part in slot.source.parts if "/" in part]
    if not own and not claimed:
        return claimed
    return frozenset(path for path in (*(_path(part, members) for part in own), *claimed) if len(path) > 1)


def _empty(node: Node) -> bool:
    return not any(one.slots or one.opaque for one in node.walk())


def _path(part: str, members: Members) -> tuple[str, ...]:
    """Where a part lies; the name of a layer's own tensor may hold a slash."""
    return (part,) if part in members.parameters or part in members.buffers else tuple(part.split("/"))


def _slots(node: Node, members: Members, claimed: Claims) -> list[Slot]:
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
    slots = _of_row(node, members.parameters, sources, is_buffer=False)
    if row is not None and row.lazy is not None:
        known = {slot.role: slot for slot in slots}
        for role, shape in (row.lazy(node.native) or {}).items():
            if role in known:
                known[role].lazy = shape
            elif role in sources or not claimed:
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
    return _into_inner(node, slots) if row is not None and row.inner else slots


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
                inner[key] = Node(node.adapter, node.native, join(node.name, key), key, node.above, node, kind)
            slot = Slot(inner[key], role, slot.source, lazy=slot.lazy)
            inner[key].slots.append(slot)
        moved.append(slot)
    return moved


def _of_row(node: Node, parts: Any, sources: Any, *, is_buffer: bool) -> list[Slot]:
    """The row's tensors in the row's order, then the layer's own that no row mentions."""
    slots = []
    for role, source in sources.items():
        slot = Slot(node, role, source, is_buffer=is_buffer)
        if all(parts.get(part) is not None for part in source.parts) or (
            not is_buffer and any("/" in part for part in source.parts) and slot.handles() is not None
        ):
            slots.append(slot)
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
