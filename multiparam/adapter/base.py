"""What a backend implements: `Adapter`, and what its methods give."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from ..arrays.copying import copy
from ..arrays.types import Array, Shape
from ..errors import ArgumentError, UnsupportedError
from ..layer_table.kinds import image_ranks
from ..layer_table.layout import Handle
from ..layer_table.table import LayerTable, Row
from ..names.pattern import escape
from .attributes import check_replaceable, is_container
from .by_identity import ByIdentity
from .members import Members, same_members
from .plugin import Capability, Plugin

__all__ = ["Adapter", "Computed", "Inventory", "LeftOut", "TieSide"]


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


@dataclass(frozen=True)
class Computed:
    """A tensor that a layer computes from parameters, which a rule is about in their place.

    Attributes:
        role: its native name, `"weight"`.
        originals: the native variables of the parameters that it is computed from.
        what: what computes it, `"WeightNorm"`.
        variable: what stands for it: `read`, `write` and `problem` take it, and `part` gives it by its name. None where
            it cannot be set.
        why: where it cannot, what to do instead, as an advice.
    """

    role: str
    originals: Sequence[Any]
    what: str
    variable: Any = None
    why: str = ""


@dataclass(frozen=True)
class TieSide:
    """One end of a tie: a native tensor of a layer.

    Attributes:
        layer: the native layer.
        part: the native tensor's name in it.
        handle: the variable it is now.
    """

    layer: Any
    part: str
    handle: Handle


class Adapter(ABC):
    """One backend. Subclass it and name it in a `Plugin`.

    Reading and writing are the minimum; the methods of a capability need only be there if it is declared.

    Attributes:
        plugin: the backend's declaration: its name and what it can do.
        table: the layer table.
        gradients_of: what `gradients` gave for a layer's tensors, by their native names, where no variable keeps it.
        reads_copies: what `read` gives is nobody else's, so that it need not be copied when it is written to a file.
    """

    plugin: ClassVar[Plugin]
    table: LayerTable
    reads_copies: ClassVar[bool] = False

    def __init__(self) -> None:
        self.gradients_of: ByIdentity[dict[str, Array]] = ByIdentity()

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

    def child(self, native: Any, key: str) -> Any:
        """One of the children that `members` lists, or None; faster than listing where the adapter knows how."""
        return next((child for name, child in self.members(native).children if name == key), None)

    @abstractmethod
    def members(self, native: Any) -> Members:
        """What a layer or container directly holds."""

    def holds(self, native: Any, members: Members) -> bool:
        """Whether a layer still holds what `members` told; an adapter may see it sooner than by telling anew."""
        return same_members(self.members(native), members)

    def part(self, native: Any, name: str) -> Any:
        """One of the variables that `members` lists, found without listing; None where there is none (any more)."""
        members = self.members(native)
        return members.parameters.get(name, members.buffers.get(name))

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

    def saved(self, model: Any, labels: Mapping[str, str]) -> Mapping[str, Any]:
        """A model's variables by the names that the framework's own saver gives them in a file.

        Only where a reader of such files gives `Contents.originals`. What the saver keeps beside parameters is there
        too. Empty where it cannot be told.

        Args:
            model: the native model.
            labels: the names that a file tells of its layers, by their paths in it; where they contradict the model's,
                the file is another's.
        """
        return {}

    def inventory(self, model: Any) -> Inventory:
        """What the framework's own saver would keep of a model.

        What the walk does not see of it is said to be left out, so it has to come from the framework, and not from the
        adapter's own walk.
        """
        return Inventory(self.name)

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

    def any_shape(self, variable: Any) -> bool:
        """Whether a buffer takes numbers of any shape and dtype, as what a layer saves by methods of its own does."""
        return False

    def restorer(self, variable: Any) -> Callable[[], None]:
        """What puts back what a buffer of any shape has now, if a layer does not take what a file has for it."""
        before = np.array(self.read(variable))
        return lambda: self.write(variable, before)

    def unreachable(self, variable: Any) -> str:
        """Why this process cannot read or write a variable's numbers, as a sentence about it; empty if it can.

        That of a variable of which other processes hold a part, or whose numbers lie in a form of its class's own. All
        verbs but those that list names refuse it.
        """
        return ""

    def computed(self, native: Any) -> Iterable[Computed]:
        """The tensors that a layer computes from parameters, its own or those of layers below."""
        return ()

    def problem(self, variable: Any, value: Array) -> str:
        """Why a computed tensor cannot become an array; empty if it can. Nothing is changed."""
        return ""

    def abstract(self, variable: Any) -> str:
        """What gives a variable without numbers some, where no batch does, as an advice; empty if a batch does."""
        return ""

    def model_of(self, definition: Any, state: Any) -> Any:
        """A model made of what a wrapper of another backend's holds of it: its definition, and its tensors."""
        raise self.unsupported("being wrapped in other frameworks' models")

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

    def carrier(self, variable: Any) -> Any:
        """The tensor of another framework that has a variable's numbers, where layers lie in a model of that one.

        Raises:
            UnsupportedError: there is none.
        """
        raise self.unsupported(Capability.GRADIENTS, "its layers lie in a model of another framework")

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

    # --- trainable ---------------------------------------------------------------------------------------------

    def trainable(self, variable: Any) -> bool:
        """Whether optimizers may change the variable."""
        return True

    def set_trainable(self, model: Any, layers: Sequence[Any], variable: Any, value: bool) -> None:
        """Freezes or thaws a variable.

        Args:
            model: the model it was reached through.
            layers: the native layers from the model down to the variable's owner, for each place that holds it.
            variable: the native variable.
            value: whether optimizers may change it.
        """
        raise self.unsupported(Capability.TRAINABLE)

    # --- running -----------------------------------------------------------------------------------------------

    def channels_last(self, native: Any) -> bool:
        """Whether a layer that works on images has their channels in the last axis."""
        return False

    def images(self, native: Any) -> frozenset[int]:
        """How many axes the images have that a layer takes with their channels last; empty if it takes none."""
        return image_ranks(self.kind(native)) if self.channels_last(native) else frozenset()

    def untold(self, native: Any) -> tuple[frozenset[int], str]:
        """How many axes images have of which it cannot be told whether a layer takes them, and why that is so."""
        return frozenset(), ""

    def run(self, model: Any, inputs: Sequence[Array]) -> Any:
        """The forward pass in eval mode without gradient, as native tensors; lazy layers get their shapes."""
        raise self.unsupported(Capability.RUN)

    def watch(self, layers: Sequence[Any], seen: Callable[..., None]) -> AbstractContextManager[None]:
        """A context in which `seen(layer, output, inputs)` is called after each call of one of the layers.

        Calls inside of a compiled part, which have no numbers yet, are left out. An adapter without it lets `verify`
        compare whole models only; one that does not tell the inputs, which may be left out, lets it know less of where
        a difference comes from.
        """
        return nullcontext()

    def begin(self, model: Any) -> None:
        """Gives first numbers to what has a shape and only waits to be told to, before a verb sets others."""
        return

    def when_ready(self, layer: Any, call: Callable[[Any], None]) -> None:
        """Calls `call(layer)` once a lazy layer has its parameters, before its first forward pass uses them.

        Several calls for one layer are carried out in their order.
        """
        raise self.unsupported(Capability.LAZY)

    def gradients(
        self, model: Any, loss: Callable[..., Any], inputs: Sequence[Array], variables: Sequence[Any]
    ) -> list[Array]:
        """The loss's gradients for the given variables, in their order; zeros for those the loss does not use.

        Raises:
            ArgumentError: the loss is no scalar, or `unused_net()`.
        """
        raise self.unsupported(Capability.GRADIENTS)

    def unused_net(self) -> ArgumentError:
        """The error for a loss that uses none of the variables, of which there are some."""
        return ArgumentError(
            "the loss uses no trainable parameter of the net that it is given: it is called as loss(net, *inputs), "
            "and has to compute with this net, not with another variable for the model"
        )

    def grad(self, variable: Any) -> Array | None:
        """The gradient that the framework keeps with a variable, of the variable's shape; None if there is none."""
        return None

    def set_grad(self, variable: Any, value: Array | None) -> bool:
        """Hears what `gradients` gave for a variable, or that there is nothing, so that the framework's own goes.

        Returns:
            Whether the framework keeps gradients with its variables, in which `gradients` has set them; where it does
            not, they are kept beside the layers.
        """
        return False

    # --- ties --------------------------------------------------------------------------------------------------

    def check_tie(self, side: TieSide, handle: Handle) -> None:
        """Raises a MultiparamError if `tie` or `untie` would fail; called for all of them before the first is made."""
        check_replaceable(side.layer, side.part, attribute=handle.axes is not None)

    def tie(self, model: Any, side: TieSide, handle: Handle) -> None:
        """Makes a layer's tensor be another variable, seen through the handle's axes; the layer's own is let go.

        Args:
            model: the model, whose cached functions must be dropped.
            side: the layer's tensor that changes.
            handle: what it becomes.
        """
        raise self.unsupported(Capability.TIE)

    def untie(self, model: Any, side: TieSide, value: Array) -> None:
        """Gives a layer's tensor a variable of its own again, with the given numbers as the layer sees them."""
        raise self.unsupported(Capability.TIE)

    def notes_on_change(self, model: Any) -> list[str]:
        """What a user must know after a tie, an untie or a freeze: which optimizer has to be rebuilt, say."""
        return []

    # --- capabilities ------------------------------------------------------------------------------------------

    def require(self, capability: Capability) -> None:
        """Raises UnsupportedError unless the capability is declared."""
        if capability not in self.plugin.capabilities:
            raise self.unsupported(capability)

    def unsupported(self, capability: Capability | str, why: str = "") -> UnsupportedError:
        """The error for something this backend cannot do."""
        reason = why
        if isinstance(capability, Capability):
            reason = why or self.plugin.reasons.get(capability, "its adapter does not declare it")
        return UnsupportedError(self.name, str(capability), reason)
