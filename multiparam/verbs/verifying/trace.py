"""What each layer of a model is given and gives when the model runs on a batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...adapter.base import Adapter
from ...adapter.capabilities import Runs
from ...adapter.registry import infer_model
from ...arrays.nested import leaves
from ...arrays.types import Array
from ...errors import ArgumentError
from ...layer_table.kinds import takes_features_last
from ...model.node import Node
from ...model.tree import Tree, bump_version
from ...names.rename import renamed_layer
from ..run import Turned, batches, check_numbers, turned_ranks
from .outputs import Leaves

__all__ = ["ASIDE", "Call", "Trace", "traced"]

ASIDE = " (a container)"  # behind the name of one that makes room for a layer


@dataclass
class Call:
    """One call of a layer.

    Attributes:
        node: the layer.
        number: how many calls of it there were before.
        order: how many calls of any layer were over before.
        inputs: the tensors it was given, as far as the adapter tells them.
        since: the order of the call that gave the latest of them; a half less than that of the first call that was
            given it, where it is no layer's output.
        output: what it gave.
    """

    node: Node
    number: int
    order: int
    inputs: list[Array]
    since: float
    output: Leaves


@dataclass
class Trace:
    """A model's run.

    Attributes:
        tree: the model, its layers with the names under which they are compared.
        batch: what it was given.
        output: what it gave.
        names: all names of a layer that the model has at several places, by the first of them.
        called: the names of the layers that were seen to be called.
    """

    tree: Tree
    batch: list[Array]
    output: Leaves = field(default_factory=dict)
    names: dict[str, list[str]] = field(default_factory=dict)
    called: set[str] = field(default_factory=set)

    def nodes(self) -> list[Node]:
        """All layers, parents first."""
        return list(self.tree.root.walk())


def traced(
    model: Any, sample: Any, renamed: Callable[[str], str], native: bool, seen: Callable[[Trace, Call], None]
) -> Trace:
    """Runs a model.

    Args:
        model: a native model.
        sample: its batch, or a tuple of them.
        renamed: what turns the names of its tensors into those under which they are compared.
        native: inputs and outputs are in the model's own order of axes.
        seen: called after each call of a layer.
    """
    adapter = infer_model(model).require(Runs)
    tree, given = Tree(adapter, model), sample if isinstance(sample, tuple) else (sample,)
    check_numbers(tree)
    turned = Turned() if native else turned_ranks(tree, given)
    if tree.lazy:  # what has no parameters yet gets them first
        adapter.run(model, batches(tree, given, turned.inputs))
        bump_version()
        tree = Tree(adapter, model)
    trace = Trace(tree, batches(tree, given, turned.inputs))
    rename_layers(tree, renamed)
    nodes: dict[int, Node] = {}
    for node in trace.tree.root.walk():
        if not node.is_inner:
            first = nodes.setdefault(id(node.native), node)
            trace.names.setdefault(first.name, []).append(node.name)
    recorder = _Recorder(adapter, None if native else set(turned.inputs))

    def called(layer: Any, output: Any, inputs: Any = ()) -> None:
        node = nodes[id(layer)]
        trace.called.add(node.name)
        seen(trace, recorder.call(node, inputs, output))

    with adapter.watch([node.native for node in nodes.values()], called):
        output = adapter.run(model, trace.batch)
    trace.output = recorder.kept(output, turned.outputs)
    if trace.tree.root.name not in trace.called:  # where the whole model is compiled
        trace.called.add(trace.tree.root.name)
        seen(trace, Call(trace.tree.root, 0, recorder.order, [], -1, dict(trace.output)))
    return trace


class _Recorder:
    """Keeps the numbers of a run's tensors, one copy of what is given on as it is.

    Args:
        adapter: the backend's adapter.
        images: the ranks of what is an image with channels last, before the first layer; None to turn nothing.
    """

    def __init__(self, adapter: Adapter, images: set[int] | None) -> None:
        self.adapter = adapter
        self.images = images
        self.order = 0
        self._counts: dict[int, int] = {}
        # the tensors are kept as well, so that no other gets the identity of one
        self._known: dict[int, tuple[Any, Array, bool, float]] = {}

    def call(self, node: Node, inputs: Any, output: Any) -> Call:
        """What a layer was given and gave."""
        before = frozenset(self.images or ())
        if self.images is not None:
            layer = node.native
            _follow(self.images, node.kind, node.adapter.images(layer), getattr(layer, "to_images", False))
        after = frozenset(self.images or ())
        order, self.order = self.order, self.order + 1
        number = self._counts[id(node)] = self._counts.get(id(node), -1) + 1
        tensors = [one for _, one in leaves(inputs, self.adapter.is_tensor)]
        turned = before if node.kind in ("Flatten", "Reshape") else after
        given = [self._array(one, turned, order - 0.5) for one in tensors]
        since = max((self._known[id(one)][3] for one in tensors), default=order - 0.5)
        return Call(node, number, order, given, since, self.kept(output, after, order))

    def kept(self, output: Any, turned: frozenset[int], order: int | None = None) -> Leaves:
        """The tensors of an output, by their place in it."""
        found = {}
        for path, tensor in leaves(output, self.adapter.is_tensor):
            found[path] = self._array(tensor, turned, order)
        return found

    def _array(self, tensor: Any, turned: frozenset[int], since: float | None) -> Array:
        """A tensor's numbers; `since` is None where it does not matter, a whole number where a layer gave it."""
        now = np.asarray(self.adapter.array(tensor))
        last, known = now.ndim in turned, self._known.get(id(tensor))
        given = isinstance(since, int) or since is None
        if known is not None:
            last = last if given else known[2]
        seen = np.moveaxis(now, -1, 1) if last else now
        if known is not None and known[2] == last and _identical(known[1], seen):
            array = known[1]
        else:
            array = np.array(seen, order="C")  # a layer behind it may write into it
        if known is None or isinstance(since, int):
            self._known[id(tensor)] = (tensor, array, last, -1 if since is None else since)
        return array


def _identical(first: Array, second: Array) -> bool:
    return (
        first.dtype == second.dtype
        and first.shape == second.shape
        and bool(((first == second) | (first != first)).all())
    )


def rename_layers(tree: Tree, renamed: Callable[[str], str]) -> None:
    """Gives the layers of a tree other names; a container without tensors of its own makes room for a layer.

    A layer whose tensors are those of several layers elsewhere, or some of those of one, is compared with none.
    """
    nodes = list(tree.root.walk())
    names = {id(node): renamed_layer(renamed, node.name, node.a_role) for node in nodes}
    claims: dict[str, list[Node]] = {}
    parts = set()
    for node in nodes:
        owners = {renamed_layer(renamed, node.name, slot.role) for slot in node.slots}
        for name in owners:
            claims.setdefault(name, []).append(node)
        parts |= {id(node)} if len(owners) > 1 else set()
    for name, claiming in claims.items():
        if len(claiming) > 1:
            _check_apart(claiming, name, renamed)
            parts |= {id(node) for node in claiming}
    taken: dict[str, Node] = {}
    for node in sorted(nodes, key=lambda node: not node.slots):
        if id(node) in parts:
            names[id(node)] = node.name if node.name not in claims else f"{node.name} (in parts)"
        taken.setdefault(names[id(node)], node)
    for node in nodes:
        name = names[id(node)]
        node.name = name if taken[name] is node else f"{name}{ASIDE}"


def _check_apart(nodes: Sequence[Node], name: str, renamed: Callable[[str], str]) -> None:
    """Refuses a renaming after which tensors of several layers have one name."""
    made: dict[str, Node] = {}
    for node in nodes:
        for slot in node.slots:
            other = made.setdefault(renamed(slot.name), node)
            if other is not node:
                raise ArgumentError(f"rename= turns both {other.name!r} and {node.name!r} into {name!r}")


def _follow(images: set[int], kind: str, taken: frozenset[int], to_images: bool) -> None:
    """Which ranks are images behind a layer: those that it takes for such, and what a Reshape makes for the next."""
    if kind in ("Flatten", "Reshape"):
        images.clear()
        images |= {3, 4, 5} if to_images else set()
    else:
        images |= taken
    if takes_features_last(kind):
        images.discard(3)
