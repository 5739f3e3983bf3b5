"""The verb that gives parameters their first numbers."""

from __future__ import annotations

import operator
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from ..adapter.base import Adapter
from ..adapter.capabilities import Computes, Lazy
from ..adapter.registry import infer_model
from ..arrays.dtypes import converted, is_float, rank_of
from ..arrays.random import fill
from ..arrays.types import Array, Shape
from ..errors import ArgumentError, MismatchError, MismatchReport, ParameterNotFoundError, UninitializedError, few
from ..html import report
from ..init import Constant, Ones, Rule, Zeros, as_rule
from ..init.recipes import recipe
from ..init.rule import BuiltIn
from ..layer_table.kinds import KINDS, Purpose, base_role, purpose
from ..layer_table.table import LazyShape
from ..model.computed import Effective, effective, with_effective
from ..model.node import Node
from ..model.parameter import Parameter
from ..model.parameters import Parameters
from ..model.slot import Slot
from ..model.tree import Tree
from .access import Layer
from .access import parameters as parameters_of

__all__ = ["InitializationReport", "InitializedParameter", "initialize"]

# what becomes of the rest where one rule is meant for the weights
_NEUTRAL: Mapping[str, Rule] = {"bias": Zeros(), "scale": Ones(), "slope": Constant(0.25)}

Decide = Callable[[Parameter], Rule | None]


class InitializedParameter(NamedTuple):
    """A line of the report of `initialize`."""

    name: str
    shape: LazyShape
    rule: Rule


@dataclass
class InitializationReport:
    """What `initialize` set.

    Attributes:
        seed: the seed used; with it, the same call gives the same numbers again.
        entries: name, shape and rule of each parameter.
        deferred: names of those that get their numbers with their layers' first batch.
        left_out: names of those that one rule for all weights leaves as they are: vectors of layers outside of the
            layer table, which may be scales or biases as well.
    """

    seed: int
    entries: list[InitializedParameter] = field(default_factory=list)
    deferred: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    def __iter__(self) -> Iterator[InitializedParameter]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def __str__(self) -> str:
        lines = [self._title(), *(f"  {name} {shape}: {said}" for name, shape, said in self._rows())]
        return "\n".join([*lines, *(_ask(self.left_out) if self.left_out else ())])

    def _repr_html_(self) -> str:
        notes = [" ".join(map(str.strip, _ask(self.left_out)))] if self.left_out else []
        return report(self._title(), [("parameters", ("name", "shape", "rule"), self._rows())], notes)

    def _title(self) -> str:
        return f"initialized {len(self.entries)} parameters with seed {self.seed}"

    def _rows(self) -> list[tuple[str, LazyShape, str]]:
        later = set(self.deferred)
        return [
            (name, shape, f"{rule!r}{' (at the first batch)' if name in later else ''}")
            for name, shape, rule in self.entries
        ]


def initialize(net: Any, rule: Any, *, seed: int | None = None) -> InitializationReport:
    """Gives parameters new numbers: the same bits for a seed and a name in every framework.

    Args:
        net: a native model, a `Layer` of one, or a list of parameters as `Parameters.select` gives it.
        rule: one rule (or a function of (shape, rng)) for the weights, with biases 0 and norm scales 1; or a dict
            from pattern to rule, in which the first match wins and unmatched parameters stay as they are. A list in
            which there are no weights gets the rule as it is. In a layer outside of the layer table matrices are
            weights, and vectors that are not called a bias are left out. A layer of a stack, as NNX's and Linen's
            transforms make them, gets the rule as a layer by itself does: where numbers depend on each other, under
            the parameter's name and its position, `"blocks.weight[0]"`. What a layer computes from parameters (under
            a weight norm, say) is meant in their place, and by a pattern that matches both; a pattern that matches
            only one of them sets that. Or a framework's name, `"pytorch"`, `"keras"`, `"flax"`,
            `"paddle"` or `"mxnet"`, for its own default initialization.
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
    given = _given(net)
    model = net if given is None else given[0].model
    adapter = infer_model(model)
    mapping = parameters_of(model)
    tree = mapping.tree
    chosen = None if given is None else mapping.match(given)
    computed = effective(tree, _no_layer)
    decide = _decision(rule, mapping, chosen, [node.name for node in tree.opaque()], computed)
    report = InitializationReport(number)
    _apply(adapter, tree, with_effective(mapping.walked(), computed), decide, report)
    return report


def _given(net: Any) -> list[Parameter] | None:
    """The parameters that were passed in place of a model; None for a model."""
    if isinstance(net, Parameter):
        return [net]
    if isinstance(net, Parameters):
        net = list(net.values())
    if isinstance(net, Layer):
        net = list({one.name: one for layer in net.walk() for one in layer.parameters.values()}.values())
    if not isinstance(net, (list, tuple)) or not all(isinstance(one, Parameter) for one in net):
        return None
    if not net:
        raise ArgumentError("there is nothing to initialize: no parameter was selected")
    if any(one.model is not net[0].model for one in net):
        raise ArgumentError("the parameters are of different models; initialize one model at a time")
    return list(net)


def _decision(
    rule: Any,
    mapping: Parameters,
    chosen: list[Parameter] | None,
    opaque: list[str],
    computed: Sequence[Effective],
) -> Decide:
    """What turns a parameter into its rule, or None for one that stays as it is."""
    given = None if chosen is None else {one.name for one in chosen}
    # of some of those that a tensor is computed from, a selection means these themselves
    computed = [one for one in computed if given is None or (one.originals and one.originals <= given)]
    if isinstance(rule, Mapping):
        within = None if given is None else given | {one.name for one in computed}
        return _of_patterns(rule, mapping, within, opaque, computed)
    instead = {name for one in computed for name in one.originals - {one.name}}
    meant = with_effective(mapping.walked() if chosen is None else chosen, computed)
    meant = [one for one in meant if one.name not in instead]
    names = {one.name for one in meant}
    if isinstance(rule, str):
        decide: Decide = recipe(rule, meant)
    else:
        single = as_rule(rule)
        plain = chosen is not None and all(_purpose(one) != "weight" for one in meant)
        decide = (lambda parameter: single) if plain else (lambda parameter: _for_purpose(single, parameter))
    left_out = given is not None

    def decided(parameter: Parameter) -> Rule | None:
        known = parameter.name in names
        return decide(parameter) if known or not (left_out or parameter.name in instead) else None

    return decided


def _of_patterns(
    rules: Mapping[Any, Any],
    mapping: Parameters,
    within: set[str] | None,
    opaque: list[str],
    computed: Sequence[Effective],
) -> Decide:
    if not rules:
        raise ArgumentError("the dict of patterns and rules is empty")
    known = {one.name for one in mapping.walked()} | {one.name for one in computed}
    steps: list[tuple[Any, set[str], Rule]] = []
    for pattern, given in rules.items():
        rule = as_rule(given)
        names = {one.name for one in mapping.match(pattern)}
        for one in computed:  # a pattern that matches a computed tensor too means that
            if _means(pattern, one, names):
                names = (names - one.originals) | {one.name}
        if within is not None:
            names &= within
        if not names and not _may_match_later(pattern, opaque):
            shown = getattr(pattern, "pattern", pattern)
            where = [one.name for one in mapping.walked()] if within is None else sorted(within)
            raise ParameterNotFoundError("parameter matches", str(shown), [*where, *mapping.aliases()])
        steps.append((pattern, names, rule))

    def decide(parameter: Parameter) -> Rule | None:
        new = parameter.name not in known  # of a layer whose parameters could not be told before
        for pattern, names, rule in steps:
            if parameter.name in names or (new and parameter.matches(pattern)):
                return rule
        return None

    for one in computed:
        apart = [name for name in one.originals if any(name in names for _, names, _ in steps)]
        if apart and any(one.name in names for _, names, _ in steps) and one.name not in apart:
            raise ArgumentError(
                f"patterns are about both {one.name!r} and {apart[0]!r}, from which it is computed; choose one of them"
            )
    return decide


def _means(pattern: Any, one: Effective, names: set[str]) -> bool:
    """Whether a pattern, which matches parameters of the given names, is about a tensor computed from some."""
    if not isinstance(pattern, str) and not hasattr(pattern, "fullmatch"):
        return one.originals <= names and bool(one.originals)
    return one.parameter.matches(pattern)


def _may_match_later(pattern: Any, opaque: list[str]) -> bool:
    """Whether a parameter that cannot be told yet, below one of the opaque layers, may match."""
    if not opaque or not isinstance(pattern, str) or "*" in pattern or "?" in pattern:
        return bool(opaque)
    return any(not name or pattern.startswith(f"{name}.") for name in opaque)


def _purpose(parameter: Parameter) -> Purpose | None:
    shape = parameter.slot.layer_shape()
    return purpose(parameter.kind, parameter.role, shape)


def _for_purpose(rule: Rule, parameter: Parameter) -> Rule:
    computed = parameter.slot.computed
    if computed is not None and computed.variable is None:
        return rule  # which is refused, whatever it is for
    meant = _purpose(parameter)
    if meant is None:
        return _Unknown(rule)
    return rule if meant == "weight" else _NEUTRAL[meant]


class _Unknown(BuiltIn):
    """What a rule for all weights means for a parameter of which nobody says what it is: that it is left alone.

    Where the rule is undefined for it, that it is refused as for a weight.
    """

    def __init__(self, rule: Rule) -> None:
        self.rule = rule

    def check(self, shape: Shape) -> None:
        self.rule.check(shape)

    def values(self, seed: int, name: str, shape: Shape, parameter: Parameter | None = None) -> Array:
        raise NotImplementedError

    def __repr__(self) -> str:
        return repr(self.rule)


def _ask(left_out: Sequence[str]) -> list[str]:
    """Lines about parameters of which nobody says what they are."""
    return [
        "as they were, since nobody says whether they are weights, scales or biases:",
        *few([f"  {name}" for name in left_out]),
        "multiparam.register_layer says it, or a pattern gives them a rule of their own",
    ]


def _apply(adapter: Adapter, tree: Tree, candidates: Any, decide: Decide, report: InitializationReport) -> None:
    """Checks everything, then writes; what has no shape yet is left with its layer."""
    todo = [(parameter, rule) for parameter in candidates if (rule := decide(parameter)) is not None]
    _check(todo)
    report.left_out += [parameter.name for parameter, rule in todo if isinstance(rule, _Unknown)]
    todo = [(parameter, rule) for parameter, rule in todo if not isinstance(rule, _Unknown)]
    if report.left_out and not todo:
        raise ArgumentError("\n".join(["nothing was written; all parameters are left", *_ask(report.left_out)]))
    for parameter, _ in todo:
        _check_reachable(parameter)
    if isinstance(adapter, Lazy):
        adapter.begin(tree.model)
    for parameter, _ in todo:
        _check_numbers(parameter)
    settled = {parameter.name for parameter in candidates if _ready(parameter)}
    later: dict[int, tuple[Node, dict[str, Rule]]] = {}
    now: list[tuple[Parameter, Rule]] = []
    for parameter, rule in todo:
        if _ready(parameter):
            now.append((parameter, rule))
        else:
            node = parameter.slot.node.layer
            later.setdefault(id(node.native), (node, {}))[1][parameter.name] = rule
    opaque = tree.opaque()
    if later or opaque:
        adapter.require(Lazy)
    _check_writable([parameter for parameter, _ in now])
    for parameter, rule in now:
        if isinstance(rule, Constant):  # one of its numbers tells for all
            converted(parameter.name, np.asarray(rule.value), _dtype(parameter), f"{rule!r} cannot initialize")
    made = {
        parameter.name: _made(parameter, rule, report.seed) for parameter, rule in now if _must_try(parameter, rule)
    }
    for parameter, rule in now:
        if parameter.name in made:
            _check_computed(parameter, rule, made[parameter.name])
    for parameter, rule in now:
        if parameter.name in made:
            parameter.put(made.pop(parameter.name))
        elif not _drawn_in_place(parameter, rule, report.seed):
            parameter.put(_made(parameter, rule, report.seed))
    report.entries += [InitializedParameter(p.name, p.slot.shape(), rule) for p, rule in todo]
    report.deferred += [p.name for p, _ in todo if not _ready(p)]
    waiting = [(node, _by_name(rules)) for node, rules in later.values()]
    waiting += [(node, _except(settled, decide)) for node in opaque]
    for node, rule_of in waiting:
        call = _carry_out(node.adapter, node.name, rule_of, report.seed)
        node.adapter.require(Lazy).when_ready(node.native, call)


def _carry_out(adapter: Adapter, name: str, decide: Decide, seed: int) -> Callable[[Any], None]:
    """What a lazy layer calls once it has its parameters: the same initialization, for this layer only."""

    def carry_out(native: Any) -> None:
        tree = Tree(adapter, native, name)
        candidates = [Parameter(native, group, _no_layer) for group in tree.groups if not group[0].is_buffer]
        _apply(adapter, tree, candidates, decide, InitializationReport(seed))

    return carry_out


def _except(names: set[str], decide: Decide) -> Decide:
    return lambda parameter: None if parameter.name in names else decide(parameter)


def _by_name(rules: Mapping[str, Rule]) -> Decide:
    return lambda parameter: rules.get(parameter.name)


def _no_layer(slot: Slot) -> Any:
    return slot.node.native


def _check(todo: list[tuple[Parameter, Rule]]) -> None:
    for parameter, rule in todo:
        _check_layer(parameter, rule)
    problems, unknown = [], set()
    for parameter, rule in todo:
        shape = parameter.slot.layer_shape()
        if shape is None:
            continue
        try:
            rule.check(tuple(1 if extent is None else extent for extent in shape))
        except ArgumentError as error:
            problems.append(f"{rule!r} is undefined for {parameter.name!r} of shape {shape}: {error}")
            if parameter.kind not in KINDS:
                unknown.add(parameter.kind)
    if not problems:
        return
    wide = [one.name for one, _ in todo if len(one.slot.shape() or ()) > 1]
    if unknown:
        problems.append(
            f"What is no weight in {', '.join(sorted(unknown))} is not known; multiparam.register_layer can say it"
        )
    hint = f"A pattern leaves them out, {wide[0]!r} for instance" if wide else "Choose another rule for them"
    raise ArgumentError("\n".join([*problems, f"Nothing was written. {hint}"]))


def _check_layer(parameter: Parameter, rule: Rule) -> None:
    """Refuses what a rule would not mean the layer's own weight for."""
    node, slot = parameter.slot.node, parameter.slot
    if slot.computed is not None and slot.computed.variable is None:
        raise ArgumentError(
            f"{parameter.name!r} is computed by {slot.computed.what}, and cannot be made {rule!r}; nothing was "
            f"written. {slot.computed.why}"
        )
    if node.untold:
        raise ArgumentError(f"{parameter.name!r} cannot be initialized: {node.untold}; nothing was written")
    known = KINDS.get(parameter.kind)
    if known is None or slot.computed is not None or known.roles.get(base_role(parameter.role)) != "weight":
        return
    if _ready(parameter) and not _is_real_or_complex(dtype := _dtype(parameter)):
        raise ArgumentError(
            f"{parameter.name!r} is quantized, of dtype {dtype}, and its numbers mean nothing without their "
            f"scale; nothing was written. Initialize the model before it is quantized, and quantize it then"
        )


def _check_computed(parameter: Parameter, rule: Rule, value: Array) -> None:
    computed = parameter.slot.computed
    handles = parameter.slot.handles()
    if computed is None or handles is None:
        return
    adapter = parameter.slot.node.adapter
    if isinstance(adapter, Computes) and (why := adapter.problem(handles[0].variable, value)):
        raise ArgumentError(
            f"{parameter.name!r} is computed by {computed.what} and cannot be made {rule!r}: {why}; nothing was "
            f"written. Initialize the layer before {computed.what} is put on it, or name in a pattern what it is "
            f"computed from"
        )


def _check_reachable(parameter: Parameter) -> None:
    parameter.slot.check_reachable(parameter.slot.handles() or ())


def _check_numbers(parameter: Parameter) -> None:
    slot = parameter.slot
    if slot.abstract:
        raise UninitializedError(f"{slot.name!r} cannot be initialized, having no numbers: {slot.advice()}")


def _check_writable(parameters: list[Parameter]) -> None:
    found = [(one.name, why) for one in parameters if (why := one.slot.unwritable(one.slot.handles() or ()))]
    if found:
        raise MismatchError("cannot initialize; nothing was written", MismatchReport(unrepresentable=found))


def _must_try(parameter: Parameter, rule: Rule) -> bool:
    return (
        parameter.slot.computed is not None
        or rule.eager
        or _dtype(parameter).itemsize < 4
        or not _is_real_or_complex(_dtype(parameter))
    )


def _ready(parameter: Parameter) -> bool:
    """Whether it has a value, where the walk found it."""
    return parameter.slot.ready() is not None


def _dtype(parameter: Parameter) -> np.dtype[Any]:
    """The dtype of one that has a value."""
    return parameter.slot.dtype_of(parameter.slot.handles() or ())


def _is_real_or_complex(dtype: np.dtype[Any]) -> bool:
    return is_float(dtype) or dtype.kind == "c"


def _made(parameter: Parameter, rule: Rule, seed: int) -> Array:
    values = _values(rule, seed, parameter)
    if rank_of(values.dtype) is None:
        raise MismatchError(
            f"{rule!r} makes no numbers for {parameter.name!r}; nothing was written",
            MismatchReport(mistyped=[(parameter.name, _dtype(parameter), values.dtype)]),
        )
    # what the layer always has 0, it keeps at 0
    return parameter.slot.source.kept(
        converted(parameter.name, values, _dtype(parameter), f"{rule!r} cannot initialize")
    )


def _values(rule: Rule, seed: int, parameter: Parameter) -> Array:
    """A parameter's numbers: of a stack of layers those of each, under the parameter's name and the layer's number."""
    extents, lead = parameter.slot.extents(), parameter.slot.lead()
    make = rule.complex_values if _dtype(parameter).kind == "c" else rule.values
    if not lead or rule.samples:  # drawn one by one, numbers are the same for a stack and for a tensor of its shape
        return make(seed, parameter.name, extents, parameter)
    layers = [
        make(seed, "".join([parameter.name, *(f"[{one}]" for one in position)]), extents[lead:], parameter)
        for position in np.ndindex(*extents[:lead])
    ]
    return np.reshape(np.stack(layers), extents) if layers else np.empty(extents, np.float32)


def _drawn_in_place(parameter: Parameter, rule: Rule, seed: int) -> bool:
    """Whether the numbers could be drawn right into the framework's memory, which saves a large one a copy."""
    slot = parameter.slot
    there = slot.memory()
    if there is None or there.dtype != np.float32 or not there.flags.c_contiguous:
        return False
    sampler = rule.sampler(there.shape, parameter) if rule.samples else None
    if sampler is None:
        return False
    fill(seed, parameter.name, there, sampler)
    slot.node.adapter.written(slot.node.native)
    return True


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
