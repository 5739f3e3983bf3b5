"""The names of a model's parameters, told at a glance, without the tree that all else about them needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..adapter.base import Adapter, Glance
from ..adapter.registry import owner
from ..errors import AmbiguousMatchError
from ..gc_pause import uncollected
from ..layer_table.layout import At
from ..layer_table.table import Row
from .tree import Node, own_slots

__all__ = ["Outline", "outlined"]

_Names = tuple[str, ...]
_Key = tuple[Any, ...]  # the names of a layer's tensors, and what its parameters are made of where that varies
_ABSENT = id(None)


class Outline:
    """The names of a model's parameters, and what was seen of it.

    Layers of one class that hold tensors of the same names have the same parameters, so that the whole work is done for
    the first of them only. A model with anything else in it takes the tree.

    Attributes:
        names: the canonical names, in order.
        epoch: when it was.
    """

    def __init__(self, adapter: Adapter, epoch: int) -> None:
        self.epoch = epoch
        self.names: list[str] = []
        self._adapter = adapter
        self._looks: list[tuple[Sequence[Any], Any]] = []
        self._variables: list[int] = []
        self._forms: dict[type, dict[_Key, _Names]] = {}
        self._varying: dict[type, Row] = {}

    def stands(self) -> bool:
        """Whether a new look would see the same."""
        for layers, before in self._looks:
            try:
                glance = self._adapter.glance(layers)
            except AmbiguousMatchError:
                return False  # the tree says what it is
            if glance is None or _seen(layers, glance) != before:
                return False
        return True

    def look(self, layers: Sequence[Any], prefixes: Sequence[str], above: frozenset[int] = frozenset()) -> None:
        """Adds the names in some layers and all below."""
        name = self._adapter.name
        if any(owner(native) not in (None, name) for native in {*map(type, layers)}):
            raise _TakesTree  # another framework's adapter tells what they hold
        glance = self._adapter.glance(layers)
        if glance is None:
            raise _TakesTree
        seen = _, names, variables, _ = _seen(layers, glance)
        self._looks.append((layers, seen))
        if _ABSENT in variables:
            names, variables = _there(glance), [one for one in variables if one != _ABSENT]
        self._variables += variables
        forms = self._roles(layers, names)
        if not any(glance.children):
            self.names += [prefix + role for prefix, roles in zip(prefixes, forms, strict=True) for role in roles]
            return
        for layer, prefix, roles, children in zip(layers, prefixes, forms, glance.children, strict=True):
            self.names += [prefix + role for role in roles]
            if children:
                self._look_below(layer, prefix, roles, children, above)

    def has_ties(self) -> bool:
        """Whether some variable was met twice."""
        return len({*self._variables}) < len(self._variables)

    def _look_below(
        self, layer: Any, prefix: str, roles: _Names, children: Mapping[str, Any], above: frozenset[int]
    ) -> None:
        """Adds the names below one layer."""
        if None in children.values():
            children = {key: child for key, child in children.items() if child is not None}
        row = self._adapter.row(layer)
        if row is not None and row.buffers:
            raise _TakesTree  # children may be called like them
        below, components = list(children.values()), list(map(self._adapter.component, children))
        above |= {id(layer)}
        if not above.isdisjoint(map(id, below)) or not {*roles, ""}.isdisjoint(components):
            raise _TakesTree
        self.look(below, [prefix + component + "." for component in components], above)

    def _roles(self, layers: Sequence[Any], names: Sequence[_Names]) -> list[_Names]:
        """The canonical names in each of some layers."""
        classes = list(map(type, layers))
        for native in {*classes} - self._forms.keys():
            self._forms[native] = {}
            row = self._adapter.row(layers[classes.index(native)])
            if row is not None and row.parts_vary:
                self._varying[native] = row
        keys: Sequence[_Key] = names
        if not self._varying.keys().isdisjoint(classes):
            keys = [
                (*own, *_parts(self._varying[native], layer)) if native in self._varying else own
                for native, own, layer in zip(classes, names, layers, strict=True)
            ]
        known = list(map(self._forms.__getitem__, classes))
        try:
            return list(map(dict.__getitem__, known, keys))
        except KeyError:
            for forms, key, layer, own in zip(known, keys, layers, names, strict=True):
                if key not in forms:
                    forms[key] = _form(self._adapter, layer, own)
            return list(map(dict.__getitem__, known, keys))


class _TakesTree(Exception):  # noqa: N818 - an answer, not an error
    """A glance does not tell the names."""


def outlined(adapter: Adapter, model: Any, epoch: int, above: Sequence[Any] = ()) -> Outline | None:
    """A model's outline; None where it takes the tree to tell what the names are.

    Args:
        adapter: the model's.
        model: the native model.
        epoch: the present one.
        above: the native layers that lead to it, where it is a part of another.
    """
    outline = Outline(adapter, epoch)
    try:
        with uncollected():
            outline.look([model], [""], frozenset(map(id, above)))
            return None if outline.has_ties() else outline
    except (_TakesTree, AmbiguousMatchError, RecursionError):  # the tree names what clashes, and takes fewer calls
        return None


def _seen(layers: Sequence[Any], glance: Glance) -> tuple[list[type], Sequence[_Names], list[int], list[_Key]]:
    """What tells some layers' contents from others."""
    children = glance.children if any(glance.children) else ()
    below = [(*those, *map(id, those.values())) for those in children]
    return list(map(type, layers)), glance.names, list(map(id, glance.variables)), below


def _there(glance: Glance) -> list[_Names]:
    """The names of those parameters that are there."""
    variables = iter(glance.variables)
    return [tuple(name for name in names if next(variables) is not None) for names in glance.names]


def _parts(row: Row, layer: Any) -> tuple[Any, ...]:
    """What a layer's own form of the row makes its parameters of."""
    return tuple([(role, source.parts) for role, source in row.sources_of(layer).items()])


def _form(adapter: Adapter, layer: Any, names: _Names) -> _Names:
    """The canonical names of a layer's parameters, where its tensors' names alone tell them."""
    row, members = adapter.row(layer), adapter.members(layer)
    if row is not None:
        deep = any("/" in part for source in row.sources_of(layer).values() for part in source.parts)
        if deep or row.inner or (row.lazy is not None and row.lazy(layer)):
            raise _TakesTree
    slots = own_slots(Node(adapter, layer, "", "", (), None), members)
    own = [slot for slot in slots if not slot.is_buffer]
    held = [slot.source.parts[0] for slot in own if isinstance(slot.source, At)]
    whole = len(held) == len(own) == len(set(held)) and {*held} <= {*names} and {*members.parameters} == {*held}
    if not whole or members.opaque or any("." in slot.role for slot in own):  # as a parameter of a child may be called
        raise _TakesTree
    return tuple([slot.role for slot in own])
