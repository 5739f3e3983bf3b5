"""Where two runs part for good: of the calls of paired layers, the first one whose difference stays."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field

from ...model.node import Node
from .outputs import Closeness
from .trace import Call

__all__ = ["Pair", "Parting", "above", "parting"]


@dataclass(eq=False)
class Pair:
    """Two calls that were compared.

    Attributes:
        a: the one model's call, its numbers let go of.
        b: the other's.
        given: whether they were given the same; None where that is not known.
        found: how close is what they gave.
        partly: which of what they gave was not compared.
        zeros: both gave nothing but zeros.
        constant: both gave the same for every sample, and were given others for each.
        reordered: what both were given, or gave, are the same numbers in another order; told of the first that differ.
        settled: a layer that agrees took just what this one gave, or has it in it, so that a difference here is gone.
    """

    a: Call
    b: Call
    given: bool | None
    found: Closeness
    partly: list[str] = field(default_factory=list)
    zeros: bool = False
    constant: bool = False
    reordered: bool = False
    settled: bool = False

    @property
    def name(self) -> str:
        """The name under which the layers pair."""
        return self.a.node.name


@dataclass
class Parting:
    """What is said of where two runs part.

    Attributes:
        first: the call whose difference stays; None if there is none.
        passed: those before it whose difference is gone further on.
    """

    first: Pair | None
    passed: list[Pair]


def parting(pairs: Iterable[Pair], weights: Collection[int], known: Collection[int]) -> Parting:
    """Goes through the calls in their order.

    A difference is gone where a later layer gives the same, or is given the same, and got that from where the
    difference would have come through. What a layer was given before the difference arose tells nothing of it: it is
    in another branch.

    Args:
        pairs: in the order of the forward pass.
        weights: the identities of layers in or below which a weight is known to differ.
        known: those in or below which a weight or a setting is.
    """
    staying: list[Pair] = []
    gone: list[Pair] = []
    for pair in pairs:
        for one in [one for one in staying if _ends(pair, one, known)]:
            one.settled = _inside(one, pair) or pair.a.since == one.a.order or pair.b.since == one.b.order
            staying.remove(one)
            gone.append(one)
        if not pair.found.close:
            staying.append(pair)
    if not staying:
        return Parting(None, gone)
    first = _back(staying[0], gone, weights) or _passed_over(staying, known)
    return Parting(first, [one for one in gone if one.a.order < first.a.order] + staying[: _at(staying, first)])


def _ends(pair: Pair, one: Pair, known: Collection[int]) -> bool:
    """Whether a call tells that the difference of an earlier one is gone."""
    if not pair.found.close:
        return bool(pair.given) and _behind(pair, one) and not _inside(one, pair)
    if _inside(one, pair):
        return True
    # where an adapter does not tell what layers are given, nothing is known of the way
    told = pair.a.inputs or pair.b.inputs
    return _behind(pair, one) if told else not _among(one, known)


def _at(staying: list[Pair], first: Pair) -> int:
    return next((position for position, one in enumerate(staying) if one is first), 0)


def _back(first: Pair, gone: list[Pair], weights: Collection[int]) -> Pair | None:
    """One whose difference was taken for gone, where the first that stays does not come from what it has itself.

    It may be in a branch that only begins with a function.
    """
    for one in gone:
        doubtful = first.given is False or _inside(one, first)
        if doubtful and not one.settled and _among(one, weights) and one.a.order < first.a.order:
            return one
    return None


def _passed_over(staying: list[Pair], known: Collection[int]) -> Pair:
    """The first, unless nothing is known of it, and something of one that may be given the same as far as is known."""
    first = staying[0]
    if _among(first, known) or not _has_weights(first.a.node):
        return first
    return next((one for one in staying[1:] if one.given is None and _among(one, known)), first)


def _has_weights(node: Node) -> bool:
    return any(below.slots for below in node.walk())


def _among(pair: Pair, nodes: Collection[int]) -> bool:
    return id(pair.a.node) in nodes or id(pair.b.node) in nodes


def _behind(pair: Pair, other: Pair) -> bool:
    """Whether a call may have been given what another gave: not what was there before that."""
    return pair.a.since >= other.a.order and pair.b.since >= other.b.order


def _inside(pair: Pair, container: Pair) -> bool:
    """Whether a call is one of a layer in another's."""
    return pair is not container and any(node is container.a.node for node in above(pair.a.node))


def above(node: Node) -> Iterator[Node]:
    """The containers of a layer, from the nearest to the model."""
    while node.parent is not None:
        node = node.parent
        yield node
