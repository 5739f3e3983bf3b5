"""Whether two models compute the same, and where they begin not to."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .adapter import Capability
from .arrays import difference
from .errors import ArgumentError, MismatchError, MismatchReport
from .formats import listed
from .html import report
from .init.rule import number
from .kinds import KINDS, takes_features_last
from .names import join
from .registry import infer_model
from .rename import Rename, renamed_layer, renamer
from .run import Turned, as_numpy, batches, check_numbers, turned_ranks
from .settings import TRAINING, differing
from .steps import Array
from .table import Fold
from .tree import Node, Tree

__all__ = ["VerifyReport", "verify"]


_AGREES = "its weights and settings agree: look at what is between it and the layer before"
_UNPAIRED = "layers whose names differ were not compared, nor were their weights: rename= says which are which"

Leaves = dict[str, Array]  # the tensors of an output, by their place in it


@dataclass
class VerifyReport:
    """What a verification found.

    Attributes:
        max_difference: the largest absolute difference of the outputs; NaN where one has NaN and the other not.
        tolerance: what it may be, times the largest output where that exceeds 1.
        agrees: whether it is no more than that.
        first: where the outputs differ by more, the name of the first layer in the order of the forward pass that does
            too; None if none pairs by name. One with weights in which nothing is known to differ is passed over, if
            something is known of a later one: it may have an activation in it that is a layer of its own elsewhere.
        passed: the layers that were passed over so.
        layers: (name, largest absolute difference of its outputs) for the layers that pair, in that order.
        why: what is known to differ in the first one, or in those that do not pair: weights, kinds, settings.
        unpaired: names of layers that only one of the models calls, or whose outputs have different shapes.
    """

    max_difference: float
    tolerance: float
    agrees: bool
    first: str | None = None
    passed: list[str] = field(default_factory=list)
    layers: list[tuple[str, float]] = field(default_factory=list)
    why: list[str] = field(default_factory=list)
    unpaired: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        word = "agree" if self.agrees else "differ"
        lines = [f"outputs {word}: max difference {self.max_difference:.2g}, tolerance {self.tolerance:.2g}"]
        if self.first is not None:
            difference = next(found for name, found in self.layers if name == self.first)
            lines.append(f"first to diverge: {self.first or 'the model itself'}, by {difference:.2g}")
            lines += self.why or [_AGREES if self.first or not self.unpaired else _UNPAIRED]
            if self.passed:
                lines.append(
                    f"outputs of {listed(self.passed)} differ before it, where weights and settings agree: an "
                    f"activation that is in the layer here and behind it there would explain that"
                )
        elif not self.agrees:
            lines += ["no layer that pairs by name diverges before", *self.why]
        if self.unpaired and not self.agrees:
            lines.append(f"not compared: {', '.join(name or 'the model itself' for name in self.unpaired)}")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        title, *notes = str(self).splitlines()
        rows = [(name or "the model itself", f"{found:.2g}", _mark(name == self.first)) for name, found in self.layers]
        return report(title, [("layers", ("layer", "largest difference", ""), rows)], notes)


def _mark(first: bool) -> str:
    return "first to diverge" if first else ""


def verify(
    a: Any,
    b: Any,
    x: Any = None,
    *,
    native: Any = False,
    tolerance: float = 1e-5,
    rename: Rename | None = None,
) -> VerifyReport:
    """Compares two models' forward passes on a batch, and names the first layer that diverges.

    Args:
        a: a native model of any backend.
        b: another, of the same or any other backend; layers pair by canonical name.
        x: a batch, or a tuple of them for models with several inputs; images channels first, as for `run`.
        native: True passes the batch on in each model's own order of axes as it is; a pair of samples, one for each
            model, takes the place of x.
        tolerance: the largest absolute difference, times the largest output where that exceeds 1.
        rename: regular expressions and their replacements, applied to the names of a's tensors in turn, or a function
            of one, as for `diff`.

    Raises:
        MismatchError: the outputs have different structures or shapes.
        UnsupportedError: a backend cannot run models.

    >>> import multiparam as mp, numpy as np
    >>> a, b = (mp.nn.Sequential(mp.nn.Linear(4, 4), mp.nn.ReLU(), mp.nn.Linear(4, 2)) for _ in range(2))
    >>> for net in (a, b):
    ...     report = mp.initialize(net, mp.init.XavierUniform(), seed=0)
    >>> print(mp.verify(a, b, np.ones((1, 4))))
    outputs agree: max difference 0, tolerance 1e-05
    >>> mp.parameters(b)["2.bias"][:] = 1
    >>> print(mp.verify(a, b, np.ones((1, 4))))
    outputs differ: max difference 1, tolerance 1e-05
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
    traces = [_traced(a, samples[0], renamed, bool(native)), _traced(b, samples[1], str, bool(native))]
    expected, given = (dict(_leaves(trace.output)) for trace in traces)
    if not expected or _shapes(expected) != _shapes(given):
        raise MismatchError(
            "the outputs cannot be compared" if expected else "the outputs have no tensors that could be compared",
            MismatchReport(misshaped=[("the output", _shapes(expected), _shapes(given))]),
        )
    report = VerifyReport(_difference(expected, given), limit, _close(expected, given, limit))
    _pair(traces[0], traces[1], report)
    images = any(one.ndim > 2 for sample in samples for _, one in _leaves(sample))
    turned = len({_has_channels_last(trace.tree) for trace in traces}) > 1
    if report.first and not report.why and images and turned:
        report.why.append(
            f"{_AGREES}; one of the models has its channels last, and flattens or reshapes images in another order "
            f"unless they are turned first"
        )
    return report


@dataclass
class _Trace:
    tree: Tree
    output: Any = None
    calls: dict[tuple[str, int], Leaves] = field(default_factory=dict)


def _traced(model: Any, sample: Any, renamed: Callable[[str], str], native: bool) -> _Trace:
    """Runs a model, and keeps what each of its layers gave, by the layer's name and the number of the call."""
    adapter = infer_model(model)
    adapter.require(Capability.RUN)
    trace = _Trace(Tree(adapter, model))
    check_numbers(trace.tree)
    _rename(trace.tree, renamed)
    turned = Turned() if native else turned_ranks(trace.tree, sample if isinstance(sample, tuple) else (sample,))
    names: dict[int, str] = {}
    watched = []
    for node in trace.tree.root.walk():
        if not node.is_inner and id(node.native) not in names:
            names[id(node.native)] = node.name
            watched.append(node.native)
    counts: dict[int, int] = {}
    kinds = {id(node.native): node.kind for node in trace.tree.root.walk() if not node.is_inner}
    images = set(turned.inputs)  # the ranks of what is an image with channels last, after the layers so far

    def seen(layer: Any, output: Any) -> None:
        kind = kinds[id(layer)]
        if not native:
            _follow(images, kind, adapter.images(layer), getattr(layer, "to_images", False))
        count = counts[id(layer)] = counts.get(id(layer), -1) + 1
        trace.calls[names[id(layer)], count] = dict(_leaves(as_numpy(adapter, output, frozenset(images))))

    inputs = batches(trace.tree, sample if isinstance(sample, tuple) else (sample,), turned.inputs)
    with adapter.watch(watched, seen):
        trace.output = as_numpy(adapter, adapter.run(model, inputs), turned.outputs)
    return trace


def _rename(tree: Tree, renamed: Callable[[str], str]) -> None:
    """Gives the layers of a tree other names; a container without tensors of its own makes room for a layer."""
    taken: dict[str, Node] = {}
    for node in sorted(tree.root.walk(), key=lambda node: not node.slots):
        name = renamed_layer(renamed, node.name, node.a_role)
        if name in taken and node.slots:
            raise ArgumentError(f"rename= turns both {taken[name].name!r} and {node.name!r} into {name!r}")
        if name not in taken:
            taken[name] = node
    for node in tree.root.walk():
        name = renamed_layer(renamed, node.name, node.a_role)
        node.name = name if taken[name] is node else f"{name} (a container)"


def _follow(images: set[int], kind: str, taken: frozenset[int], to_images: bool) -> None:
    """Which ranks are images behind a layer: those that it takes for such, and what a Reshape makes for the next."""
    if kind in ("Flatten", "Reshape"):
        images.clear()
        images |= {3, 4, 5} if to_images else set()
    else:
        images |= taken
    if takes_features_last(kind):
        images.discard(3)


@dataclass
class _Diverging:
    name: str
    why: list[str]
    has_weights: bool


def _pair(a: _Trace, b: _Trace, report: VerifyReport) -> None:
    diverging: list[_Diverging] = []
    for key, expected in a.calls.items():
        given = b.calls.get(key)
        if given is None or _shapes(expected) != _shapes(given):
            continue
        report.layers.append((key[0], _difference(expected, given)))
        if _close(expected, given, report.tolerance):
            diverging = [one for one in diverging if one.why]  # what is not known to differ was made good
        elif not report.agrees:
            node = _node(a.tree, key[0])
            has_weights = any(below.slots for below in node.walk())
            diverging.append(_Diverging(key[0], list(_why(node, _node(b.tree, key[0]))), has_weights))
    paired = {name for name, _ in report.layers}
    report.unpaired = list(dict.fromkeys(name for name, _ in (*a.calls, *b.calls) if name not in paired))
    if diverging:
        first = next((one for one in diverging if one.why), diverging[0])
        first = first if diverging[0].has_weights else diverging[0]
        report.first, report.why = first.name, first.why
        report.passed = [one.name for one in diverging[: diverging.index(first)]]
        kinds = [_node(trace.tree, first.name).kind for trace in (a, b)]
        if not first.why and kinds[0] != kinds[1] and not KINDS.keys().isdisjoint(kinds):  # one is a function, say
            report.why = [f"{first.name or 'the model'} has kind {kinds[0]}, and {kinds[1]}"]
    for name in report.unpaired if not report.agrees and not report.why else ():
        both = [[node for node in trace.tree.root.walk() if node.name == name] for trace in (a, b)]
        report.why += _why(both[0][0], both[1][0]) if all(both) else []


def _has_channels_last(tree: Tree) -> bool:
    return any(tree.adapter.channels_last(node.native) for node in tree.root.walk() if not node.is_inner)


def _node(tree: Tree, name: str) -> Node:
    return next(node for node in tree.root.walk() if node.name == name)


def _why(a: Node, b: Node) -> Iterator[str]:
    """What differs between two layers below each other's name: kinds, settings, weights."""
    others = {node.name: node for node in b.walk()}
    for node in a.walk():
        other = others.get(node.name)
        if other is None:
            continue
        where = node.name or "the model"
        for setting, value, others_value in differing(node.described(), other.described()):
            if setting not in TRAINING:
                yield f"{where} has {setting} {value}, and {others_value}"
        first, second = _values(node, other.folds()), _values(other, node.folds())
        for role in dict.fromkeys((*first, *second)):
            name = join(node.name, role)
            if role not in first or role not in second:
                lacking = other if role in first else node
                if role not in lacking.file_only():  # or it has no part in the forward pass
                    yield f"{name} is in one of them only"
            elif first[role].shape != second[role].shape:
                yield f"{name} has the shape {first[role].shape}, and {second[role].shape}"
            elif (most := difference(first[role], second[role])) != 0:  # NaN too
                yield f"{name} differs by {most:.2g}"


def _values(node: Node, folds: Mapping[str, Fold]) -> dict[str, Array]:
    """A layer's tensors by role; what another layer keeps as a sum is one here too."""
    found = {slot.role: slot.read(slot.ready() or ()) for slot in node.slots}
    for role, fold in folds.items():
        if role in found and fold.into in found:
            added, rest = fold.split(found[role])
            found[fold.into] = found[fold.into] + added
            if rest.any():
                found[role] = rest
            else:
                del found[role]
    return found


def _leaves(output: Any, path: str = "") -> Iterator[tuple[str, Array]]:
    """The tensors in a model's output, by where they lie in it."""
    if isinstance(output, Mapping):
        for key in sorted(output, key=str):
            yield from _leaves(output[key], f"{path}[{key!r}]")
    elif isinstance(output, (list, tuple)):
        for position, one in enumerate(output):
            yield from _leaves(one, f"{path}[{position}]")
    elif isinstance(output, (np.ndarray, np.generic)):
        yield path, np.asarray(output)


def _shapes(leaves: Leaves) -> dict[str, tuple[int, ...]]:
    return {path: one.shape for path, one in leaves.items()}


def _difference(first: Leaves, second: Leaves) -> float:
    return float(np.max([difference(first[path], second[path]) for path in first] or [0.0]))  # NaN if one is


def _close(first: Leaves, second: Leaves, tolerance: float) -> bool:
    def close(a: Array, b: Array) -> bool:
        finite = np.abs(a[np.isfinite(a)]) if a.size else a
        scale = max(1.0, float(finite.max())) if finite.size else 1.0
        return difference(a, b) <= tolerance * scale

    return all(close(first[path], second[path]) for path in first)
