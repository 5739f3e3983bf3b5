"""The parameters of a model as users see them: a mapping, and what is selected from it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Collection, ItemsView, Iterable, Iterator, Mapping, ValuesView
from functools import cached_property
from typing import Any, cast

from ..adapter.base import Adapter
from ..errors import ArgumentError, MismatchError, MismatchReport, ParameterNotFoundError
from ..html import MOST_ROWS, MOST_VALUES, histogram, page, table
from ..names.pattern import Pattern, matcher
from ..text import counted
from .inventory import left_out
from .parameter import Parameter
from .slot import Slot
from .tree import Tree, version

__all__ = ["Parameters", "Selection", "Target"]

Target = Pattern | Iterable[Parameter]
_EXAMPLES = {"kind": "Linear", "role": "weight"}


class Selection(list[Parameter]):
    """The parameters that a `select` found: a list of them that can also be asked by name, and changed together.

    A change is made to all of them, or to none if one of them does not take it.

    >>> import multiparam as mp, numpy as np
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

        >>> import multiparam as mp, numpy as np
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
                one.slot.look()
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
        adapter: Adapter,
        wanted: frozenset[bool],
        layer: Callable[[Slot], Any],
        native: Any = None,
        above: tuple[Any, ...] = (),
    ) -> None:
        self._model = model
        self._adapter = adapter
        self._wanted = wanted
        self._layer = layer
        self._native = model if native is None else native
        self._above = above
        self._walked = self._snapshot()  # now, so that a wrong model is refused here and not at the first use

    def __getitem__(self, name: str) -> Parameter:
        self._follow_verbs()
        found = self.named(name)
        if found is None or not found.is_at(name):
            self._walk()  # the model was changed behind our back
            found = self.named(name)
        if found is None:
            if not isinstance(name, str):
                raise ArgumentError(f"parameters are asked by name, a string, not by {type(name).__name__}")
            raise ParameterNotFoundError("parameter", name, [*self._walked.primary, *self._walked.aliases])
        return found

    def __setitem__(self, name: str, value: Any) -> None:
        raise ArgumentError(f"a parameter stays where it is: params[{name!r}][:] = value writes its numbers")

    def __iter__(self) -> Iterator[str]:
        self._walk()
        return iter(self._walked.names)

    def __len__(self) -> int:
        # `list` asks for the length beside iterating: a second look would be for nothing
        if self._walked.version != version() or self._walked.tree.incomplete:
            self._walk()
        return len(self._walked.names)

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
            exact = self.named(pattern)
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
        return self._walked.tree

    @property
    def left_out(self) -> dict[str, str]:
        """What the framework itself would save of the model beside tensors, by its name there, and what it is."""
        self._walk()
        return left_out(self.tree, saved=False)

    def aliases(self) -> list[str]:
        """The other names of tied parameters, by the last walk."""
        self._follow_verbs()
        return list(self._walked.aliases)

    def walked(self) -> list[Parameter]:
        """All of them, by the last walk."""
        return [found for name in self._walked.names if (found := self.named(name)) is not None]

    def _given(self, parameters: Iterable[Any]) -> list[Parameter]:
        wanted = [parameters] if isinstance(parameters, Parameter) else parameters
        if not isinstance(wanted, (list, tuple)) or not all(isinstance(one, Parameter) for one in wanted):
            raise ArgumentError(
                f"a pattern is a name, a glob, a compiled regex or a list of parameters, "
                f"not {type(parameters).__name__}"
            )
        found = {id(self.named(given.name) or self[given.name]) for given in wanted}
        return [one for one in self.walked() if id(one) in found]

    def __repr__(self) -> str:
        lines = "".join(f"\n  {parameter!r}" for parameter in self.values())
        return f"Parameters({len(self)}){lines}"

    def named(self, name: Any) -> Parameter | None:
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

    def _snapshot(self) -> _Walked:
        return _Walked(Tree(self._adapter, self._native, above=self._above), self._wanted)

    def _follow_verbs(self) -> None:
        if self._walked.version != version() or self._walked.tree.incomplete:
            self._walk()

    def _walk(self) -> None:
        old = self._walked
        if old.version == version() and not old.tree.incomplete and old.tree.is_current():
            return
        walked = self._snapshot()
        for name, parameter in old.made.items():
            if name in walked.primary and parameter.follow(walked.tree.group(walked.primary[name])):
                walked.made[name] = parameter
        self._walked = walked  # all at once, so that another thread finds the old state and not half of the new


class _Walked:
    """What a walk found of what a mapping is about.

    Attributes:
        tree: the model.
        version: that of the structure of all models, when it was walked.
        names: the names, in order.
        made: the parameters that were asked for, by their primary names.
    """

    def __init__(self, tree: Tree, wanted: frozenset[bool]) -> None:
        self.version = version()
        self.tree = tree
        self.names = tree.names(wanted)
        self.made: dict[str, Parameter] = {}
        self._wanted = wanted

    @cached_property
    def primary(self) -> dict[str, Slot]:
        """The first place of each tensor, by name."""
        return {slot.name: slot for slot in self.tree.primary if slot.is_buffer in self._wanted}

    @cached_property
    def aliases(self) -> dict[str, str]:
        """The primary names by the others."""
        groups = map(self.tree.group, self.primary.values()) if self.tree.has_ties else ()
        return {slot.name: first.name for first, *others in groups for slot in others}
