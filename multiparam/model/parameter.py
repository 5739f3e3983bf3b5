"""Parameters as users see them: one, a selection, and the mapping of a model's."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Collection, ItemsView, Iterable, Iterator, Mapping, Sequence, ValuesView
from typing import Any, cast

import numpy as np

from ..adapter.base import Adapter
from ..adapter.plugin import Capability
from ..adapter.registry import recognized
from ..arrays.dtypes import ReadOnlyArray, checked, converted, frozen
from ..arrays.types import Array
from ..errors import (
    ArgumentError,
    MismatchError,
    MismatchReport,
    ParameterNotFoundError,
    UninitializedError,
    UnsupportedError,
)
from ..html import MOST_ROWS, MOST_VALUES, histogram, page, table
from ..layer_table.kinds import Fans, fans
from ..layer_table.layout import Handle
from ..layer_table.table import LazyShape
from ..names.pattern import Pattern, matcher
from ..text import counted
from .inventory import left_out
from .outline import Outline
from .tree import Slot, Tree

__all__ = ["Parameter", "Parameters", "Selection", "Target"]


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
        handles = self._slot.handles()
        if handles is None:
            return None
        natives = tuple(self._adapter.native(handle.variable) for handle in handles)
        return natives[0] if len(natives) == 1 else natives

    @property
    def shape(self) -> LazyShape:
        """The canonical shape; where it is lazy None for an unknown axis, or None altogether."""
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
        return self._slot.ready() is not None

    @property
    def trainable(self) -> bool:
        """Whether optimizers may change it; settable, where the backend can freeze.

        Raises:
            MismatchError: it is made of several native tensors, and they differ.
            UnsupportedError: (set) the backend cannot freeze, or it is a buffer.
        """
        if self._slot.is_buffer:
            return False
        handles = self._slot.handles()
        if handles is None:
            return True
        states = {self._adapter.trainable(handle.variable) for handle in handles}
        if len(states) > 1:
            raise MismatchError(
                f"{self.name!r} is made of {len(handles)} native tensors, of which some are trainable and some are "
                f"not; set .trainable to make them agree",
                MismatchReport(),
            )
        return states.pop()

    @trainable.setter
    def trainable(self, value: bool) -> None:
        for position, handle in enumerate(self._freezable(value)):
            for slot in self.slots:
                below, _ = slot.owner(slot.source.parts[position]) or ((slot.node.native,), "")
                self._adapter.set_trainable(self._model, (*slot.node.above, *below), handle.variable, bool(value))

    def _freezable(self, value: Any) -> tuple[Handle, ...]:
        """What is frozen or thawed, if it can be."""
        if not isinstance(value, (bool, np.bool_)):
            raise ArgumentError(f".trainable is True or False, not {value!r}")
        if self._slot.is_buffer:
            raise UnsupportedError(self._adapter.name, "trainable", f"{self.name!r} is a buffer, which nothing trains")
        self._adapter.require(Capability.TRAINABLE)
        return self._handles("cannot be frozen or thawed")

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
        adapter, slot = self._adapter, self._slot
        if slot.ready() is None:
            return None
        slot.check_reachable(slot.handles() or ())
        parts = []
        for part in slot.source.parts:
            owner = slot.owner(part)
            gradient = None if owner is None else adapter.gradient(owner[0][-1], owner[1])
            if gradient is None:
                return None
            parts.append(gradient)
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
        self._write(*self._fitting(value))

    def __getitem__(self, index: Any) -> Any:
        taken = self._slot.read(self._handles("has no value"))[index]
        return frozen(np.array(taken).view(ReadOnlyArray)) if isinstance(taken, np.ndarray) else taken

    def __setitem__(self, index: Any, value: Any) -> None:
        handles = self._handles("cannot be set")
        array = converted(self.name, self._checked(value), self.dtype)
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
        ready = self._slot.ready() is not None
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
        handles = self._handles("cannot be set")
        array = self._checked(value)
        if array.shape != self.shape:
            raise MismatchError(
                f"cannot write {self.name!r}", MismatchReport(misshaped=[(self.name, self.shape, array.shape)])
            )
        return handles, converted(self.name, array, self.dtype)

    def _write(self, handles: tuple[Handle, ...], value: Array) -> None:
        self._check_kept(handles, value)
        self._slot.write(handles, value)

    def _check_kept(self, handles: tuple[Handle, ...], value: Array) -> None:
        if why := self._slot.problem(handles, value):
            raise MismatchError(f"cannot write {self.name!r}: {why}", MismatchReport())

    def _checked(self, value: Any) -> Array:
        owner = None if isinstance(value, (np.ndarray, np.generic, list, tuple)) else recognized(value)
        native = owner is not None and owner.is_tensor(value)
        return checked(self.name, owner.array(value) if owner is not None and native else value, self.dtype)

    def fans(self) -> Fans:
        """How many inputs feed one output of it, and how many outputs one input feeds; of a stack, in one layer.

        Raises:
            ArgumentError: it has fewer than two axes.
        """
        groups = self._slot.node.settings().get("groups", 1)
        shape = tuple(int(extent or 0) for extent in self._slot.layer_shape() or ())
        return fans(shape, self.kind, self.role, groups if isinstance(groups, int) else 1)

    # --- for the verbs -----------------------------------------------------------------------------------------

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
        return first.node.attached() and other.node.attached() and other.storage() == first.storage()

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
        handles = self._slot.ready()
        if handles is None:
            when = "yet" if self._slot.abstract else "before its layer has seen a batch"
            raise UninitializedError(f"{self.name!r} {problem} {when}: {self._slot.advice()}")
        return handles


class Selection(list[Parameter]):
    """The parameters that a `select` found: a list of them that can also be asked by name, and changed together.

    A change is made to all of them, or to none if one of them does not take it.

    >>> import multiparam as mp
    >>> net = mp.nn.Sequential(mp.nn.Linear(4, 8), mp.nn.ReLU(), mp.nn.Linear(8, 1))
    >>> biases = mp.parameters(net).select("*.bias")
    >>> print(biases.initialize(mp.init.Constant(0.5), seed=0))
    initialized 2 parameters with seed 0
      0.bias (8,): Constant(value=0.5)
      2.bias (1,): Constant(value=0.5)
    >>> biases.assign({"0.bias": np.arange(8.0), "2.bias": [1.0]})
    >>> float(biases["0.bias"][7])
    7.0
    """

    @property
    def names(self) -> list[str]:
        """The canonical names, in order."""
        return [parameter.name for parameter in self]

    def __getitem__(self, key: Any) -> Any:
        if not isinstance(key, str):
            found = super().__getitem__(key)
            return Selection(found) if isinstance(key, slice) else found
        for parameter in self:
            if key == parameter.name or key in parameter.aliases:
                return parameter
        raise ParameterNotFoundError("selected parameter", key, self.names)

    @property
    def trainable(self) -> bool:
        """Whether optimizers may change them; settable, where the backend can freeze.

        Raises:
            MismatchError: some may be changed and some not.
            UnsupportedError: (set) the backend cannot freeze, or a buffer is among them.
            UninitializedError: (set) a lazy parameter is among them.
            ArgumentError: there are none.
        """
        states = {one.name: one.trainable for one in self._any("asked")}
        if len({*states.values()}) > 1:
            still = [name for name, state in states.items() if not state]
            raise MismatchError(
                f"of the {len(self)} parameters {len(still)} are frozen, {still[0]!r} for one, and the others are "
                f"not; set .trainable to make them agree",
                MismatchReport(),
            )
        return next(iter(states.values()))

    @trainable.setter
    def trainable(self, value: bool) -> None:
        for one in self._any("frozen or thawed"):
            one._freezable(value)  # all of them, before the first is changed
        for one in self:
            one.trainable = value

    def assign(self, value: Any) -> None:
        """Sets the numbers of all of them.

        Args:
            value: a mapping from each of their names, or another name of a tied one, to an array of exactly its shape,
                with no other names in it; or one array, for each of them, which all have that shape. A number for all
                is a rule: `initialize(multiparam.init.Constant(0))`.

        Raises:
            MismatchError: every name, shape or dtype that does not fit; nothing was written.
            UninitializedError: a lazy parameter has no shape yet; nothing was written.
            ArgumentError: there are none.

        >>> import multiparam as mp
        >>> selected = mp.parameters(mp.nn.Linear(4, 8)).select("bias")
        >>> selected.assign(np.ones(8))
        >>> float(selected[0].value.sum())
        8.0
        """
        given = self._by_name(value) if isinstance(value, Mapping) else dict.fromkeys(self.names, value)
        misshaped: list[Any] = []
        mistyped: list[Any] = []
        made = []
        for one in self._any("set"):
            try:
                handles, array = one._fitting(given[one.name])
                one._check_kept(handles, array)
                made.append((one, handles, array))
            except MismatchError as error:
                if not error.report:
                    raise
                misshaped += error.report.misshaped
                mistyped += error.report.mistyped
        if misshaped or mistyped:
            report = MismatchReport(misshaped=misshaped, mistyped=mistyped)
            raise MismatchError("cannot write the selected parameters; nothing was written", report)
        for one, handles, array in made:
            one._write(handles, array)

    def initialize(self, rule: Any, *, seed: int | None = None) -> Any:
        """Gives them new numbers, as `multiparam.initialize` does, keyed by the names of the whole model.

        Args:
            rule: a rule, a dict from pattern to rule, or a framework's name; see `multiparam.initialize`.
            seed: a non-negative integer; None draws one, which the report tells.

        Returns:
            An `InitializationReport` of what was set.

        Raises:
            ArgumentError: there are none, or the rule is none or undefined for a shape; nothing was written.
        """
        from ..verbs.initialize import initialize  # here, since it takes parameters itself

        return initialize(self, rule, seed=seed)

    def _any(self, what: str) -> Selection:
        if not self:
            raise ArgumentError(f"there is nothing to be {what}: no parameter was selected")
        return self

    def _by_name(self, values: Mapping[Any, Any]) -> dict[str, Any]:
        """The values by the parameters' primary names, one for each."""
        primary = {name: one.name for one in self for name in (one.name, *one.aliases)}
        unexpected = [str(name) for name in values if name not in primary]
        found: dict[str, Any] = {}
        for name, value in values.items():
            if name in primary and primary[name] in found:
                raise ArgumentError(f"{name!r} is {primary[name]!r}, which is given too")
            found.update({primary[name]: value} if name in primary else {})
        missing = [name for name in self.names if name not in found]
        if missing or unexpected:
            raise MismatchError(
                "cannot write the selected parameters; nothing was written",
                MismatchReport(missing=missing, unexpected=unexpected),
            )
        return found

    def _repr_html_(self) -> str:
        return _as_table(self)


def _as_table(parameters: Collection[Parameter]) -> str:
    """Parameters as HTML, a row each."""
    heads = ("name", "kind", "shape", "dtype", "", "values")
    first = f", the first {MOST_ROWS}" if len(parameters) > MOST_ROWS else ""
    rows = map(_cells, itertools.islice(parameters, MOST_ROWS))
    return page(table(heads, rows, caption=f"{counted(len(parameters), 'tensor')}{first}"))


def _cells(parameter: Parameter) -> tuple[object, ...]:
    remarks = [f"tied to {', '.join(parameter.aliases)}"] if parameter.aliases else []
    if not parameter.initialized:
        return (parameter.name, parameter.kind, parameter.shape, "", "at the first batch", "")
    if parameter.slot.is_buffer:
        remarks.append("buffer")
    elif not parameter.trainable:
        remarks.append("frozen")
    drawn = histogram(parameter.value) if math.prod(parameter.slot.extents()) <= MOST_VALUES else ""
    return (parameter.name, parameter.kind, parameter.shape, parameter.dtype, ", ".join(remarks), drawn)


Target = Pattern | Iterable[Parameter]
_EXAMPLES = {"kind": "Linear", "role": "weight"}


class Parameters(Mapping[str, Parameter]):
    """A model's parameters, or buffers, by canonical name: live, ordered, each tied one once.

    Iterating gives primary names; a tied parameter's other names are found too, and give the same object. Each
    iteration sees the model as it is then, and a name leads to the layer that is in its place now, however the model
    was changed; `len` and `in` answer by the last walk.

    >>> import multiparam as mp
    >>> net = mp.nn.Sequential(mp.nn.Linear(4, 8), mp.nn.ReLU(), mp.nn.Linear(8, 1))
    >>> list(mp.parameters(net))
    ['0.weight', '0.bias', '2.weight', '2.bias']
    >>> mp.parameters(net).select("*.weight").names
    ['0.weight', '2.weight']
    """

    def __init__(
        self,
        model: Any,
        tree: Callable[[], Tree],
        epoch: Callable[[], int],
        wanted: Callable[[Slot], bool],
        layer: Callable[[Slot], Any],
        outline: Callable[[], Outline | None],
    ) -> None:
        self._model = model
        self._tree = tree
        self._epoch = epoch
        self._wanted = wanted
        self._layer = layer
        self._outline = outline
        self._outlined = outline()
        self._walked = _Walked(None, {})
        if self._outlined is None:
            self._walk()  # now, so that a wrong model is refused here and not at the first use

    def __getitem__(self, name: str) -> Parameter:
        self._follow_verbs()
        found = self._named(name)
        if found is None or not found.is_at(name):
            self._walk()  # the model was changed behind our back
            found = self._named(name)
        if found is None:
            if not isinstance(name, str):
                raise ArgumentError(f"parameters are asked by name, a string, not by {type(name).__name__}")
            raise ParameterNotFoundError("parameter", name, [*self._walked.primary, *self._walked.aliases])
        return found

    def __setitem__(self, name: str, value: Any) -> None:
        raise ArgumentError(f"a parameter stays where it is: params[{name!r}][:] = value writes its numbers")

    def __iter__(self) -> Iterator[str]:
        names = self._at_a_glance()
        if names is None:
            self._walk()
            names = list(self._walked.primary)
        return iter(names)

    def __len__(self) -> int:
        # `list` asks for the length beside iterating: a second look would be for nothing
        outlined = self._outlined
        if outlined is not None and outlined.epoch == self._epoch():
            return len(outlined.names)
        self._follow_verbs()
        return len(self._walked.primary)

    def __contains__(self, name: object) -> bool:
        self._follow_verbs()  # asked in loops, where a walk each time would be quadratic
        return name in self._walked.primary or name in self._walked.aliases

    def values(self) -> ValuesView[Parameter]:
        """The parameters, in order; found by one walk, where asking for each name would check each."""
        return self._all().values()

    def items(self) -> ItemsView[str, Parameter]:
        """The names and parameters, in order."""
        return self._all().items()

    def select(
        self,
        pattern: Target | None = None,
        *,
        kind: str | None = None,
        role: str | None = None,
        trainable: bool | None = None,
    ) -> Selection:
        """The parameters that match everything given, in the model's order.

        Args:
            pattern: a name, a glob (`*` crosses dots, `?` is one character), a compiled regular expression that
                must match a whole name, or a list of parameters; a tied parameter's other names match too.
            kind: the kind of their layer.
            role: what they are in it.
            trainable: whether optimizers may change them.

        Raises:
            ArgumentError: the pattern is none of these, or kind or role no string.
        """
        for word, given in {"kind": kind, "role": role}.items():
            if given is not None and not isinstance(given, str):
                raise ArgumentError(f"{word}= takes a string, {word}='{_EXAMPLES[word]}' say, not {given!r}")
        self._walk()
        chosen = self.walked() if pattern is None else self.match(pattern)
        return Selection(
            parameter
            for parameter in chosen
            if (kind is None or parameter.kind == kind)
            and (role is None or parameter.role == role)
            and (trainable is None or parameter.trainable == trainable)
        )

    def match(self, pattern: Target) -> list[Parameter]:
        """As `select` with a pattern alone, by the last walk."""
        self._follow_verbs()
        if isinstance(pattern, str):
            exact = self._named(pattern)
            if exact is not None:
                return [exact]
        elif not hasattr(pattern, "fullmatch"):
            return self._given(pattern)
        wanted = matcher(cast(Pattern, pattern))  # refuses what is no pattern once, not at each parameter
        return [parameter for parameter in self.walked() if parameter.matches(wanted)]

    @property
    def tree(self) -> Tree:
        """The model, as the last walk found it."""
        self._follow_verbs()
        tree: Tree = self._walked.tree
        return tree

    @property
    def left_out(self) -> dict[str, str]:
        """What the framework itself would save of the model beside tensors, by its name there, and what it is."""
        return left_out(self.tree, saved=False)

    def aliases(self) -> list[str]:
        """The other names of tied parameters, by the last walk."""
        self._follow_verbs()
        return list(self._walked.aliases)

    def walked(self) -> list[Parameter]:
        """All of them, by the last walk."""
        return [found for name in self._walked.primary if (found := self._named(name)) is not None]

    def _given(self, parameters: Iterable[Any]) -> list[Parameter]:
        wanted = [parameters] if isinstance(parameters, Parameter) else parameters
        if not isinstance(wanted, (list, tuple)) or not all(isinstance(one, Parameter) for one in wanted):
            raise ArgumentError(
                f"a pattern is a name, a glob, a compiled regex or a list of parameters, "
                f"not {type(parameters).__name__}"
            )
        found = {id(self._named(given.name) or self[given.name]) for given in wanted}
        return [one for one in self.walked() if id(one) in found]

    def __repr__(self) -> str:
        lines = "".join(f"\n  {parameter!r}" for parameter in self.values())
        return f"Parameters({len(self)}){lines}"

    def _named(self, name: Any) -> Parameter | None:
        """The parameter of a name, primary or not, by the last walk; made when it is first asked for."""
        walked = self._walked
        primary = walked.aliases.get(name, name)
        made = walked.made.get(primary)
        if made is None and primary in walked.primary:
            group = walked.tree.group(walked.primary[primary])
            made = walked.made.setdefault(primary, Parameter(self._model, group, self._layer))
        return made

    def _all(self) -> dict[str, Parameter]:
        self._walk()
        return {one.name: one for one in self.walked()}

    def _repr_html_(self) -> str:
        return _as_table(self.values())

    def _at_a_glance(self) -> list[str] | None:
        """The names as they are now; None where it takes a walk to tell them, or one was made anyway."""
        outlined = self._outlined
        if outlined is not None and (outlined.epoch != self._epoch() or not outlined.stands()):
            outlined = self._outlined = self._outline()
        return None if outlined is None else outlined.names

    def _follow_verbs(self) -> None:
        if self._walked.epoch != self._epoch() or self._walked.tree.lazy:
            self._walk()

    def _walk(self) -> None:
        old, epoch = self._walked, self._epoch()
        if old.epoch == epoch and not old.tree.lazy and old.tree.stands():
            return
        tree = self._tree()
        walked = _Walked(tree, {slot.name: slot for slot in tree.primary if self._wanted(slot)}, epoch)
        for name, parameter in old.made.items():
            if name in walked.primary and parameter.follow(tree.group(walked.primary[name])):
                walked.made[name] = parameter
        # all at once, so that a walk that fails, or another thread, finds the old state and not half of the new
        self._walked, self._outlined = walked, None


class _Walked:
    """What a walk found of what a mapping is about.

    Attributes:
        tree: the model.
        primary: the first place of each tensor, by name.
        aliases: the primary names by the others.
        made: the parameters that were asked for, by their primary names.
        epoch: when it was.
    """

    def __init__(self, tree: Any, primary: dict[str, Slot], epoch: int = -1) -> None:
        self.tree = tree
        self.primary = primary
        groups = [tree.group(slot) for slot in primary.values()] if tree is not None and tree.has_ties else []
        self.aliases = {slot.name: first.name for first, *others in groups for slot in others}
        self.made: dict[str, Parameter] = {}
        self.epoch = epoch
