"""The neutral tree: what an adapter's walk over a native model looks like to every verb."""

from __future__ import annotations

import itertools
from functools import cached_property
from typing import Any

from ..adapter.base import Adapter
from ..arrays.types import Array
from ..gc_pause import uncollected
from ..layer_table.table import Fold
from ..names.pattern import join
from .node import Node, unwrapped
from .slot import Slot
from .walk import Walk

__all__ = ["Tree", "bump_version", "version"]

_versions = itertools.count(1)
_version = 0


def version() -> int:
    """A number that grows whenever a verb changed the structure of some model, so that mappings walk it anew."""
    return _version


def bump_version() -> None:
    """Says that a verb changed the structure of some model: a tie, new parameters, a new layer kind."""
    global _version
    _version = next(_versions)


class Tree:
    """A native model as the verbs see it: a snapshot, made by one walk.

    Args:
        adapter: the model's.
        model: the native model, or a layer of one.
        prefix: the name of the layer in the model.
        above: the native layers from the model down to the layer's parent.

    Attributes:
        root: the model itself.
    """

    def __init__(self, adapter: Adapter, model: Any, prefix: str = "", above: tuple[Any, ...] = ()) -> None:
        self.adapter = adapter
        self.model = model
        self._walk = Walk(adapter, above)
        with uncollected():
            inside, wrappers = unwrapped(adapter, model)
            self.root = self._walk.visit(inside, prefix, wrappers)
        self.root.set_above(above)

    def names(self, buffers: frozenset[bool] = frozenset((False,))) -> list[str]:
        """The canonical names in the model's order, of those that are one storage the first.

        Args:
            buffers: of what is no buffer, or one, or both.
        """
        found = []
        for node, position in self._walk.first.values():
            form = node.form
            if form is not None and form.buffers[position] in buffers:
                found.append(join(node.name, form.roles[position]))
            elif form is None and (slot := node.slots[position]).is_buffer in buffers:
                found.append(slot.name)
        return found

    @cached_property
    def primary(self) -> list[Slot]:
        """The slots in the model's order, of those that are one storage the first."""
        return [node.slots[position] for node, position in self._walk.first.values()]

    @cached_property
    def _others(self) -> dict[str, list[Slot]]:
        """The further slots of the storages that have several, by the name of the first."""
        first = self._walk.first
        return {
            node.slots[position].name: [other.slots[at] for other, at in self._walk.others[key]]
            for key, (node, position) in ((key, first[key]) for key in self._walk.others)
        }

    def group(self, primary: Slot) -> list[Slot]:
        """All slots of a storage, given the first."""
        return [primary, *self._others.get(primary.name, ())]

    @property
    def has_ties(self) -> bool:
        """Whether some slots are one storage."""
        return bool(self._walk.others)

    @cached_property
    def groups(self) -> list[list[Slot]]:
        """The slots that are one storage, in the order of their first."""
        return [self.group(slot) for slot in self.primary]

    @property
    def incomplete(self) -> bool:
        """Whether some layer had not all of its parameters yet, so that a later walk can see more."""
        return self._walk.incomplete

    @cached_property
    def lazy(self) -> bool:
        """Whether something has no parameters or no numbers yet."""
        if self.incomplete:
            return True
        nodes = self.root.walk()
        return any((found := slot.handles()) is None or not slot.valued(found) for one in nodes for slot in one.slots)

    def check_reachable(self) -> None:
        """Raises UnsupportedError if this process has not all of the model's numbers."""
        for slot in self.primary:
            slot.check_reachable(slot.handles() or ())

    def is_current(self) -> bool:
        """Whether a new walk would find the same, nothing being lazy."""
        for adapter, native, members in self._walk.held.values():  # noqa: SIM110 - half of the time of a generator
            if not adapter.holds(native, members):
                return False
        return True

    @cached_property
    def neutral(self) -> dict[str, Array]:
        """What PyTorch has and the model has no place for, with the neutral values, by name."""
        nodes = self.root.walk()
        return {join(node.name, role): value for node in nodes for role, value in node.file_only().items()}

    def neutral_ties(self) -> list[list[str]]:
        """The groups of the names of that in layers that are there several times."""
        names: dict[tuple[int, str], list[str]] = {}
        for node in self.root.walk() if self.neutral else ():
            for role in node.file_only():
                names.setdefault((id(node.native), role), []).append(join(node.name, role))
        return [group for group in names.values() if len(group) > 1]

    def folds(self) -> dict[str, tuple[str, Fold]]:
        """What is added to other tensors when a file is loaded: that one's name, and how, by name."""
        found = {}
        for node in self.root.walk():
            for role, fold in node.folds().items():
                found[join(node.name, role)] = (join(node.name, fold.into), fold)
        return found

    def opaque(self) -> list[Node]:
        """The layers whose parameters cannot be told before their first batch, each once."""
        found: dict[int, Node] = {}
        for node in self.root.walk():
            if node.opaque:
                found.setdefault(id(node.native), node)
        return list(found.values())
