"""The names of a model's parameters, told at a glance, without the tree that all else about them needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import repeat
from typing import Any

from .adapter import Adapter, Glance
from .collecting import uncollected
from .errors import AmbiguousMatchError
from .layout import At
from .table import Row
from .tree import Node, own_slots

__all__ = ["Outline", "outlined"]

_Names = tuple[str, ...]
_REFUSED: _Names = ("",)  # no name is empty
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
        self._looks: list[tuple[Sequence[Any], tuple[Any, ...]]] = []
        self._rows: dict[type, Row | None] = {}
        self._forms: dict[Any, _Names] = {}

    def stands(self) -> bool:
        """Whether a new look would see the same."""
        for layers, before in self._looks:
            glance = self._adapter.glance(layers)
            if glance is None or _mark(glance) != before:
                return False
        return True

    def look(self, layers: Sequence[Any], prefixes: Sequence[str], above: frozenset[int] = frozenset()) -> bool:
        """Adds the names in some layers and all below; False where it takes the tree to tell them."""
        glance = self._adapter.glance(layers)
        if glance is None:
            return False
        mark = _mark(glance)
        self._looks.append((layers, mark))
        names = _there(glance) if _ABSENT in mark[1] else glance.names
        forms = self._roles(layers, names)
        if _REFUSED in forms:
            return False
        if not any(glance.children):
            self.names += [prefix + role for prefix, roles in zip(prefixes, forms, strict=True) for role in roles]
            return True
        return all(map(self._below, layers, prefixes, forms, glance.children, repeat(above)))

    def has_ties(self) -> bool:
        """Whether some variable was met twice."""
        variables = [one for _, (_, own, _) in self._looks for one in own]
        return len({*variables} - {_ABSENT}) < len(variables) - variables.count(_ABSENT)

    def _below(
        self, layer: Any, prefix: str, roles: _Names, children: Mapping[str, Any], above: frozenset[int]
    ) -> bool:
        """Adds the names in one layer and all below."""
        self.names += [prefix + role for role in roles]
        found = {key: child for key, child in children.items() if child is not None}
        if not found:
            return True
        above |= {id(layer)}
        if not above.isdisjoint(map(id, found.values())) or not found.keys().isdisjoint((*roles, "")):
            return False
        component = self._adapter.component
        return self.look([*found.values()], [f"{prefix}{component(key)}." for key in found], above)

    def _roles(self, layers: Sequence[Any], names: Sequence[_Names]) -> list[_Names]:
        """The canonical names in each of some layers."""
        classes = list(map(type, layers))
        for native in {*classes} - self._rows.keys():
            self._rows[native] = self._adapter.row(layers[classes.index(native)])
        keys: list[Any] = list(zip(classes, names, strict=True))
        varying = {native for native in {*classes} if (row := self._rows[native]) is not None and callable(row.sources)}
        if varying:
            keys = [
                (*key, _parts(self._rows[key[0]], layer)) if key[0] in varying else key
                for key, layer in zip(keys, layers, strict=True)
            ]
        if None in map(self._forms.get, keys):
            one_of_each = dict(zip(keys, layers, strict=True))
            self._forms |= {key: _form(self._adapter, layer, key[1]) for key, layer in one_of_each.items()}
        return list(map(self._forms.__getitem__, keys))


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
            told = outline.look([model], [""], frozenset(map(id, above))) and not outline.has_ties()
    except RecursionError:  # the tree takes fewer calls for each layer
        return None
    return outline if told else None


def _mark(glance: Glance) -> tuple[Any, ...]:
    """What tells some layers' contents from others."""
    below = [(*children, *map(id, children.values())) if children else () for children in glance.children]
    return glance.names, list(map(id, glance.variables)), below


def _there(glance: Glance) -> list[_Names]:
    """The names of those parameters that are there."""
    variables = iter(glance.variables)
    return [tuple(name for name in names if next(variables) is not None) for names in glance.names]


def _parts(row: Row | None, layer: Any) -> tuple[Any, ...]:
    """What a layer's own form of the row makes its parameters of."""
    sources = {} if row is None else row.sources_of(layer)
    return tuple([(role, source.parts) for role, source in sources.items()]) if sources else ()


def _form(adapter: Adapter, layer: Any, names: _Names) -> _Names:
    """The canonical names of a layer's parameters, or that its tensors' names alone do not tell them."""
    row, members = adapter.row(layer), adapter.members(layer)
    if row is not None:
        deep = any("/" in part for source in row.sources_of(layer).values() for part in source.parts)
        if deep or row.inner or (row.lazy is not None and row.lazy(layer)):
            return _REFUSED
    try:
        slots = own_slots(Node(adapter, layer, "", "", (), None), members)
    except AmbiguousMatchError:
        return _REFUSED
    own = [slot for slot in slots if not slot.is_buffer]
    held = [slot.source.parts[0] for slot in own if isinstance(slot.source, At)]
    whole = len(held) == len(own) == len(set(held)) and {*held} <= {*names} and {*members.parameters} == {*held}
    return tuple(slot.role for slot in own) if whole and not members.opaque else _REFUSED
