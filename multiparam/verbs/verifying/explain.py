"""What is known of why two models part where they do, and where to look if nothing is."""

from __future__ import annotations

from collections.abc import Sequence

from ...layer_table.kinds import KINDS
from ...model.node import Node
from ...text import enumerated, where
from .causes import Pair
from .known import Fact, Known
from .trace import Call, Trace

__all__ = ["explained"]

_AGREE = "its weights agree, and of its settings those that are compared"
_LAST = (
    "one of the models has its channels last, and flattens or reshapes images in another order unless they are turned "
    "first"
)


def explained(
    first: Pair | None, pairs: Sequence[Pair], alone: Sequence[Call], traces: tuple[Trace, Trace], found: Known
) -> tuple[list[str], list[str]]:
    """What is known to differ in the layer where two models part, or before it; and where to look.

    Args:
        first: the call of the layer; None if there is none.
        pairs: all calls that were compared.
        alone: those that were not.
        traces: the runs.
        found: what is known to differ.
    """
    own = [] if first is None else [fact for fact in found.facts if fact.of(first)]
    before = _before(first, pairs, alone, found)
    blamed = own
    if (
        first is None
        or first.given is False
        or (not any(fact.weight for fact in own) and first.a.node.children)
        or not own
    ):
        blamed = [*(fact for fact in before if fact not in own), *own]
    why = _said(blamed)
    if first is None:
        return why, []
    partly = [f"not compared: {one}" for one in first.partly]
    if not why:
        kinds = _kinds(first)
        where_to_look = [] if kinds else [_where(first, pairs, traces, found)]
        return [kinds] if kinds else [], [*where_to_look, *partly]
    return why, partly


def _said(facts: Sequence[Fact]) -> list[str]:
    """A line for each fact; one for those that hold for several layers."""
    layers: dict[str, list[str]] = {}
    for fact in facts:
        layer, text = fact.setting
        layers.setdefault(text or fact.text, []).append(layer)
    several = {text for text, names in layers.items() if len(names) > 1}
    lines = [
        f"{text} in {where(layers[text])}" if (text := fact.setting[1]) in several else fact.text for fact in facts
    ]
    return list(dict.fromkeys(lines))


def _before(first: Pair | None, pairs: Sequence[Pair], alone: Sequence[Call], found: Known) -> list[Fact]:
    """What differs in layers whose outputs were not compared, and that may come before a call."""
    compared = {id(node) for pair in pairs for node in (pair.a.node, pair.b.node)}
    orders: dict[int, int] = {}
    for call in alone:
        orders.setdefault(id(call.node), call.order)

    def late(node: Node) -> bool:
        last = None if first is None else max(first.a.order, first.b.order)
        return last is not None and orders.get(id(node.layer), -1) > last

    return [fact for fact in found.facts if not any(id(node.layer) in compared or late(node) for node in fact.nodes)]


def _kinds(first: Pair) -> str:
    """That two layers are of different kinds, where those tell what they compute."""
    nodes = (first.a.node, first.b.node)
    kinds = [node.kind for node in nodes]
    known = [kind in KINDS and kind != "Sequential" for kind in kinds]
    if kinds[0] == kinds[1] or not any(known) or any(node.children for node in nodes):
        return ""
    name = first.name or "the model"
    if all(known):
        return f"{name} has kind {kinds[0]}, and {kinds[1]}"
    return (
        f"{name} is a {kinds[0]}, and a {kinds[1]}: what the latter computes is not known"
        if known[0]
        else (f"{name} is a {kinds[0]}, and a {kinds[1]}: what the former computes is not known")
    )


def _where(first: Pair, pairs: Sequence[Pair], traces: tuple[Trace, Trace], found: Known) -> str:
    """Where to look, since nothing is known to differ."""
    if first.a.node.children or first.b.node.children:
        return _in_container(first, pairs, traces, found)
    unknown = [node.kind for node in (first.a.node, first.b.node) if not node.described()]
    if found.problem:
        said = "nothing is known to differ in it"
    elif unknown:
        said = f"its weights agree; settings of a {' or a '.join(dict.fromkeys(unknown))} are not known"
    else:
        said = _AGREE
    turned = len({_has_channels_last(trace) for trace in traces}) > 1
    images = any(one.ndim > 2 for trace in traces for one in trace.batch)
    order = f"; {_LAST}" if turned and images else ""
    if first.given:
        if first.reordered:
            return f"{said}, and it gives the same numbers in another order{order}"
        return f"{said}, and it is given the same: look at its other settings, and at code of its own"
    given = ", but it is not given the same" if first.given is False else ""
    given = ", but it is given the same numbers in another order" if first.reordered and given else given
    return f"{said}{given}: look at what is between it and the layer before{order}"


def _in_container(first: Pair, pairs: Sequence[Pair], traces: tuple[Trace, Trace], found: Known) -> str:
    inside = [{node.name for node in list(side.node.walk())[1:] if not node.is_inner} for side in (first.a, first.b)]
    compared = {pair.name for pair in pairs}
    missed = [name for name in dict.fromkeys((*inside[0], *inside[1])) if name not in compared]
    apart = {id(node) for node in found.apart}
    weights = any(id(node) in apart for side in (first.a, first.b) for node in side.node.walk())
    if weights or found.problem:
        return "it is not known why: not all weights in it were compared"
    if missed:
        return (
            f"the weights in it agree, and so do those of its layers whose outputs were compared: look at the others, "
            f"{enumerated(sorted(missed))}, and at what it does beside them"
        )
    return "the layers in it agree: look at what it does between and behind them"


def _has_channels_last(trace: Trace) -> bool:
    return any(node.adapter.channels_last(node.native) for node in trace.nodes() if not node.is_inner)
