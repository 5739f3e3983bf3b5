"""What a backend implements: `Adapter`, and what its methods give."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar, overload

import numpy as np

from ..arrays.copying import copy
from ..arrays.types import Array, Shape
from ..errors import UnsupportedError
from ..layer_table.kinds import image_ranks
from ..layer_table.table import LayerTable, Row
from ..names.pattern import escape
from .attributes import is_container
from .members import Members, same_members
from .plugin import Capability, Plugin

__all__ = ["Adapter", "Inventory", "LeftOut"]

C = TypeVar("C", bound="Adapter")


@dataclass(frozen=True)
class LeftOut:
    """What a framework saves of a model, and no file of tensors can have.

    Attributes:
        what: what it is, `"a dict"`.
        weights: numbers of the model's weights are in it, so that a file without it would not be the model.
    """

    what: str
    weights: bool = False

    @classmethod
    def of(cls, thing: Any, where: str = "", weights: bool = False) -> LeftOut:
        """What is said of a Python object.

        >>> LeftOut.of({"a": 1}).what, LeftOut.of(3, " in a list").what, LeftOut.of(None).what
        ('a dict', 'an int in a list', 'None')
        """
        name = type(thing).__name__
        article = "an" if name[0].lower() in "aeiou" else "a"
        return cls(f"{'None' if thing is None else f'{article} {name}'}{where}", weights)


@dataclass(frozen=True)
class Inventory:
    """What a framework's own saver keeps of a model.

    Attributes:
        backend: the framework's backend.
        kept: by its name in the framework's files, the variable as `members` lists it, or a `LeftOut`.
        notes: in what else its files differ from a plain list of the model's tensors, in sentences.
        loading: what else its loader does to the model, in sentences.
    """

    backend: str
    kept: Mapping[str, Any] = field(default_factory=dict)
    notes: Sequence[str] = ()
    loading: Sequence[str] = ()


class Adapter(ABC):
    """One backend. Subclass it and name it in a `Plugin`.

    Reading and writing are the minimum: the abstract methods, and `memory` or `write`. What a backend can do beyond
    that are the classes of `multiparam.adapter.capabilities`, which its adapter inherits from too.

    Attributes:
        capability: what a class of adapters can do; None of one that nothing is declared for.
        plugin: the backend's declaration: its name and what it can do.
        table: the layer table.
        reads_copies: what `read` gives is nobody else's, so that it need not be copied when it is written to a file.
    """

    capability: ClassVar[Capability | None] = None
    plugin: ClassVar[Plugin]
    table: LayerTable
    reads_copies: ClassVar[bool] = False

    @property
    def name(self) -> str:
        """The backend's name."""
        return self.plugin.name

    # --- recognising and walking -------------------------------------------------------------------------------

    @abstractmethod
    def is_model(self, native: Any) -> bool:
        """Whether the object is one of the framework's layers or models."""

    @abstractmethod
    def is_tensor(self, native: Any) -> bool:
        """Whether the object is one of the framework's tensors or variables."""

    def wrapped(self, native: Any) -> Any:
        """What a wrapper stands for, such as a compiled or a data-parallel model; None of what is no wrapper.

        An object's class tells it: a walk asks the first of each. Names are those of what it wraps; tensors that
        `members` tells of the wrapper itself are kept beside them.
        """
        return None

    @abstractmethod
    def members(self, native: Any) -> Members:
        """What a layer or container directly holds."""

    def holds(self, native: Any, members: Members) -> bool:
        """Whether a layer still holds what `members` told; an adapter may see it sooner than by telling anew."""
        return same_members(self.members(native), members)

    def lookup(self, native: Any, name: str) -> Any:
        """A variable, layer or container that `members` lists, found without listing; None where there is none now."""
        members = self.members(native)
        found = members.parameters.get(name, members.buffers.get(name))
        return dict(members.children).get(name) if found is None else found

    def layer_class(self, native: Any) -> type:
        """The class by which the layer table knows a native layer."""
        return type(native)

    def label(self, native: Any) -> str:
        """What the framework itself calls a layer, where each has a name of its own; empty where it has none."""
        return ""

    def row(self, native: Any) -> Row | None:
        """The row of the layer table that describes a native layer, or None."""
        return self.table.row(self.layer_class(native))

    def kind(self, native: Any) -> str:
        """The canonical kind of a layer; for an unknown one its class's name, for lists and dicts PyTorch's."""
        row = self.row(native)
        if row is not None:
            return row.kind_of(native)
        if is_container(native):
            return "ModuleDict" if isinstance(native, Mapping) else "ModuleList"
        return type(native).__name__

    def settings(self, native: Any) -> Mapping[str, Any] | None:
        """What a layer that is in no row says of what decides its function beside its weights, in its own terms.

        It is saved with a model, as far as it is numbers and words, and compared with what a layer of the same class
        says. None where nothing is known of the layer, not even that its class tells one function from another.
        """
        return None

    component = staticmethod(escape)
    """A native name as a component of canonical ones; PyTorch's adapter leaves it as it is."""

    def inventory(self, model: Any) -> Inventory:
        """What the framework's own saver would keep of a model.

        What the walk does not see of it is said to be left out, so it has to come from the framework, and not from the
        adapter's own walk.
        """
        return Inventory(self.name)

    # --- images ------------------------------------------------------------------------------------------------

    def channels_last(self, native: Any) -> bool:
        """Whether a layer that works on images has their channels in the last axis."""
        return False

    def images(self, native: Any) -> frozenset[int]:
        """How many axes the images have that a layer takes with their channels last; empty if it takes none."""
        return image_ranks(self.kind(native)) if self.channels_last(native) else frozenset()

    def untold(self, native: Any) -> tuple[frozenset[int], str]:
        """How many axes images have of which it cannot be told whether a layer takes them, and why that is so."""
        return frozenset(), ""

    # --- variables ---------------------------------------------------------------------------------------------

    @abstractmethod
    def read(self, variable: Any) -> Array:
        """The variable's numbers, a view where the framework allows one; what is still to be computed is, for good."""

    def memory(self, variable: Any) -> Array | None:
        """The variable's own memory as a writable array of its shape and dtype, with no element twice; else None.

        Random numbers are drawn right into it. It is used at once and not kept.
        """
        return None

    def write(self, variable: Any, value: Array) -> None:
        """Writes an array of the variable's shape and dtype into the framework's own object, keeping no reference.

        An adapter that tells every variable's `memory` need not have it.
        """
        there = self.memory(variable)
        if there is None:
            raise NotImplementedError(f"{type(self).__name__} tells no memory, and has no write")
        copy(value, there)

    def unwritable(self, variable: Any) -> str:
        """Why a variable cannot be written, as a sentence about it; empty if it can."""
        return ""

    def unreachable(self, variable: Any) -> str:
        """Why this process cannot read or write a variable's numbers, as a sentence about it; empty if it can.

        That of a variable of which other processes hold a part, or whose numbers lie in a form of its class's own. All
        verbs but those that list names refuse it.
        """
        return ""

    def abstract(self, variable: Any) -> str:
        """What gives a variable without numbers some, where no batch does, as an advice; empty if a batch does."""
        return ""

    def written(self, layer: Any) -> None:
        """Called after variables of a layer were written, for layers that keep something computed from them."""
        return

    @abstractmethod
    def shape(self, variable: Any) -> Shape | None:
        """The variable's shape; None before it has one."""

    @abstractmethod
    def dtype(self, variable: Any) -> np.dtype[Any]:
        """The variable's dtype as numpy (with ml_dtypes) has it."""

    def native(self, variable: Any) -> Any:
        """The framework's own object, where what `members` lists only stands for it."""
        return variable

    def device(self, variable: Any) -> str:
        """Where the variable lies, in the framework's own words."""
        return "cpu"

    def initialized(self, variable: Any) -> bool:
        """Whether the variable has a value."""
        return True

    @abstractmethod
    def tensor(self, value: Array) -> Any:
        """A native tensor with a copy of the array's numbers."""

    @abstractmethod
    def array(self, tensor: Any) -> Array:
        """A native tensor's numbers."""

    # --- capabilities ------------------------------------------------------------------------------------------

    @overload
    def require(self, capability: Capability) -> Adapter: ...

    @overload
    def require(self, capability: type[C]) -> C: ...

    def require(self, capability: Capability | type[C]) -> Adapter | C:
        """The adapter, if it can do what is asked for.

        Args:
            capability: what is declared, or the class of adapters that can do it, which is then what is given.

        Raises:
            UnsupportedError: it cannot.
        """
        declared = capability if isinstance(capability, Capability) else capability.capability
        if declared is not None and declared not in self.plugin.capabilities:
            raise self.unsupported(declared)
        if isinstance(capability, Capability):
            return self
        if not isinstance(self, capability):
            raise self.unsupported(declared or capability.__name__)
        return self

    def unsupported(self, capability: Capability | str, why: str = "") -> UnsupportedError:
        """The error for something this backend cannot do."""
        reason = why
        if isinstance(capability, Capability):
            reason = why or self.plugin.reasons.get(capability, "its adapter does not declare it")
        return UnsupportedError(self.name, str(capability), reason)
