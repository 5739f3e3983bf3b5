"""Ties: several places in a model that are one parameter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ..adapter.base import Adapter
from ..adapter.capabilities import Ties, TieSide
from ..adapter.plugin import Capability
from ..adapter.registry import infer_model
from ..errors import ArgumentError, MismatchError, MismatchReport, ParameterNotFoundError, UninitializedError
from ..html import report
from ..layer_table.layout import At, Handle, compose, seen_through
from ..layer_table.steps import Step, invert
from ..model.node import Node
from ..model.parameter import Parameter
from ..model.slot import Slot
from ..model.tree import Tree, bump_version

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

    def _repr_html_(self) -> str:
        return report(str(self).partition("\n")[0], [], self.notes)


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
        UnsupportedError: the backend cannot tie, or the two are made of native tensors in different ways.

    >>> import multiparam as mp
    >>> net = mp.nn.Sequential(mp.nn.Linear(8, 8), mp.nn.ReLU(), mp.nn.Linear(8, 8))
    >>> print(mp.tie(net, "2", to="0"))
    changed: 2.weight, 2.bias
    >>> mp.tied(net)
    [('0.weight', '2.weight'), ('0.bias', '2.bias')]
    """
    adapter = infer_model(net).require(Ties)
    return tie_slots(adapter, net, Tree(adapter, net), [(_name(name), _name(to))])


def tie_slots(adapter: Ties, net: Any, tree: Tree, wanted: Sequence[tuple[str, str]]) -> TieReport:
    """Ties pairs of names: checks all, then changes."""
    pairs = [pair for name, to in wanted for pair in _pairs(tree, name, to)]
    plans = [(slot, target) for slot, target in pairs if slot.storage() != target.storage()]
    for slot, target in plans:
        check_pair(adapter, slot, target)
    _check_shared(adapter, tree, [slot for slot, _ in plans])
    for slot, target in plans:
        heirs = _orphans(tree, slot)
        for side, handle in _moves(slot, target):
            there = side.handle.variable is handle.variable and side.handle.axes == handle.axes
            if not there:  # or another slot that shares the native tensor has moved it already
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
    adapter = infer_model(net).require(Ties)
    tree = Tree(adapter, net)
    groups = {slot.name: group for group in tree.groups for slot in group}
    name = _name(name)
    slots = [slot for slot in _slots(tree, name) if len(groups[slot.name]) > 1]
    if not slots:
        raise ArgumentError(f"{name!r} is not tied; tied are {tied(net) or 'none'}")
    for slot in slots:
        _check_own(adapter, slot)
        twins = [other.name for other in groups[slot.name] if other is not slot and other.place == slot.place]
        if twins:
            raise adapter.unsupported(
                "untie",
                f"{slot.name!r} and {twins[0]!r} are one layer object used twice; put two layers in their places "
                f"and tie the parameters that should stay tied",
            )
    _check_shared(adapter, tree, slots)
    for slot in slots:
        slot.check_reachable(slot.handles() or ())
        for side in _sides(slot):
            adapter.check_tie(side, Handle(None))
    done: set[tuple[int, str]] = set()
    for slot in slots:
        heirs = _orphans(tree, slot)
        for side in _sides(slot):
            if (id(side.layer), side.part) not in done:
                adapter.untie(net, side, seen_through(side.handle, adapter.read(side.handle.variable)).copy())
                done.add((id(side.layer), side.part))
        _inherit(adapter, net, heirs)
    return _done(adapter, net, [slot.name for slot in slots])


def check_pair(adapter: Ties, slot: Slot, target: Slot) -> None:
    """Raises what `tie` raises unless the first slot can become the second."""
    for one in (slot, target):
        _check_own(adapter, one)
        if one.ready() is None:
            raise UninitializedError(
                f"{one.name!r} has no {'value' if one.abstract else 'shape'} yet and cannot be tied: {one.advice()}"
            )
        one.check_reachable(one.handles() or ())
        if one.is_buffer:
            raise adapter.unsupported(Capability.TIE, f"{one.name!r} is a buffer")
    if slot.shape() != target.shape():
        raise MismatchError(
            f"cannot tie {slot.name!r} to {target.name!r}",
            MismatchReport(misshaped=[(slot.name, target.shape(), slot.shape())]),
        )
    dtypes = [adapter.dtype(_sides(one)[0].handle.variable) for one in (slot, target)]
    if dtypes[0] != dtypes[1]:
        raise MismatchError(
            f"cannot tie {slot.name!r} to {target.name!r}",
            MismatchReport(mistyped=[(slot.name, dtypes[1], dtypes[0])]),
        )
    if _steps(slot) != _steps(target):
        raise adapter.unsupported(
            Capability.TIE, f"the native layouts of {slot.name!r} and {target.name!r} are no transposes of each other"
        )
    for side, handle in _moves(slot, target):
        if handle.axes is not None:
            adapter.require(Capability.TIE_TRANSPOSED)
        adapter.check_tie(side, handle)


def _check_own(adapter: Adapter, slot: Slot) -> None:
    if slot.node.adapter is not adapter:
        why = f"{slot.name!r} is {slot.node.adapter.name}'s, in a model that is {adapter.name}'s: tie them natively"
        raise adapter.unsupported(Capability.TIE, why)


def _check_shared(adapter: Adapter, tree: Tree, slots: Sequence[Slot]) -> None:
    """Refuses to change a native tensor that holds another parameter too, unless that one changes as well."""
    changing = {slot.place for slot in slots}
    variables = {id(side.handle.variable): slot for slot in slots if slot.source.partial for side in _sides(slot)}
    if not variables:
        return
    for group in tree.groups:
        for other in group:
            for handle in other.handles() or ():
                slot = variables.get(id(handle.variable))
                if slot is not None and slot.node is other.node and other.place not in changing:
                    raise adapter.unsupported(
                        Capability.TIE,
                        f"{slot.name!r} and {other.name!r} are one native tensor: name their layer, {slot.node.name!r}",
                    )


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
                about={f"{name}{key}": (one.shape(), one.node.kind) for key, one in (below | there).items()},
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


def _sides(slot: Slot) -> list[TieSide]:
    """The native tensors that a slot is made of now, which an earlier tie may have changed, in their layers."""
    sides = []
    for part, handle in zip(slot.source.parts, slot.look() or (), strict=True):
        owner = slot.owner(part)
        assert owner is not None
        sides.append(TieSide(owner[0][-1], owner[1], handle))
    return sides


def _steps(slot: Slot) -> tuple[Step, ...] | tuple[Any, ...]:
    """What must be equal for two slots to be tied: all but the first transposition of a single native tensor."""
    return slot.source.steps if isinstance(slot.source, At) else slot.source.form()


def _moves(slot: Slot, target: Slot) -> list[tuple[TieSide, Handle]]:
    """What each native tensor of the slot becomes, so that its canonical tensor equals the target's."""
    sides, there = _sides(slot), [side.handle for side in _sides(target)]
    if not isinstance(slot.source, At) or not isinstance(target.source, At):
        return list(zip(sides, there, strict=True))
    canonical = compose(there[0].axes, target.source.axes)
    back = None if slot.source.axes is None else invert(slot.source.axes)
    return [(sides[0], Handle(there[0].variable, compose(canonical, back)))]


def _orphans(tree: Tree, slot: Slot) -> list[Slot]:
    """The slots that would be left seeing a variable which no layer holds any more."""
    everywhere = [one for node in tree.root.walk() for one in node.slots]
    for one in everywhere:
        one.look()  # an earlier tie may have changed it
    storage = slot.storage()
    others = [one for one in everywhere if one.place != slot.place and one.storage() == storage]
    views = [other for other in others if _sides(other)[0].handle.axes is not None]
    return views if len(views) == len(others) and _sides(slot)[0].handle.axes is None else []


def _inherit(adapter: Ties, net: Any, heirs: list[Slot]) -> None:
    """The first of the heirs gets a variable of its own, which the others then see."""
    for position, heir in enumerate(heirs):
        if position == 0:
            (side,) = _sides(heir)
            adapter.untie(net, side, seen_through(side.handle, adapter.read(side.handle.variable)).copy())
        else:
            ((side, handle),) = _moves(heir, heirs[0])
            adapter.tie(net, side, handle)


def _done(adapter: Ties, net: Any, names: list[str]) -> TieReport:
    bump_version()
    return TieReport(names, adapter.notes_on_change(net) if names else [])
