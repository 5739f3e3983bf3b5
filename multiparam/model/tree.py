"""The neutral tree: what an adapter's walk over a native model looks like to every verb."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np

from ..adapter.base import Adapter, Computed, Members
from ..adapter.registry import foreign
from ..arrays.types import Array, Shape
from ..errors import AmbiguousMatchError
from ..gc_pause import uncollected
from ..layer_table.kinds import KINDS
from ..layer_table.layout import At, Handle, Source, put_through, seen_through, stand_in
from ..layer_table.settings import plain
from ..layer_table.stacks import UNTOLD, Axes, stack_axes
from ..layer_table.table import Fold, LazyShape, Row, Setting
from ..names.pattern import join

__all__ = ["Node", "Slot", "Tree", "changed", "epoch", "own_slots"]

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
        optional: the files of other frameworks need not have it.
        lazy: for a tensor that does not exist yet, what is known of its shape.
    """

    __slots__ = ("computed", "is_buffer", "lazy", "name", "node", "optional", "role", "source", "transient")

    def __init__(
        self,
        node: Node,
        role: str,
        source: Source,
        *,
        is_buffer: bool = False,
        transient: bool = False,
        optional: bool = False,
        lazy: LazyShape = None,
    ) -> None:
        self.node = node
        self.role = role
        self.source = source
        self.is_buffer = is_buffer
        self.transient = transient
        self.optional = optional
        self.computed: Computed | None = None  # for a tensor that the layer computes from parameters
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
            found.append(_handle(variable))
        return tuple(found)

    def made_of(self, members: Members) -> tuple[Handle, ...] | None:
        """As `handles`, where what the layer directly holds is known already."""
        held, parts = members.buffers if self.is_buffer else members.parameters, self.source.parts
        if len(parts) == 1:  # as nearly always
            one = held.get(parts[0])
            return self.handles() if one is None else (_handle(one),)
        found = [held.get(part) for part in parts]
        for variable in found:
            if variable is None:
                return self.handles()
        return tuple(map(_handle, found))

    def check_reachable(self, handles: tuple[Handle, ...]) -> None:
        """Raises UnsupportedError if this process has not all of the tensor's numbers."""
        adapter = self.node.adapter
        for handle in handles:
            if why := adapter.unreachable(handle.variable):
                raise adapter.unsupported(f"reading or writing {self.name!r}", why)

    def advice(self) -> str:
        """What gives the tensor numbers, which it has none of yet."""
        handles = self.handles() or ()
        found = filter(None, (self.node.adapter.abstract(handle.variable) for handle in handles))
        return next(found, "call multiparam.materialize(net, sample) or run the model once")

    @property
    def abstract(self) -> bool:
        """Whether the tensor has no numbers, and no batch gives it any."""
        handles = self.handles() or ()
        return any(self.node.adapter.abstract(handle.variable) for handle in handles)

    def ready(self) -> tuple[Handle, ...] | None:
        """As `handles`, and None too while one of them has no value."""
        handles = self.handles()
        return handles if handles is not None and self.valued(handles) else None

    def valued(self, handles: tuple[Handle, ...]) -> bool:
        """Whether each of the variables has a value."""
        initialized = self.node.adapter.initialized
        # a loop, since a generator takes longer than all else here
        for handle in handles:  # noqa: SIM110
            if not initialized(handle.variable):
                return False
        return True

    def shape(self) -> LazyShape:
        """The canonical shape; for a lazy tensor what is known of it."""
        handles = self.handles()
        return self.lazy if handles is None else self.shape_of(handles)

    def shape_of(self, handles: tuple[Handle, ...]) -> LazyShape:
        """As `shape`, given its own variables."""
        shapes = self._shapes(handles)
        return self.lazy if shapes is None else self.source.shape(shapes)

    def _shapes(self, handles: tuple[Handle, ...]) -> list[Shape] | None:
        """The shapes of the variables, as the layer sees them."""
        shapes: list[Shape] = []
        for handle in handles:
            shape = self.node.adapter.shape(handle.variable)
            if shape is None:
                return None
            shapes.append(_seen(handle, shape))
        return shapes

    def dtype_of(self, handles: tuple[Handle, ...]) -> np.dtype[Any]:
        """The dtype, given its own variables."""
        return self.node.adapter.dtype(handles[0].variable)

    def lead(self) -> int:
        """How many axes a stack of layers has put before the layer's own."""
        handles = self.handles()
        shapes = None if handles is None else self._shapes(handles)
        return 0 if shapes is None else self.source.lead(shapes)

    def layer_shape(self) -> LazyShape:
        """The canonical shape in one layer of a stack, and of a layer by itself."""
        shape = self.shape()
        return None if shape is None else shape[self.lead() :]

    def extents(self) -> Shape:
        """The shape of a tensor that has one."""
        return tuple(int(extent or 0) for extent in self.shape() or ())

    def read(self, handles: tuple[Handle, ...]) -> Array:
        """The canonical array, a view of the framework's memory where that is possible."""
        adapter = self.node.adapter
        self.check_reachable(handles)
        return self.source.read([seen_through(handle, adapter.read(handle.variable)) for handle in handles])

    def memory(self) -> Array | None:
        """The framework's own memory, writable, where the canonical tensor lies there as it is; else None."""
        handles = self.ready() if self.source.is_plain else None
        if handles is None or handles[0].axes is not None:
            return None
        self.check_reachable(handles)
        return self.node.adapter.memory(handles[0].variable)

    def write(self, handles: tuple[Handle, ...], value: Array) -> None:
        """Writes a canonical array of the right shape and dtype."""
        for handle, array in self._apart(handles, value):
            self.node.adapter.write(handle.variable, put_through(handle, array))
        self.node.adapter.written(self.node.native)

    def places(self, handles: tuple[Handle, ...], value: Array) -> list[tuple[Array, Array]] | None:
        """As `write`, left to the caller: what has to be copied into which memory; None where that is not enough."""
        if self.source.partial:
            return None  # what another slot writes beside it would be overwritten
        found = []
        for handle, array in self._apart(handles, value):
            there = self.node.adapter.memory(handle.variable)
            if there is None:
                return None
            found.append((put_through(handle, array), there))
        return found

    def unwritable(self, handles: tuple[Handle, ...]) -> str:
        """Why nothing can be written; empty if something can."""
        return next(filter(None, (self.node.adapter.unwritable(handle.variable) for handle in handles)), "")

    def any_shape(self, handles: tuple[Handle, ...]) -> bool:
        """Whether it takes numbers of any shape and dtype."""
        return self.is_buffer and any(self.node.adapter.any_shape(handle.variable) for handle in handles)

    def keeps_all(self, handles: tuple[Handle, ...]) -> bool:
        """Whether the layer can keep any array of the right shape."""
        return self.source.keeps_all and len({id(handle.variable) for handle in handles}) == len(handles)

    def problem(self, handles: tuple[Handle, ...], value: Array) -> str:
        """Why the layer cannot keep a canonical array of the right shape; empty if it can."""
        if why := self.unwritable(handles):
            return why
        if self.keeps_all(handles):
            return ""
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
        self.check_reachable(handles)
        if self.source.is_plain:
            return [(handles[0], value)]
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
        "_kind",
        "above",
        "adapter",
        "children",
        "extras",
        "is_inner",
        "key",
        "name",
        "native",
        "opaque",
        "parent",
        "row",
        "slots",
        "untold",
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
        self._kind = inner
        self.untold = ""  # why its rows cannot be told to be canonical ones
        self.row: Row | None = adapter.row(native)
        self.children: list[Node] = []
        self.slots: list[Slot] = []
        self.opaque = False
        self.extras: Mapping[str, Any] = {}

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
        while node.parent is not None:
            if (
                unwrapped(node.parent.adapter, node.parent.adapter.child(node.parent.native, node.key))[0]
                is not node.native
            ):
                return False
            node = node.parent
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
        yield self
        for child in self.children:
            yield from child.walk()


def unwrapped(adapter: Adapter, native: Any) -> tuple[Any, list[Any]]:
    """A layer or model without the wrappers around it, and these."""
    wrappers: list[Any] = []
    while native is not None and (inside := adapter.wrapped(native)) is not None:
        wrappers.append(native)
        native = inside
    return native, wrappers


class Tree:
    """A native model as the verbs see it.

    Attributes:
        root: the model itself.
        primary: the slots in the model's order, of those that are one storage the first.
        lazy: some layer has no parameters yet, so that a later walk can see more.
    """

    def __init__(self, adapter: Adapter, model: Any, prefix: str = "", above: tuple[Any, ...] = ()) -> None:
        self.adapter = adapter
        self.model = model
        walk = _Walk(adapter)
        with uncollected():
            inside, wrappers = unwrapped(adapter, model)
            self.root = walk.visit(inside, prefix, "", above, None, wrappers=wrappers)
        self.primary = list(walk.first.values())
        self.lazy = walk.lazy
        self._others = {walk.first[key].name: slots for key, slots in walk.others.items()}
        self._marks = walk.marks

    def group(self, primary: Slot) -> list[Slot]:
        """All slots of a storage, given the first."""
        return [primary, *self._others.get(primary.name, ())]

    @property
    def has_ties(self) -> bool:
        """Whether some slots are one storage."""
        return bool(self._others)

    @property
    def groups(self) -> list[list[Slot]]:
        """The slots that are one storage, in the order of their first."""
        return [self.group(slot) for slot in self.primary]

    def check_reachable(self) -> None:
        """Raises UnsupportedError if this process has not all of the model's numbers."""
        for slot in self.primary:
            slot.check_reachable(slot.handles() or ())

    def stands(self) -> bool:
        """Whether a new walk would find the same, nothing being lazy."""
        return all(_mark(adapter.members(native)) == mark for adapter, native, mark in self._marks)

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


class _Walk:
    """A walk over a native model.

    Attributes:
        first: the slots met, the first one of each storage.
        others: the further slots of the storages that have several.
        lazy: something has no parameters or no numbers yet.
        marks: each native layer with its adapter, and what it held.
    """

    def __init__(self, adapter: Adapter) -> None:
        self._adapter = adapter
        self._adapters: dict[type, Adapter] = {}
        self.first: dict[Any, Slot] = {}
        self.others: dict[Any, list[Slot]] = {}
        self.lazy = False
        self.marks: list[tuple[Adapter, Any, Any]] = []

    def visit(
        self,
        native: Any,
        name: str,
        key: str,
        above: tuple[Any, ...],
        parent: Node | None,
        claimed: Claims = frozenset(),
        wrappers: Sequence[Any] = (),
    ) -> Node:
        adapter = self._adapter_of(native, self._adapter if parent is None else parent.adapter)
        node = Node(adapter, native, name, key, above, parent)
        members = adapter.members(native)
        self.marks.append((adapter, native, _mark(members)))
        node.opaque = members.opaque
        node.extras = members.extras
        slots = own_slots(node, members, claimed)
        if node.row is not None and node.row.inner:
            node.slots = [slot for slot in slots if slot.node is node]
            node.children = list({id(slot.node): slot.node for slot in slots if slot.node is not node}.values())
        else:
            node.slots = slots
        self._meet(node, members)
        if members.children:
            self._visit_children(node, members, _deep(slots, members, claimed))
        for wrapper in wrappers:
            self._add_own(wrapper, node)
        return node

    def _add_own(self, wrapper: Any, node: Node) -> None:
        """Adds what a wrapper keeps beside the tensors of what it wraps, a count of its own say."""
        adapter = self._adapter_of(wrapper, self._adapter)
        around = Node(adapter, wrapper, node.name, node.key, node.above, node.parent)
        whole = adapter.members(wrapper)
        members = replace(whole, children=())
        self.marks.append((adapter, wrapper, _mark(whole)))
        around.slots = own_slots(around, members)
        taken = {*(slot.role for slot in node.slots), *(child.key for child in node.children)}
        for slot in around.slots:
            if slot.role in taken:
                raise AmbiguousMatchError(
                    f"{node.name or 'the model'!r} and the {around.kind} around it both have a {slot.role!r}",
                    [f"that of {node.kind}", f"that of {around.kind}"],
                )
        self._meet(around, members)
        node.slots = [*node.slots, *around.slots]

    def _adapter_of(self, native: Any, around: Adapter) -> Adapter:
        """The adapter of a layer, which may be another framework's than what it lies in."""
        native_type: type = type(native)
        found = self._adapters.get(native_type)
        if found is None:
            found = self._adapters[native_type] = foreign(native, around) or around
        return found

    def _meet(self, node: Node, members: Members) -> None:
        """Sorts a layer's slots into the storages."""
        self.lazy = self.lazy or node.opaque
        for one in (node, *node.children):
            for slot in one.slots:
                handles = slot.made_of(members)
                if handles is None or not slot.valued(handles):
                    self.lazy = True
                key = slot.storage(handles)
                if self.first.setdefault(key, slot) is not slot:
                    self.others.setdefault(key, []).append(slot)

    def _visit_children(self, node: Node, members: Members, deep: Claims) -> None:
        below = (*node.above, node.native)
        above = frozenset(map(id, below))
        taken: dict[str, Any] = {slot.role: slot for slot in node.slots}
        taken |= {child.key: child for child in node.children}
        for key, held in members.children:
            child, wrappers = unwrapped(node.adapter, held)
            if id(child) in above:
                continue  # a layer that refers back to its parent is no child of its own
            component = node.adapter.component(key)
            claims = frozenset(path[1:] for path in deep if path[0] == key) if deep else deep
            made = self.visit(child, join(node.name, component), key, below, node, claims, wrappers)
            if deep and _empty(made):
                continue  # a part of this layer, or of one above
            if component in taken:
                raise AmbiguousMatchError(
                    f"two things in {node.name or 'the model'!r} are called {component!r}; "
                    f"give one of them another name",
                    [_described(taken[component]), _described(made)],
                )
            taken[component] = made
            node.children.append(made)


def _mark(members: Members) -> tuple[Any, ...]:
    """What tells a layer's contents from others."""
    parameters, buffers, children = members.parameters, members.buffers, members.children
    return (
        len(parameters),
        *parameters,
        *map(_identity, parameters.values()),
        *((*buffers, *map(_identity, buffers.values()), *members.transient) if buffers else ()),
        members.opaque,
        *((one for key, child in children for one in (key, id(child))) if children else ()),
    )


def _identity(variable: Any) -> Any:
    return (id(variable.variable), variable.axes) if isinstance(variable, Handle) else id(variable)


def _described(thing: Slot | Node) -> str:
    if isinstance(thing, Slot):
        return f"the tensor {thing.role!r}"
    return f"the part {thing.key!r}" if thing.is_inner else f"{type(thing.native).__name__} {thing.key!r}"


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


def own_slots(node: Node, members: Members, claimed: Claims = frozenset()) -> list[Slot]:
    """The tensors that a layer has itself, given what it holds and what layers above have claimed of it."""
    row = node.row
    axes, shapes = _stack(node, members)
    if axes is None:
        node.take_own_names(UNTOLD)
        row = None
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
                slots.append(Slot(node, role, sources.get(role, _at(role)), lazy=shape))
    if members.buffers:
        slots += _of_row(node, members.buffers, _stacked(row.buffers if row else {}, axes, shapes), is_buffer=True)
        _check_buffers(node, members, slots)
    return _into_inner(node, slots) if row is not None and row.inner else slots


def _stack(node: Node, members: Members) -> tuple[Axes | None, dict[str, Shape]]:
    """Which axes of a layer's native tensors count layers, as `stack_axes` tells, and all the tensors' shapes."""
    row = node.row
    if row is None or row.shapes is None:
        return {}, {}
    adapter, declared = node.adapter, dict(row.shapes(node.native))
    sources = [*row.sources_of(node.native).values(), *row.buffers.values()]
    shapes: dict[str, Shape] = {}
    for part in dict.fromkeys(part for source in sources for part in source.parts):
        found = members.parameters.get(part, members.buffers.get(part))
        if found is None and "/" in part:
            owner = Slot(node, part, _at(part)).owner(part)
            found = None if owner is None else adapter.part(owner[0][-1], owner[1])
            below = None if owner is None else adapter.row(owner[0][-1])
            if owner is not None and below is not None and below.shapes is not None:
                declared.setdefault(part, below.shapes(owner[0][-1]).get(owner[1]))
        handle = None if found is None else _handle(found)
        shape = None if handle is None else adapter.shape(handle.variable)
        if handle is not None and shape is not None:
            shapes[part] = _seen(handle, shape)
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
                inner[key] = Node(node.adapter, node.native, join(node.name, key), key, node.above, node, kind)
            state = {"is_buffer": slot.is_buffer, "transient": slot.transient}
            slot = Slot(inner[key], role, slot.source, lazy=slot.lazy, **state)
            inner[key].slots.append(slot)
        moved.append(slot)
    return moved


def _of_row(node: Node, parts: Mapping[str, Any], sources: Mapping[str, Source], *, is_buffer: bool) -> list[Slot]:
    """The row's tensors in the row's order, then the layer's own that no row mentions."""
    if not sources:
        return [Slot(node, part, _at(part), is_buffer=is_buffer) for part, one in parts.items() if one is not None]
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
        slots.append(Slot(node, part, _at(part), is_buffer=is_buffer))
    return slots


def _has_all(parts: Mapping[str, Any], source: Source) -> bool:
    # a loop, since most have one part and a generator takes longer than all else here
    for part in source.parts:  # noqa: SIM110
        if parts.get(part) is None:
            return False
    return True


def _handle(variable: Any) -> Handle:
    return variable if isinstance(variable, Handle) else Handle(variable)


_at = lru_cache(maxsize=1024)(At)
