"""Whether two models compute the same, and where they begin not to."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..errors import ArgumentError, MismatchError, MismatchReport, prefix_hint
from ..html import report
from ..init.rule import number
from ..model.inventory import told
from ..model.node import Node
from ..names.rename import Rename, renamer
from ..text import enumerated, printable, wrapped
from .verifying.causes import Pair, above, parting
from .verifying.evidence import varies, weaknesses
from .verifying.explain import explained
from .verifying.known import Known, known
from .verifying.outputs import Closeness, Leaves, close_inputs, closeness, corresponding, reordered, shapes
from .verifying.trace import ASIDE, Call, Trace, traced

__all__ = ["VerifyReport", "verify"]

MOST = 12  # lines of what is known to differ that a printed report has
LOUD = 100  # times the tolerance: what rounding adds up to inside of a model may be made good, and is not worth a word


@dataclass
class VerifyReport:
    """What a verification found.

    Attributes:
        max_difference: the largest absolute difference of the outputs; NaN where one has NaN and the other not.
        tolerance: what it may be, as a share of the largest output.
        agrees: whether no output differs by more, whole numbers not at all. It is about the outputs alone: see `weak`,
            `passed` and `weights`.
        scale: the largest output, of the tensor in which they differ most; 0 where they have to be the same.
        first: where the outputs differ by more, the name of the first layer in the order of the forward pass that does
            too, and whose difference is not made good behind it; None if none pairs by name.
        passed: layers whose outputs differ, but not what is further on: an activation may be in the layer here and
            behind it there, a padding done by hand, or nothing of the layer is seen in the outputs.
        layers: (name, largest absolute difference of its outputs) for the layers that pair, in that order.
        why: what is known to differ in the first one, or in those that do not pair: weights, kinds, settings.
        weights: (name, largest absolute difference) of all weights of one name that differ, whether it is seen in the
            outputs or not; NaN where it is the shape that differs.
        unpaired: names of layers that only one of the models calls, or whose outputs have different shapes.
        unseen: names of layers that have weights, and of which no call was seen: nothing calls them, or only a
            compiled part does.
        uncompared: names of weights that only one of the models has by that name.
        left_out: what the models' frameworks save of them beside tensors, by name, and what it is: it was not compared.
        weak: why it proves little that outputs agree.
        notes: what else was not compared, and where to look.
    """

    max_difference: float
    tolerance: float
    agrees: bool
    scale: float = 0.0
    first: str | None = None
    passed: list[str] = field(default_factory=list)
    layers: list[tuple[str, float]] = field(default_factory=list)
    why: list[str] = field(default_factory=list)
    weights: list[tuple[str, float]] = field(default_factory=list)
    unpaired: list[str] = field(default_factory=list)
    unseen: list[str] = field(default_factory=list)
    uncompared: list[str] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    weak: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return "\n".join(line for text in self._texts() for line in wrapped(printable(text)))

    def _texts(self) -> list[str]:
        return [self._title(), *(self._agreeing() if self.agrees else self._differing()), *self.notes]

    def _title(self) -> str:
        word = "agree" if self.agrees else "differ"
        of = f" of {self.scale:.2g}" if self.scale else ""
        return f"outputs {word}: max difference {self.max_difference:.2g}, tolerance {self.tolerance:.2g}{of}"

    def _agreeing(self) -> list[str]:
        lines = [f"this proves little: {one}" for one in self.weak]
        if self.passed:
            lines.append(f"outputs of {_named(self.passed)} differ all the same, which is not seen behind them")
        if self.weights:
            lines.append(f"weights differ all the same: {enumerated(_by(self.weights))}")
        return [*lines, *self._uncompared()]

    def _differing(self) -> list[str]:
        if self.first is None:
            lines = ["no layer that pairs by name diverges before"]
        else:
            difference = float(np.max([found for name, found in self.layers if name == self.first]))  # NaN if one is
            lines = [f"first to diverge: {self.first or 'the model itself'}, by {difference:.2g}"]
        left = len(self.why) - MOST
        lines += [*self.why[:MOST], f"… and {left} more, which the report has"] if left > 1 else self.why
        if self.passed:
            lines.append(
                f"outputs of {_named(self.passed)} differ before it, and what is behind them does not: an activation "
                f"that is in the layer here and behind it there would explain that, or a padding"
            )
        others = [one for one in self.weights if not any(why.startswith(f"{one[0]} ") for why in self.why)]
        if others:
            lines.append(f"weights that differ elsewhere: {enumerated(_by(others))}")
        return [*lines, *self._uncompared()]

    def _uncompared(self) -> list[str]:
        layers = [] if self.agrees else self.unpaired
        lines = [f"outputs not compared: {_named([*layers, *self.unseen])}"] if layers or self.unseen else []
        if self.uncompared:
            lines.append(f"weights not compared, since only one of them has such: {enumerated(self.uncompared)}")
        return [*lines, *told(self.left_out, "not compared")]

    def _repr_html_(self) -> str:
        title, *notes = map(printable, self._texts())
        rows = [(name or "the model itself", f"{found:.2g}", _mark(name == self.first)) for name, found in self.layers]
        return report(title, [("layers", ("layer", "largest difference", ""), rows)], notes)


def _mark(first: bool) -> str:
    return "first to diverge" if first else ""


def _named(layers: list[str]) -> str:
    return enumerated([name or "the model itself" for name in layers])


def _by(weights: list[tuple[str, float]]) -> list[str]:
    return [f"{name} by {most:.2g}" for name, most in weights]


def verify(
    a: Any,
    b: Any,
    x: Any = None,
    *,
    native: Any = False,
    tolerance: float = 1e-5,
    rename: Rename | None = None,
) -> VerifyReport:
    """Compares two models' forward passes on a batch, and names the first layer that diverges for good.

    Weights are compared by name, settings as far as they are known. What was not compared is said, and what makes the
    batch prove little: a batch of zeros, units that are dead, outputs that do not depend on it.

    Args:
        a: a native model of any backend.
        b: another, of the same or any other backend; layers pair by canonical name.
        x: a batch, or a tuple of them for models with several inputs; images channels first, as for `run`.
        native: True passes the batch on in each model's own order of axes as it is; a pair of samples, one for each
            model, takes the place of x.
        tolerance: what outputs may differ by, as a share of the largest of the tensor that they are in; integers and
            booleans have to be the same.
        rename: regular expressions and their replacements, applied to the names of a's tensors in turn, or a function
            of one, as for `diff`.

    Raises:
        MismatchError: the outputs have different shapes, or it cannot be told which of them belong together.
        UnsupportedError: a backend cannot run models.

    >>> import multiparam as mp, numpy as np
    >>> a, b = (mp.nn.Sequential(mp.nn.Linear(4, 4), mp.nn.ReLU(), mp.nn.Linear(4, 2)) for _ in range(2))
    >>> for net in (a, b):
    ...     report = mp.initialize(net, mp.init.XavierUniform(), seed=0)
    >>> x = np.linspace(-1, 1, 12).reshape(3, 4)
    >>> print(mp.verify(a, b, x))
    outputs agree: max difference 0, tolerance 1e-05 of 0.51
    >>> mp.parameters(b)["2.bias"][:] = 1
    >>> print(mp.verify(a, b, x))
    outputs differ: max difference 1, tolerance 1e-05 of 1.1
    first to diverge: 2, by 1
    2.bias differs by 1
    """
    limit = number("tolerance", tolerance)
    if x is None and not isinstance(native, (tuple, list)):
        raise ArgumentError("verify needs a batch: verify(a, b, x), or native=(xa, xb)")
    if limit < 0:
        raise ArgumentError(f"tolerance is not negative, and is {tolerance}")
    if x is not None and isinstance(native, (tuple, list)):
        raise ArgumentError("native=(xa, xb) takes the place of x: pass one of them")
    samples = native if isinstance(native, (tuple, list)) else (x, x)
    if len(samples) != 2:
        raise ArgumentError(f"native= takes a pair of samples, one for each model, and there are {len(samples)}")
    renamed = renamer(rename or {})
    runs = _Runs(limit)
    first = traced(a, samples[0], renamed, bool(native), runs.expect)
    second = traced(b, samples[1], str, bool(native), runs.compare)
    found, notes = _whole(first.output, second.output, limit)
    report = VerifyReport(found.difference, limit, found.close, found.scale, notes=notes)
    _tell(report, runs, (first, second), known((a, b), (first, second), rename, renamed))
    if report.agrees:
        report.weak = weaknesses(first.batch, first.output, runs.pairs, limit)
    return report


def _whole(expected: Leaves, given: Leaves, limit: float) -> tuple[Closeness, list[str]]:
    """How close the outputs of the models are, and what of them is not compared."""
    pairs = corresponding(expected, given, whole=True)
    if not pairs or not any(expected[path].size for path, _ in pairs):
        what = (
            "the outputs cannot be compared"
            if expected and given
            else "the outputs have no tensors that could be compared"
        )
        if pairs:
            what = "the outputs have no numbers that could be compared"
        raise MismatchError(what, MismatchReport(misshaped=[("the output", shapes(expected), shapes(given))]))
    found = closeness([expected[path] for path, _ in pairs], [given[path] for _, path in pairs], limit)
    return found, [f"not compared: {one}" for one in _left(expected, given, pairs, "the outputs")]


def _left(expected: Leaves, given: Leaves, pairs: list[tuple[str, str]], of: str) -> list[str]:
    """What of two outputs is not compared."""
    found = []
    for which, leaves, used in (
        ("first", expected, {path for path, _ in pairs}),
        ("second", given, {path for _, path in pairs}),
    ):
        left = [path for path in leaves if path not in used]
        found += [f"{enumerated(left)} of {of} of the {which} model"] if left else []
    return found


class _Runs:
    """Compares the calls of one run with those of another, as they come.

    Attributes:
        pairs: what was compared.
        alone: the calls that were not.
    """

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self.pairs: list[Pair] = []
        self.alone: list[Call] = []
        self._waiting: dict[tuple[str, int], Call] = {}
        self._parted = False
        self._places: dict[str, tuple[str, int]] = {}

    def expect(self, trace: Trace, call: Call) -> None:
        """A call of the first run."""
        if not self._places:
            self._places = {name: (first, at) for first, all_ in trace.names.items() for at, name in enumerate(all_)}
        self._waiting[call.node.name, call.number] = call

    def compare(self, trace: Trace, call: Call) -> None:
        """A call of the second run."""
        key = self._key(trace, call)
        expected = self._waiting.get(key)
        paths = corresponding(expected.output, call.output, whole=False) if expected is not None else []
        if expected is None or not paths:
            self.alone.append(_emptied(call))
            return
        del self._waiting[key]
        tensors = [expected.output[path] for path, _ in paths], [call.output[path] for _, path in paths]
        pair = Pair(
            expected, call, close_inputs(expected.inputs, call.inputs, self.limit), closeness(*tensors, self.limit)
        )
        pair.partly = _left(expected.output, call.output, paths, f"the outputs of {pair.name or 'the model itself'}")
        pair.zeros = not any(one.any() for side in tensors for one in side)
        if any(varies(one) for one in expected.inputs):
            pair.constant = all(one.ndim and len(one) > 1 and not varies(one) for side in tensors for one in side)
        if not pair.found.close and not self._parted:
            self._parted = True
            given = (expected.inputs, call.inputs) if pair.given is False else tensors
            pair.reordered = reordered(*given, self.limit)
        _emptied(expected)
        _emptied(call)
        self.pairs.append(pair)

    def _key(self, trace: Trace, call: Call) -> tuple[str, int]:
        """The call of the first run; what is one layer at two places there may be two here, and the other way round."""
        key = (call.node.name, call.number)
        if key in self._waiting:
            return key
        names = trace.names.get(call.node.name, [])
        if call.number < len(names) and (names[call.number], 0) in self._waiting:
            return names[call.number], 0
        return self._places.get(call.node.name, key) if not call.number else key

    def done(self) -> tuple[list[Pair], list[Call]]:
        """What was compared, in the order of the first run, and the calls that were not."""
        self.pairs.sort(key=lambda pair: pair.a.order)
        return self.pairs, [*map(_emptied, self._waiting.values()), *self.alone]


def _emptied(call: Call) -> Call:
    """A call without its numbers, of which only it is asked whether there were any."""
    call.inputs, call.output = [one[:0] if one.ndim else one for one in call.inputs], {}
    return call


def _tell(report: VerifyReport, runs: _Runs, traces: tuple[Trace, Trace], found: Known) -> None:
    """Says which layers diverge, where for good, and what is known of it."""
    pairs, alone = runs.done()
    report.layers = [(pair.name, pair.found.difference) for pair in pairs]
    paired = {name for pair in pairs for name in (pair.a.node.name, pair.b.node.name)}
    names = dict.fromkeys(call.node.name for call in alone if not call.node.name.endswith(ASIDE))
    report.unpaired = [name for name in names if name not in paired]
    report.weights = [(fact.weight, fact.most) for fact in found.facts if fact.weight and fact.most != 0]
    report.uncompared, report.left_out = found.uncompared, found.left_out
    report.unseen = _unseen(traces, paired if report.agrees else paired | names.keys())
    report.notes += [found.problem] if found.problem else []
    parted = parting(pairs, found.touched(weights=True), found.touched())
    if report.agrees:
        loud = [pair for pair in parted.passed if _loud(pair, report.tolerance)]
        report.passed = list(dict.fromkeys(pair.name for pair in loud))
    else:
        report.passed = list(dict.fromkeys(pair.name for pair in parted.passed))
        report.first = None if parted.first is None else parted.first.name
        report.why, hints = explained(parted.first, pairs, alone, traces, found)
        report.notes += hints
    if found.uncompared:
        report.notes += prefix_hint(found.suggestion) or [
            "layers whose names differ are not compared: rename= says which are which"
        ]


def _loud(pair: Pair, tolerance: float) -> bool:
    return not pair.found.difference <= LOUD * tolerance * pair.found.scale


def _unseen(traces: tuple[Trace, Trace], seen: set[str]) -> list[str]:
    """The layers with weights whose outputs were not compared, nor those of anything but the model that they are in."""

    def covered(node: Node) -> bool:
        return any(one.name in seen and one.parent is not None for one in (node.layer, *above(node)))

    nodes = [node for trace in traces for node in trace.nodes() if node.slots and node.layer.name not in seen]
    return list(dict.fromkeys(node.layer.name for node in nodes if not covered(node)))
