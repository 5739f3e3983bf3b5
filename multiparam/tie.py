"""Ties: several places in a model that are one parameter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from .adapter import Adapter, Capability, TieSide
from .errors import ArgumentError, MismatchError, MismatchReport, ParameterNotFoundError, UninitializedError
from .layout import At, Handle, Step, compose, invert, seen_through
from .parameter import Parameter
from .registry import infer_model
from .tree import Node, Slot, Tree, changed

__all__ = ["TieReport", "tie", "tied", "untie"]


@dataclass
class TieReport:
    """What a tie or an untie changed.

    Attributes:
        names: the parameters whose storage changed.
        notes: what has to be done now, such as rebuilding an optimizer.
    """

    names: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return "\n".join([f"changed: {', '.join(self.names) or 'nothing'}", *self.notes])


def tie(net: Any, name: str | Parameter, *, to: str | Parameter) -> TieReport:
    """Makes one parameter, or each parameter of one layer, be another: one storage, summed gradients.

    An optimizer that was built before holds the old parameter: build it anew. (A compiled Keras model's own
    optimizer is reset here.)

    Args:
        net: a native model.
        name: the parameter or layer that changes.
        to: the parameter or layer that it becomes; value, dtype and trainability are this one's.

    Raises:
        ParameterNotFoundError: there is no such parameter or layer.
        MismatchError: shapes, dtypes or the layers' parameters differ; nothing was changed.
        UninitializedError: one of them is lazy and has no shape yet.
        UnsupportedError: the backend cannot tie, or one of them is made of several native tensors.

    >>> import multiparam as mp
    >>> net = mp.nn.Sequential(mp.nn.Linear(8, 8), mp.nn.ReLU(), mp.nn.Linear(8, 8))
    >>> print(mp.tie(net, "2", to="0"))
    changed: 2.weight, 2.bias
    >>> mp.tied(net)
    [('0.weight', '2.weight'), ('0.bias', '2.bias')]
    """
    adapter = infer_model(net)
    adapter.require(Capability.TIE)
    return tie_slots(adapter, net, Tree(adapter, net), [(_name(name), _name(to))])


def tie_slots(adapter: Adapter, net: Any, tree: Tree, wanted: Sequence[tuple[str, str]]) -> TieReport:
    """Ties pairs of names: checks all, then changes."""
    pairs = [pair for name, to in wanted for pair in _pairs(tree, name, to)]
    plans = [(slot, target) for slot, target in pairs if slot.storage() != target.storage()]
    for slot, target in plans:
        check_pair(adapter, slot, target)
    for slot, target in plans:
        handle = _handle(slot, target)
        side = _side(slot)
        heirs = _orphans(tree, slot)
        adapter.tie(net, side, handle)
        _inherit(adapter, net, heirs)
    return _done(adapter, net, [slot.name for slot, _ in plans])


def tied(net: Any) -> list[tuple[str, ...]]:
    """The groups of names that are one parameter each, in the model's order.

    Args:
        net: a native model.

    >>> import multiparam as mp
    >>> layer = mp.nn.Linear(8, 8, bias=False)
    >>> mp.tied(mp.nn.Sequential(layer, mp.nn.ReLU(), layer))
    [('0.weight', '2.weight')]
    """
    tree = Tree(infer_model(net), net)
    return [tuple(slot.name for slot in group) for group in tree.groups if len(group) > 1 and not group[0].is_buffer]


def untie(net: Any, name: str | Parameter) -> TieReport:
    """Gives a tied parameter, or each tied parameter of a layer, a storage of its own, with the same numbers.

    Args:
        net: a native model.
        name: the parameter or layer.

    Raises:
        ParameterNotFoundError: there is no such parameter or layer.
        ArgumentError: it is not tied.
        UnsupportedError: the names are one layer object used twice, or the backend cannot tie.

    >>> import multiparam as mp
    >>> net = mp.nn.Sequential(mp.nn.Linear(8, 8), mp.nn.Linear(8, 8))
    >>> report = mp.tie(net, "1", to="0")
    >>> print(mp.untie(net, "1.bias"))
    changed: 1.bias
    >>> mp.tied(net)
    [('0.weight', '1.weight')]
    """
    adapter = infer_model(net)
    adapter.require(Capability.TIE)
    tree = Tree(adapter, net)
    groups = {slot.name: group for group in tree.groups for slot in group}
    name = _name(name)
    slots = [slot for slot in _slots(tree, name) if len(groups[slot.name]) > 1]
    if not slots:
        raise ArgumentError(f"{name!r} is not tied; tied are {tied(net) or 'none'}")
    for slot in slots:
        twins = [other.name for other in groups[slot.name] if other is not slot and _same_place(other, slot)]
        if twins:
            raise adapter.unsupported(
                "untie",
                f"{slot.name!r} and {twins[0]!r} are one layer object used twice; put two layers in their places "
                f"and tie the parameters that should stay tied",
            )
    for slot in slots:
        adapter.check_tie(_side(slot), Handle(None))
    for slot in slots:
        side = _side(slot)
        value = seen_through(side.handle, adapter.read(side.handle.variable)).copy()
        heirs = _orphans(tree, slot)
        adapter.untie(net, side, value)
        _inherit(adapter, net, heirs)
    return _done(adapter, net, [slot.name for slot in slots])


def check_pair(adapter: Adapter, slot: Slot, target: Slot) -> None:
    """Raises what `tie` raises unless the first slot can become the second."""
    for one in (slot, target):
        if one.ready() is None:
            raise UninitializedError(
                f"{one.name!r} has no shape yet and cannot be tied: call multiparam.materialize(net, sample) first"
            )
        if not isinstance(one.source, At) or one.is_buffer:
            why = "is a buffer" if one.is_buffer else f"is made of {len(one.source.parts)} native tensors"
            raise adapter.unsupported(Capability.TIE, f"{one.name!r} {why}")
    if slot.shape() != target.shape():
        raise MismatchError(
            f"cannot tie {slot.name!r} to {target.name!r}",
            MismatchReport(misshaped=[(slot.name, target.shape(), slot.shape())]),
        )
    dtypes = [adapter.dtype(_side(one).handle.variable) for one in (slot, target)]
    if dtypes[0] != dtypes[1]:
        raise MismatchError(
            f"cannot tie {slot.name!r} to {target.name!r}",
            MismatchReport(mistyped=[(slot.name, dtypes[1], dtypes[0])]),
        )
    if _steps(slot) != _steps(target):
        raise adapter.unsupported(
            Capability.TIE, f"the native layouts of {slot.name!r} and {target.name!r} are no transposes of each other"
        )
    handle = _handle(slot, target)
    if handle.axes is not None:
        adapter.require(Capability.TIE_TRANSPOSED)
    adapter.check_tie(_side(slot), handle)


def _pairs(tree: Tree, name: str, to: str) -> list[tuple[Slot, Slot]]:
    slots, targets = _slots(tree, name), _slots(tree, to)
    if [slot.name for slot in slots] == [name] and [slot.name for slot in targets] == [to]:
        return [(slots[0], targets[0])]
    if [slot.name for slot in slots] == [name] or [slot.name for slot in targets] == [to]:
        raise ArgumentError(f"{name!r} and {to!r}: one is a parameter and the other a layer; name two of a sort")
    below = {slot.name[len(name) :]: slot for slot in slots}
    there = {slot.name[len(to) :]: slot for slot in targets}
    if below.keys() != there.keys():
        raise MismatchError(
            f"{name!r} and {to!r} do not have the same parameters",
            MismatchReport(
                missing=[f"{name}{key}" for key in there if key not in below],
                unexpected=[f"{name}{key}" for key in below if key not in there],
            ),
        )
    return [(below[key], there[key]) for key in below]


def _name(given: Any) -> str:
    if isinstance(given, Parameter):
        return given.name
    if not isinstance(given, str):
        raise ArgumentError(f"a parameter or layer is named by a string, not by {type(given).__name__}")
    return given


def _slots(tree: Tree, name: str) -> list[Slot]:
    """The parameter of that name, or all parameters of the layer of that name."""
    nodes: list[Node] = list(tree.root.walk())
    for node in nodes:
        for slot in node.slots:
            if slot.name == name:
                return [slot]
    for node in nodes:
        if node.name == name and name:
            found = [slot for one in node.walk() for slot in one.slots if not slot.is_buffer]
            if found:
                return found
            raise ArgumentError(f"{name!r} ({node.kind}) has no parameters")
    names = [slot.name for node in nodes for slot in node.slots if not slot.is_buffer]
    raise ParameterNotFoundError("parameter or layer", name, names + [node.name for node in nodes if node.name])


def _side(slot: Slot) -> TieSide:
    handles = slot.handles()
    assert handles is not None
    return TieSide(slot.node.native, slot.source.parts[0], handles[0])


def _steps(slot: Slot) -> tuple[Step, ...]:
    assert isinstance(slot.source, At)
    return slot.source.steps


def _handle(slot: Slot, target: Slot) -> Handle:
    """The target's variable, seen so that the slot's canonical tensor equals the target's."""
    assert isinstance(slot.source, At)
    assert isinstance(target.source, At)
    there = _side(target).handle
    canonical = compose(there.axes, target.source.axes)
    back = None if slot.source.axes is None else invert(slot.source.axes)
    return Handle(there.variable, compose(canonical, back))


def _orphans(tree: Tree, slot: Slot) -> list[Slot]:
    """The slots that would be left seeing a variable which no layer holds any more."""
    storage = slot.storage()
    others = [
        other
        for node in tree.root.walk()
        for other in node.slots
        if not _same_place(other, slot) and other.storage() == storage
    ]
    views = [other for other in others if _side(other).handle.axes is not None]
    return views if len(views) == len(others) and _side(slot).handle.axes is None else []


def _same_place(slot: Slot, other: Slot) -> bool:
    """Whether they are one tensor of one layer object, met under two names."""
    return slot.node.native is other.node.native and slot.role == other.role


def _inherit(adapter: Adapter, net: Any, heirs: list[Slot]) -> None:
    """The first of the heirs gets a variable of its own, which the others then see."""
    for position, heir in enumerate(heirs):
        side = _side(heir)
        if position == 0:
            adapter.untie(net, side, seen_through(side.handle, adapter.read(side.handle.variable)).copy())
        else:
            adapter.tie(net, side, _handle(heir, heirs[0]))


def _done(adapter: Adapter, net: Any, names: list[str]) -> TieReport:
    changed()
    return TieReport(names, adapter.notes_on_change(net) if names else [])
