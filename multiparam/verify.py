"""Whether two models compute the same, and where they begin not to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .adapter import Capability
from .errors import ArgumentError, MismatchError, MismatchReport
from .init.rule import number
from .kinds import image_ranks, takes_features_last
from .registry import infer_model
from .run import Turned, as_numpy, batches, turned_ranks
from .steps import Array
from .tree import Node, Tree

__all__ = ["VerifyReport", "verify"]


@dataclass
class VerifyReport:
    """What a verification found.

    Attributes:
        max_difference: the largest absolute difference of the outputs; NaN where one has NaN and the other not.
        tolerance: what it may be, times the largest output where that exceeds 1.
        agrees: whether it is no more than that.
        first: the name of the first layer, in the order of the forward pass, whose outputs differ by more; None if
            none does, or none pairs by name.
        layers: (name, largest absolute difference of its outputs) for the layers that pair, in that order.
        why: what is known to differ in the first one: weights, kinds, settings.
    """

    max_difference: float
    tolerance: float
    agrees: bool
    first: str | None = None
    layers: list[tuple[str, float]] = field(default_factory=list)
    why: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        word = "agree" if self.agrees else "differ"
        lines = [f"outputs {word}: max difference {self.max_difference:.2g}, tolerance {self.tolerance:.2g}"]
        if self.first is not None:
            difference = next(found for name, found in self.layers if name == self.first)
            lines.append(f"first to diverge: {self.first or 'the model itself'}, by {difference:.2g}")
            lines += self.why or ["its weights and settings agree: look at what is between it and the layer before"]
        elif not self.agrees:
            lines.append("no layer that pairs by name diverges before")
        return "\n".join(lines)


def verify(a: Any, b: Any, x: Any = None, *, native: Any = False, tolerance: float = 1e-5) -> VerifyReport:
    """Compares two models' forward passes on a batch, and names the first layer that diverges.

    Args:
        a: a native model of any backend.
        b: another, of the same or any other backend; layers pair by canonical name.
        x: a batch, or a tuple of them for models with several inputs; images channels first, as for `run`.
        native: True passes the batch on in each model's own order of axes as it is; a pair of samples, one for each
            model, takes the place of x.
        tolerance: the largest absolute difference, times the largest output where that exceeds 1.

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
    samples = native if isinstance(native, (tuple, list)) else (x, x)
    if len(samples) != 2:
        raise ArgumentError(f"native= takes a pair of samples, one for each model, and there are {len(samples)}")
    traces = [_traced(model, sample, bool(native)) for model, sample in zip((a, b), samples, strict=True)]
    expected, given = (list(_leaves(trace.output)) for trace in traces)
    if [one.shape for one in expected] != [one.shape for one in given]:
        shapes = [tuple(one.shape for one in found) for found in (expected, given)]
        raise MismatchError(
            "the outputs cannot be compared", MismatchReport(misshaped=[("the output", shapes[0], shapes[1])])
        )
    report = VerifyReport(_difference(expected, given), limit, _close(expected, given, limit))
    _pair(traces[0], traces[1], report)
    return report


@dataclass
class _Trace:
    tree: Tree
    output: Any = None
    calls: dict[tuple[str, int], list[Array]] = field(default_factory=dict)


def _traced(model: Any, sample: Any, native: bool) -> _Trace:
    """Runs a model, and keeps what each of its layers gave, by the layer's name and the number of the call."""
    adapter = infer_model(model)
    adapter.require(Capability.RUN)
    trace = _Trace(Tree(adapter, model))
    turned = Turned() if native else turned_ranks(trace.tree)
    names: dict[int, str] = {}
    watched = []
    for node in trace.tree.root.walk():
        if not node.is_inner and id(node.native) not in names:
            names[id(node.native)] = node.name
            watched.append(node.native)
    counts: dict[int, int] = {}
    kinds = {id(node.native): node.kind for node in trace.tree.root.walk() if not node.is_inner}
    images = [3 in turned.inputs]  # whether what was made last with three axes is an image

    def seen(layer: Any, output: Any) -> None:
        kind = kinds[id(layer)]
        if 3 in image_ranks(kind) or takes_features_last(kind):
            images[0] = 3 in image_ranks(kind) and adapter.channels_last(layer)
        ranks = (turned.outputs - {3}) | ({3} if images[0] and not native else frozenset())
        count = counts[id(layer)] = counts.get(id(layer), -1) + 1
        trace.calls[names[id(layer)], count] = list(_leaves(as_numpy(adapter, output, ranks)))

    inputs = batches(trace.tree, sample if isinstance(sample, tuple) else (sample,), turned.inputs)
    with adapter.watch(watched, seen):
        trace.output = as_numpy(adapter, adapter.run(model, inputs), turned.outputs)
    return trace


def _pair(a: _Trace, b: _Trace, report: VerifyReport) -> None:
    for key, expected in a.calls.items():
        given = b.calls.get(key)
        if given is None or [one.shape for one in expected] != [one.shape for one in given]:
            continue
        report.layers.append((key[0], _difference(expected, given)))
        if report.first is None and not _close(expected, given, report.tolerance):
            report.first = key[0]
            report.why = list(_why(_node(a.tree, key[0]), _node(b.tree, key[0])))


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
        if node.kind != other.kind:
            yield f"{where} is a {node.kind}, and a {other.kind}"
        settings = other.settings()
        for setting, value in node.settings().items():
            if setting in settings and settings[setting] != value:
                yield f"{where} has {setting} {value}, and {settings[setting]}"
        slots = {slot.role: slot for slot in other.slots}
        own = {slot.role for slot in node.slots} | set(node.file_only())
        yield from (f"{slot.name} is in one of them only" for slot in other.slots if slot.role not in own)
        for slot in node.slots:
            if slot.role not in slots:
                if slot.role not in other.file_only():  # or it has no part in the forward pass
                    yield f"{slot.name} is in one of them only"
                continue
            values = [one.read(one.ready() or ()) for one in (slot, slots[slot.role])]
            if values[0].shape != values[1].shape:
                yield f"{slot.name} has the shape {values[0].shape}, and {values[1].shape}"
            elif (difference := _difference([values[0]], [values[1]])) > 0:
                yield f"{slot.name} differs by {difference:.2g}"


def _leaves(output: Any) -> Iterator[Array]:
    if isinstance(output, Mapping):
        for key in output:
            yield from _leaves(output[key])
    elif isinstance(output, (list, tuple)):
        for one in output:
            yield from _leaves(one)
    elif isinstance(output, (np.ndarray, np.generic)):
        yield np.asarray(output)


def _difference(first: list[Array], second: list[Array]) -> float:
    return max((_largest(a, b) for a, b in zip(first, second, strict=True)), default=0.0)


def _largest(a: Array, b: Array) -> float:
    if not a.size:
        return 0.0
    wide = np.complex128 if a.dtype.kind == "c" else np.float64
    first, second = a.astype(wide), b.astype(wide)
    same = (first == second) | (np.isnan(first) & np.isnan(second))  # infinities of one sign too
    return float(np.where(same, 0, np.abs(np.where(same, 0, first) - np.where(same, 0, second))).max())


def _close(first: list[Array], second: list[Array], tolerance: float) -> bool:
    def close(a: Array, b: Array) -> bool:
        finite = np.abs(a[np.isfinite(a)]) if a.size else a
        scale = max(1.0, float(finite.max())) if finite.size else 1.0
        return _largest(a, b) <= tolerance * scale

    return all(close(a, b) for a, b in zip(first, second, strict=True))
