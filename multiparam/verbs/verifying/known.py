"""What is known to differ between two models' layers, and what of them could not be compared."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from ...errors import UninitializedError
from ...layer_table.kinds import KINDS
from ...layer_table.settings import TRAINING, shown
from ...model.node import Node
from ..diff import DiffReport, diff
from .causes import Pair, above
from .trace import Trace

__all__ = ["Fact", "Known", "known"]

COUNTED = "num_batches_tracked"  # which no forward pass in eval mode depends on


@dataclass(eq=False)
class Fact:
    """Something that differs.

    Attributes:
        text: what is said of it.
        nodes: the layers of either model that have it.
        weight: the name of the weight that differs; empty for a setting.
        most: the largest difference of its numbers; NaN where their shapes differ, 0 where there is none to tell.
        setting: for a setting, the layer and what is said of it, which may hold for others as well.
    """

    text: str
    nodes: tuple[Node, ...]
    weight: str = ""
    most: float = float("nan")
    setting: tuple[str, str] = ("", "")

    def of(self, pair: Pair) -> bool:
        """Whether it is one of a pair of layers, or of what is in them."""
        wanted = (pair.a.node, pair.b.node)
        return any(one is node for own in self.nodes for one in (own, *above(own)) for node in wanted)


@dataclass
class Known:
    """What two models' weights and settings tell.

    Attributes:
        facts: what differs, in the order of the first model.
        uncompared: names of the weights that only one of them has.
        apart: the layers of these.
        problem: why weights were not compared; empty if they were.
        left_out: what the models' frameworks save of them beside tensors, and what it is.
        suggestion: what to pass as `rename=`.
    """

    facts: list[Fact] = field(default_factory=list)
    uncompared: list[str] = field(default_factory=list)
    apart: list[Node] = field(default_factory=list)
    problem: str = ""
    left_out: dict[str, str] = field(default_factory=dict)
    suggestion: dict[str, str] = field(default_factory=dict)

    def touched(self, *, weights: bool = False) -> set[int]:
        """The identities of the layers in or below which something differs; of weights only, if asked for."""
        return {
            id(one)
            for fact in self.facts
            if fact.weight or not weights
            for own in fact.nodes
            for one in (own, *above(own))
        }


def known(models: tuple[Any, Any], traces: tuple[Trace, Trace], rename: Any, renamed: Callable[[str], str]) -> Known:
    """Compares two models' weights and settings.

    Args:
        models: the models.
        traces: their runs.
        rename: as for `diff`.
        renamed: what it does to a name of the first.
    """
    try:
        found = diff(*models, rename=rename)
    except UninitializedError as error:
        return Known(problem=f"weights were not compared: {error}")
    turns: tuple[Callable[[str], str], ...] = (renamed, str)
    sides = [
        {turn(slot.name): slot.node for group in trace.tree.groups for slot in group}
        for trace, turn in zip(traces, turns, strict=True)
    ]
    layers = [{node.name: node for node in reversed(trace.nodes())} for trace in traces]
    made = Known(left_out=found.left_out, suggestion=found.suggestion)
    made.facts = [*_settings(found, layers)]
    _weights(found, sides, layers, made)
    order = {id(node): position for trace in traces for position, node in enumerate(trace.nodes())}
    made.facts.sort(key=lambda fact: order.get(id(fact.nodes[0]), 0) if fact.nodes else 0)
    return made


def _settings(found: DiffReport, layers: list[dict[str, Node]]) -> Iterable[Fact]:
    for layer, setting, one, other in found.settings:
        # a class of somebody's own may compute what a known kind does
        named = setting == "kind" and not {str(one), str(other)} <= KINDS.keys()
        if setting not in TRAINING and not named:
            nodes = tuple(side[layer] for side in layers if layer in side)
            text = f"{setting} {shown(one)}, and {shown(other)}"
            yield Fact(f"{layer or 'the model'} has {text}", nodes, setting=(layer, text))


def _weights(found: DiffReport, sides: list[dict[str, Node]], layers: list[dict[str, Node]], made: Known) -> None:
    def owners(name: str) -> tuple[Node, ...]:
        return tuple(side[name] for side in sides if name in side)

    texts = {name: (f"differs by {most:.2g}", most) for name, most in found.changed}
    texts |= {name: (f"has the shape {one}, and {other}", float("nan")) for name, one, other in found.reshaped}
    for name in dict.fromkeys((*found.removed, *found.added)):
        there = owners(name)
        both = all(node.layer.name in side for node in there for side in layers)
        # a layer that both have lacks it in one of them; one that only one has was not compared
        if both and there:
            texts[name] = ("is in one of them only", 0.0)
        else:
            made.uncompared.append(name)
            made.apart += [node.layer for node in there]
    texts |= {name: (f"is {one}, and {other}", 0.0) for name, one, other in found.retyped if name not in texts}
    names = [name for side in sides for name in side]
    for name in dict.fromkeys((*names, *texts)):
        if name in texts and name.rpartition(".")[2] != COUNTED:
            text, most = texts[name]
            made.facts.append(Fact(f"{name} {text}", owners(name), name, most))
