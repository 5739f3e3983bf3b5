"""The place of one canonical tensor in a model."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from ..adapter.capabilities import Computed, Differentiates, KeepsOwnState
from ..arrays.types import Array, Shape
from ..layer_table.layout import Handle, Source, put_through, seen_through, stand_in
from ..layer_table.table import LazyShape
from ..names.pattern import join

if TYPE_CHECKING:  # which makes its slots when they are asked for
    from .node import Node

__all__ = ["Slot", "as_handle", "seen"]

_UNSEEN: Any = object()


class Slot:
    """The place of one canonical tensor: an owner layer and a role.

    What it is made of is what the walk found; `look` asks the framework anew.

    Args:
        node: the owner.
        role: the tensor's canonical name within its owner, `"weight"`.
        source: how it is made of the owner's native tensors.
        is_buffer: running statistics and other state that no optimizer trains.
        transient: not part of a saved model.
        optional: the files of other frameworks need not have it.
        lazy: for a tensor that does not exist yet, what is known of its shape.
        computed: for a tensor that the layer computes from parameters, what the adapter says of it.
    """

    __slots__ = (
        "_handles",
        "computed",
        "is_buffer",
        "lazy",
        "name",
        "node",
        "optional",
        "role",
        "source",
        "transient",
    )

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
        computed: Computed | None = None,
    ) -> None:
        self.node = node
        self.role = role
        self.source = source
        self.is_buffer = is_buffer
        self.transient = transient
        self.optional = optional
        self.computed = computed
        self.lazy = lazy
        self.name = join(node.name, role)
        self._handles: tuple[Handle, ...] | None = _UNSEEN

    def owner(self, part: str) -> tuple[tuple[Any, ...], str] | None:
        """Who holds a part: the native layers from the slot's own down to it, and the part's name there."""
        return self.node.owner(part)

    def handles(self) -> tuple[Handle, ...] | None:
        """The native variables the tensor is made of, as the walk found them; None while one of them does not exist."""
        if self._handles is _UNSEEN:
            self._handles = self._made_of(self._found)
        return self._handles

    def look(self) -> tuple[Handle, ...] | None:
        """As `handles`, as it is now, however the model was changed since the walk."""
        self._handles = self._made_of(self.node.look)
        return self._handles

    def _found(self, part: str) -> Any:
        return self.node.find(part, self.is_buffer)

    def _made_of(self, find: Callable[[str], Any]) -> tuple[Handle, ...] | None:
        if self.computed is not None:
            return None if self.computed.variable is None else (as_handle(self.computed.variable),)
        found = []
        for part in self.source.parts:
            variable = find(part)
            if variable is None:
                return None
            found.append(as_handle(variable))
        return tuple(found)

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
            shapes.append(seen(handle, shape))
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
        adapter = self.node.adapter
        if not (self.is_buffer and isinstance(adapter, KeepsOwnState)):
            return False
        return any(adapter.any_shape(handle.variable) for handle in handles)

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
            olds = [stand_in(seen(handle, adapter.shape(handle.variable) or ()), value.dtype) for handle in handles]
        return list(zip(handles, self.source.write(value, olds), strict=True))

    def grad(self, part: str, handle: Handle) -> Array | None:
        """The gradient that one of its variables has now, or None."""
        adapter = self.node.adapter
        if not isinstance(adapter, Differentiates):
            return None
        found = adapter.grad(handle.variable)
        if found is None and (owner := self.node.owner_now(part)) is not None:
            found = (adapter.gradients_of.get(owner[0][-1]) or {}).get(owner[1])
        return found

    def set_grad(self, part: str, handle: Handle, value: Array | None) -> None:
        """Keeps the gradient of one of its variables, or forgets it."""
        adapter = self.node.adapter
        if not isinstance(adapter, Differentiates) or adapter.set_grad(handle.variable, value):
            return
        if (owner := self.owner(part)) is None:
            return
        kept = adapter.gradients_of.made(owner[0][-1], dict)
        if value is None:
            kept.pop(owner[1], None)
        else:
            kept[owner[1]] = value

    def storage(self) -> Any:
        """A key that two tied slots share and no others do."""
        handles = self.handles()
        return ("absent", *self.place) if handles is None else self.source.identity(handles)

    @property
    def place(self) -> tuple[Any, ...]:
        """A key that two slots share exactly if they are one tensor of one layer object, met under two names."""
        owners = [self.owner(part) for part in self.source.parts]
        held = [(id(owner[0][-1]), owner[1]) for owner in owners if owner is not None]
        return (*held, self.source.form()) if len(held) == len(owners) else (id(self.node.native), self.role)


def seen(handle: Handle, shape: Shape) -> Shape:
    """A variable's shape as the layer sees it."""
    return shape if handle.axes is None else tuple(shape[axis] for axis in handle.axes)


def as_handle(variable: Any) -> Handle:
    """What `members` lists as a handle, which it is or is a variable's own."""
    return variable if isinstance(variable, Handle) else Handle(variable)
