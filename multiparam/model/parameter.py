"""One parameter as users see it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..adapter.base import Adapter
from ..adapter.capabilities import Freezes
from ..adapter.registry import recognized
from ..arrays.dtypes import ReadOnlyArray, checked, converted, frozen
from ..arrays.types import Array
from ..errors import (
    ArgumentError,
    MismatchError,
    MismatchReport,
    UninitializedError,
    UnsupportedError,
)
from ..html import histogram, page, table
from ..layer_table.kinds import Fans, fans
from ..layer_table.layout import Handle, seen_through
from ..layer_table.table import LazyShape
from ..names.pattern import Pattern, matcher
from .slot import Slot

__all__ = ["Parameter"]


class Parameter:
    """One canonical tensor of a model, live: every access goes to the framework's own object.

    Reads give read-only arrays in the canonical (PyTorch's) layout; `p[...] = value` and `assign` write through,
    unrecorded by autograd, and keep dtype, device and trainability.

    >>> import multiparam as mp
    >>> p = mp.parameters(mp.nn.Linear(4, 8, backend="numpy"))["weight"]
    >>> p.shape, str(p.dtype), p.kind, p.role
    ((8, 4), 'float32', 'Linear', 'weight')
    >>> p[:] = 1
    >>> p[0, 0] = 42
    >>> p[0]
    ReadOnlyArray([42.,  1.,  1.,  1.], dtype=float32)
    """

    __slots__ = ("__weakref__", "_layer", "_model", "_others", "_slot")

    def __init__(self, model: Any, group: Sequence[Slot], layer: Callable[[Slot], Any]) -> None:
        self._model = model
        self._slot, *others = group
        self._others = tuple(others)
        self._layer = layer

    # --- what it is --------------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """The canonical name; for a tied parameter the first one in the model's order."""
        return self._slot.name

    @property
    def aliases(self) -> tuple[str, ...]:
        """The other names of a tied parameter."""
        return tuple(slot.name for slot in self._others)

    @property
    def role(self) -> str:
        """What the tensor is in its layer, `"weight"` or `"bias"`."""
        return self._slot.role

    @property
    def kind(self) -> str:
        """The kind of its layer, `"Linear"`; for a layer of no known kind its class's name."""
        return self._slot.node.kind

    @property
    def layer(self) -> Any:
        """The layer that owns it, as in `multiparam.layers`."""
        return self._layer(self._slot)

    @property
    def native(self) -> Any:
        """The framework's own object; a tuple where the tensor is made of several; None before it exists."""
        handles = self._slot.look()
        if handles is None:
            return None
        natives = tuple(self._adapter.native(handle.variable) for handle in handles)
        return natives[0] if len(natives) == 1 else natives

    @property
    def shape(self) -> LazyShape:
        """The canonical shape; where it is lazy None for an unknown axis, or None altogether."""
        self._slot.look()
        return self._slot.shape()

    @property
    def dtype(self) -> np.dtype[Any]:
        """The numpy dtype (bfloat16 and float8 through ml_dtypes)."""
        return self._adapter.dtype(self._handles("has no dtype")[0].variable)

    @property
    def device(self) -> str:
        """Where it lies, in the framework's own words."""
        return self._adapter.device(self._handles("lies on no device")[0].variable)

    @property
    def initialized(self) -> bool:
        """Whether it has a value; a lazy one has none before the first batch."""
        self._slot.look()
        return self._slot.ready() is not None

    @property
    def trainable(self) -> bool:
        """Whether optimizers may change it; settable, where the backend can freeze.

        Raises:
            MismatchError: it is made of several native tensors, and they differ.
            UnsupportedError: (set) the backend cannot freeze, or it is a buffer.
        """
        self._slot.look()
        return self.is_trainable()

    @trainable.setter
    def trainable(self, value: bool) -> None:
        adapter, handles = self._freezable(value)
        for position, handle in enumerate(handles):
            for slot in self.slots:
                below, _ = slot.node.owner_now(slot.source.parts[position]) or ((slot.node.native,), "")
                adapter.set_trainable(self._model, (*slot.node.above, *below), handle.variable, bool(value))

    def _freezable(self, value: Any) -> tuple[Freezes, tuple[Handle, ...]]:
        """What is frozen or thawed, if it can be, and who does it."""
        if not isinstance(value, (bool, np.bool_)):
            raise ArgumentError(f".trainable is True or False, not {value!r}")
        if self._slot.is_buffer:
            raise UnsupportedError(self._adapter.name, "trainable", f"{self.name!r} is a buffer, which nothing trains")
        return self._adapter.require(Freezes), self._handles("cannot be frozen or thawed")

    # --- its numbers -------------------------------------------------------------------------------------------

    @property
    def value(self) -> Array:
        """A snapshot of the numbers, a read-only array in canonical layout.

        Raises:
            UninitializedError: a lazy parameter has no value yet.
        """
        return frozen(np.array(self._slot.read(self._handles("has no value"))))

    @property
    def grad(self) -> Array | None:
        """The gradient in canonical layout, a read-only snapshot; None before there is one."""
        slot = self._slot
        slot.look()
        if (handles := slot.ready()) is None:
            return None
        slot.check_reachable(handles)
        parts = []
        for part, handle in zip(slot.source.parts, handles, strict=True):
            gradient = slot.grad(part, handle)
            if gradient is None:
                return None
            parts.append(seen_through(handle, gradient))
        return frozen(np.array(slot.source.read(parts)))

    def assign(self, value: Any) -> None:
        """Sets all numbers at once.

        Args:
            value: an array of exactly the parameter's shape, of the same or a lower kind of dtype (an integer array
                fits a float parameter, not the reverse).

        Raises:
            MismatchError: shape or kind of dtype differ, or the layer has no place for some of the numbers; nothing
                was written.
            UninitializedError: a lazy parameter has no shape yet.
        """
        self._slot.look()
        self.put(value)

    def __getitem__(self, index: Any) -> Any:
        taken = self._slot.read(self._handles("has no value"))[index]
        return frozen(np.array(taken).view(ReadOnlyArray)) if isinstance(taken, np.ndarray) else taken

    def __setitem__(self, index: Any, value: Any) -> None:
        handles = self._handles("cannot be set")
        dtype = self._slot.dtype_of(handles)
        array = converted(self.name, self._checked(value, dtype), dtype)
        whole = np.array(self._slot.read(handles))
        try:
            whole[index] = array
        except ValueError as error:
            target = whole[index].shape
            raise MismatchError(
                f"cannot write {self.name!r}", MismatchReport(misshaped=[(self.name, target, array.shape)])
            ) from error
        self._write(handles, whole)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        if copy is False:
            raise ValueError("a parameter's value is always a copy")
        return np.array(self.value, dtype=dtype)

    def __bool__(self) -> bool:
        return True  # it is there, whatever its length

    def __len__(self) -> int:
        shape = self.shape
        if not shape or shape[0] is None:
            raise TypeError(f"{self.name!r} of shape {shape} has no length")
        return shape[0]

    def __repr__(self) -> str:
        ready = self.initialized
        about = [f"{self.name!r}", f"shape={self.shape}", str(self.dtype) if ready else "uninitialized", self.kind]
        if not self._slot.is_buffer and not self.trainable:
            about.append("frozen")
        if self.aliases:
            about.append(f"tied to {', '.join(self.aliases)}")
        return f"Parameter({', '.join(about)})"

    def _repr_html_(self) -> str:
        shown: list[tuple[object, ...]] = [(word, getattr(self, word)) for word in ("kind", "role", "shape")]
        if self.initialized:
            shown += [("dtype", self.dtype), ("device", self.device), ("values", histogram(self.value, 240, 48))]
            gradient = self.grad
            shown += [] if gradient is None else [("gradient", histogram(gradient, 240, 48))]
        else:
            shown.append(("values", "none before the first batch"))
        shown.append(("trainable", "no" if not self.trainable else "yes"))
        shown += [("tied to", ", ".join(self.aliases))] if self.aliases else []
        return page(table(("", ""), shown, caption=self.name))

    def _fitting(self, value: Any) -> tuple[tuple[Handle, ...], Array]:
        """Where a value goes, and the value as it is written there, if it fits."""
        handles = self._found("cannot be set")
        dtype, shape = self._slot.dtype_of(handles), self._slot.shape_of(handles)
        array = self._checked(value, dtype)
        if array.shape != shape:
            raise MismatchError(
                f"cannot write {self.name!r}", MismatchReport(misshaped=[(self.name, shape, array.shape)])
            )
        return handles, converted(self.name, array, dtype)

    def _write(self, handles: tuple[Handle, ...], value: Array) -> None:
        self._check_kept(handles, value)
        self._slot.write(handles, value)

    def _check_kept(self, handles: tuple[Handle, ...], value: Array) -> None:
        if why := self._slot.problem(handles, value):
            raise MismatchError(f"cannot write {self.name!r}: {why}", MismatchReport())

    def _checked(self, value: Any, dtype: np.dtype[Any]) -> Array:
        owner = None if isinstance(value, (np.ndarray, np.generic, list, tuple)) else recognized(value)
        native = owner is not None and owner.is_tensor(value)
        return checked(self.name, owner.array(value) if owner is not None and native else value, dtype)

    def fans(self) -> Fans:
        """How many inputs feed one output of it, and how many outputs one input feeds; of a stack, in one layer.

        Raises:
            ArgumentError: it has fewer than two axes.
        """
        self._slot.look()
        return self.found_fans()

    # --- for the verbs -----------------------------------------------------------------------------------------

    def found_fans(self) -> Fans:
        """As `fans`, where the walk found it."""
        groups = self._slot.node.settings().get("groups", 1)
        shape = tuple(int(extent or 0) for extent in self._slot.layer_shape() or ())
        return fans(shape, self.kind, self.role, groups if isinstance(groups, int) else 1)

    def put(self, value: Any) -> None:
        """As `assign`, where the walk found it."""
        self._write(*self._fitting(value))

    def is_trainable(self) -> bool:
        """As `trainable`, where the walk found it."""
        if self._slot.is_buffer:
            return False
        handles, adapter = self._slot.handles(), self._adapter
        if handles is None or not isinstance(adapter, Freezes):
            return True
        states = {adapter.trainable(handle.variable) for handle in handles}
        if len(states) > 1:
            raise MismatchError(
                f"{self.name!r} is made of {len(handles)} native tensors, of which some are trainable and some are "
                f"not; set .trainable to make them agree",
                MismatchReport(),
            )
        return states.pop()

    @property
    def slot(self) -> Slot:
        """Its primary place in the neutral tree."""
        return self._slot

    @property
    def slots(self) -> list[Slot]:
        """All its places, the primary one first."""
        return [self._slot, *self._others]

    @property
    def model(self) -> Any:
        """The native model that it was reached through."""
        return self._model

    def matches(self, pattern: Pattern) -> bool:
        """Whether its name or another name of it is the pattern, or matches it."""
        names = (self.name, *self.aliases)
        full = matcher(pattern).fullmatch
        return pattern in names or any(full(name) for name in names)

    def is_at(self, name: str) -> bool:
        """Whether one of its names still leads to it, however the model was changed since."""
        first = self._slot
        if name == first.name:
            return first.node.attached()
        other = next(slot for slot in self._others if slot.name == name)
        if not (first.node.attached() and other.node.attached()):
            return False
        first.look()
        other.look()
        return bool(other.storage() == first.storage())

    def follow(self, group: Sequence[Slot]) -> bool:
        """Takes over the slots of a later walk, if the primary one is still the same place."""
        first, own = group[0], self._slot
        same = first.node.native is own.node.native and first.name == own.name
        if not same and first.place != own.place:
            return False
        self._slot, *others = group
        self._others = tuple(others)
        return True

    @property
    def _adapter(self) -> Adapter:
        return self._slot.node.adapter

    def _handles(self, problem: str) -> tuple[Handle, ...]:
        self._slot.look()
        return self._found(problem)

    def _found(self, problem: str) -> tuple[Handle, ...]:
        """As `_handles`, where the walk found them."""
        handles = self._slot.ready()
        if handles is None:
            when = "yet" if self._slot.abstract else "before its layer has seen a batch"
            raise UninitializedError(f"{self.name!r} {problem} {when}: {self._slot.advice()}")
        return handles
