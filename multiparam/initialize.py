"""The verb that gives parameters their first numbers."""

from __future__ import annotations

import operator
import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from .access import parameters as parameters_of
from .adapter import Adapter, Capability
from .arrays import is_float, rank_of
from .errors import ArgumentError, MismatchError, MismatchReport, ParameterNotFoundError
from .init import Constant, Ones, Rule, Zeros, as_rule
from .kinds import purpose
from .layout import Array
from .names import Pattern
from .parameter import Parameter, Parameters, Selection
from .registry import infer_model
from .table import LazyShape
from .tree import Node, Slot, Tree

__all__ = ["InitializationReport", "InitializedParameter", "initialize"]

# what becomes of the rest where one rule is meant for the weights
_NEUTRAL: Mapping[str, Rule] = {"bias": Zeros(), "scale": Ones(), "slope": Constant(0.25)}

Decide = Callable[[Parameter], Rule | None]


class InitializedParameter(NamedTuple):
    """A line of the report of `initialize`."""

    name: str
    shape: LazyShape
    rule: Rule
    deferred: bool = False


@dataclass
class InitializationReport:
    """What `initialize` set.

    Attributes:
        seed: the seed used; with it, the same call gives the same numbers again.
        entries: name, shape and rule of each parameter; `deferred` ones get their numbers with their shapes.
    """

    seed: int
    entries: list[InitializedParameter] = field(default_factory=list)

    def __iter__(self) -> Iterator[InitializedParameter]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def __str__(self) -> str:
        lines = [
            f"  {entry.name} {entry.shape}: {entry.rule!r}{' (at the first batch)' if entry.deferred else ''}"
            for entry in self.entries
        ]
        return "\n".join([f"initialized {len(self.entries)} parameters with seed {self.seed}", *lines])


def initialize(net: Any, rule: Any, *, seed: int | None = None) -> InitializationReport:
    """Gives parameters new numbers: the same bits for a seed and a name in every framework.

    Args:
        net: a native model, or a list of parameters as `Parameters.select` gives it.
        rule: one rule (or a function of (shape, rng)) for the weights, with biases 0 and norm scales 1; or a dict
            from pattern to rule, in which the first match wins and unmatched parameters stay as they are. A list in
            which there are no weights gets the rule as it is.
        seed: a non-negative integer; None draws one, which the report tells.

    Returns:
        What was set. On lazy layers it is remembered and carried out when they get their shapes.

    Raises:
        ArgumentError: the rule is none, or undefined for a parameter's shape; nothing was written.
        ParameterNotFoundError: a pattern matches nothing; nothing was written.
        MismatchError: a function made another shape, or numbers that do not fit; nothing was written.

    >>> import multiparam as mp
    >>> net = mp.nn.Sequential(mp.nn.Linear(4, 8), mp.nn.ReLU(), mp.nn.Linear(8, 1))
    >>> print(mp.initialize(net, {"0.*weight": mp.init.XavierUniform(), "2.weight": mp.init.Constant(42)}, seed=0))
    initialized 2 parameters with seed 0
      0.weight (8, 4): XavierUniform(gain=1.0)
      2.weight (1, 8): Constant(value=42.0)
    """
    number = _checked_seed(seed)
    if isinstance(net, (Selection, list, tuple)) and net and all(isinstance(one, Parameter) for one in net):
        chosen = list(net)
        model, adapter = chosen[0].model, chosen[0].slot.node.adapter
        if any(one.model is not model for one in chosen):
            raise ArgumentError("the parameters are of different models; initialize one model at a time")
    else:
        model, adapter, chosen = net, infer_model(net), []
    mapping = parameters_of(model)
    decide = _decision(rule, mapping, chosen, bool(Tree(adapter, model).opaque()))
    report = InitializationReport(number)
    _apply(adapter, Tree(adapter, model), mapping.values(), decide, report)
    return report


def _decision(rule: Any, mapping: Parameters, chosen: list[Parameter], more_to_come: bool) -> Decide:
    """What turns a parameter into its rule, or None for one that stays as it is."""
    if isinstance(rule, Mapping):
        if not rule:
            raise ArgumentError("the dict of patterns and rules is empty")
        rules = {pattern: as_rule(one) for pattern, one in rule.items()}
        within = {one.name for one in chosen}
        for pattern in rules:
            if not mapping.match(pattern) and not more_to_come:
                shown = pattern if isinstance(pattern, str) else pattern.pattern
                raise ParameterNotFoundError("parameter matches", shown, [*mapping, *mapping.aliases()])
        return lambda parameter: _first_match(rules, parameter) if not within or parameter.name in within else None
    if isinstance(rule, str):
        raise ArgumentError(
            f"{rule!r} is no rule: pass one of multiparam.init, a function, or a dict of patterns and rules"
        )
    single = as_rule(rule)
    if not chosen:
        return lambda parameter: _for_purpose(single, parameter)
    names = {one.name for one in chosen}
    plain = all(purpose(one.kind, one.role) != "weight" for one in chosen)
    return lambda parameter: (
        None if parameter.name not in names else single if plain else _for_purpose(single, parameter)
    )


def _first_match(rules: Mapping[Pattern, Rule], parameter: Parameter) -> Rule | None:
    return next((rule for pattern, rule in rules.items() if parameter.matches(pattern)), None)


def _for_purpose(rule: Rule, parameter: Parameter) -> Rule:
    meant = purpose(parameter.kind, parameter.role)
    return rule if meant == "weight" else _NEUTRAL[meant]


def _apply(adapter: Adapter, tree: Tree, candidates: Any, decide: Decide, report: InitializationReport) -> None:
    """Checks everything, then writes; what has no shape yet is left with its layer."""
    todo = [(parameter, rule) for parameter in candidates if (rule := decide(parameter)) is not None]
    _check(todo)
    later: dict[int, tuple[Node, dict[str, Rule]]] = {}
    now: list[tuple[Parameter, Rule]] = []
    for parameter, rule in todo:
        if parameter.initialized:
            now.append((parameter, rule))
        else:
            node = parameter.slot.node
            later.setdefault(id(node.native), (node, {}))[1][parameter.name] = rule
    opaque = tree.opaque()
    if later or opaque:
        adapter.require(Capability.LAZY)
    made = {
        parameter.name: _made(parameter, rule, report.seed) for parameter, rule in now if _must_try(parameter, rule)
    }
    for parameter, rule in now:
        parameter.assign(
            made.pop(parameter.name, None) if parameter.name in made else _made(parameter, rule, report.seed)
        )
    report.entries += [InitializedParameter(p.name, p.shape, rule, not p.initialized) for p, rule in todo]
    for node, rules in later.values():
        adapter.when_ready(node.native, _carry_out(adapter, node.name, _by_name(rules), report.seed))
    for node in opaque:
        adapter.when_ready(node.native, _carry_out(adapter, node.name, decide, report.seed))


def _carry_out(adapter: Adapter, name: str, decide: Decide, seed: int) -> Callable[[Any], None]:
    """What a lazy layer calls once it has its parameters: the same initialization, for this layer only."""

    def carry_out(native: Any) -> None:
        tree = Tree(adapter, native, name)
        candidates = [Parameter(native, group, _no_layer) for group in tree.groups if not group[0].is_buffer]
        _apply(adapter, tree, candidates, decide, InitializationReport(seed))

    return carry_out


def _by_name(rules: Mapping[str, Rule]) -> Decide:
    return lambda parameter: rules.get(parameter.name)


def _no_layer(slot: Slot) -> Any:
    return slot.node.native


def _check(todo: list[tuple[Parameter, Rule]]) -> None:
    for parameter, rule in todo:
        shape = parameter.shape
        if shape is None:
            continue
        try:
            rule.check(tuple(1 if extent is None else extent for extent in shape))
        except ArgumentError as error:
            raise ArgumentError(
                f"{rule!r} is undefined for {parameter.name!r} of shape {shape}: {error}; nothing was written. "
                f"Give this parameter a rule of its own: {{{parameter.name!r}: ..., '*': ...}}"
            ) from None


def _must_try(parameter: Parameter, rule: Rule) -> bool:
    return rule.eager or not (is_float(parameter.dtype) or parameter.dtype.kind == "c")


def _made(parameter: Parameter, rule: Rule, seed: int) -> Array:
    shape = parameter.shape
    assert shape is not None
    values = rule.values(seed, parameter.name, tuple(int(extent or 0) for extent in shape), parameter)
    rank = rank_of(values.dtype)
    wanted = parameter.dtype
    exact = values.astype(wanted) if rank is not None and rank > (rank_of(wanted) or 0) else values
    if rank is None or not np.array_equal(exact, values):
        raise MismatchError(
            f"{rule!r} makes numbers that {parameter.name!r} cannot hold; nothing was written",
            MismatchReport(mistyped=[(parameter.name, wanted, values.dtype)]),
        )
    return exact


def _checked_seed(seed: int | None) -> int:
    if seed is None:
        return secrets.randbits(32)
    try:
        number = operator.index(seed)
    except TypeError:
        number = -1
    if number < 0 or isinstance(seed, bool):
        raise ArgumentError(f"a seed is a non-negative integer, not {seed!r}")
    return number
