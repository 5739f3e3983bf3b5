"""A model as what a reader hands over of a file, so that the verbs work on one thing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from ..adapter.base import Inventory
from ..errors import MultiparamError, UninitializedError
from ..formats.contents import Contents
from ..formats.entry import Entry
from ..gc_pause import uncollected
from ..layer_table.settings import EDITION
from ..model.inventory import inventory_of, left_out
from ..model.slot import Slot
from ..model.tree import Tree

__all__ = ["contents_of", "entry_of", "with_neutral"]


@uncollected()
def contents_of(tree: Tree, doing: str, inventory: Inventory | None = None) -> Contents:
    """What is in a model: its tensors, read when they are asked for, its ties, and what is known of its layers.

    Args:
        tree: the model.
        doing: what is done with a tensor, `"saved"`, for the errors.
        inventory: what the framework's saver keeps of the model, where it was asked already.

    Raises:
        UninitializedError: a lazy parameter has no value yet.
    """
    for node in tree.opaque():
        raise UninitializedError(
            f"{node.name or 'the model'!r} has no parameters yet: call multiparam.materialize(net, sample) first"
        )
    groups = [group for group in tree.groups if not group[0].transient]
    inventory = inventory_of(tree) if inventory is None else inventory
    return Contents(
        [entry_of(group[0].name, group[0], doing) for group in groups],
        content="model",
        layers={node.name: found for node in tree.root.walk() if (found := node.described())},
        settled=True,
        edition=EDITION,
        ties=[[slot.name for slot in group] for group in groups if len(group) > 1] + tree.neutral_ties(),
        left_out=left_out(tree, inventory),
        notes=inventory.notes,
        backend=tree.adapter.name,
        folds=tree.folds(),
        neutral=tree.neutral,
    )


def with_neutral(contents: Contents) -> Contents:
    """A model's contents as PyTorch has them: with what the model has no place for, and PyTorch has."""
    first = {name: group[0] for group in contents.ties for name in group}
    alone = {name: value for name, value in contents.neutral.items() if first.get(name, name) == name}
    added = [Entry(name, value.dtype, value.shape, value.copy) for name, value in alone.items()]
    return replace(contents, entries=[*contents.entries, *added])


def entry_of(name: str, slot: Slot, doing: str) -> Entry:
    """A model's tensor as one of a file.

    Args:
        name: what it is called there.
        slot: its place in the model.
        doing: as for `contents_of`.

    Raises:
        UninitializedError: it has no value yet.
    """
    handles = slot.ready()
    if handles is None:
        raise UninitializedError(f"{name!r} has no value yet and cannot be {doing}: {slot.advice()}")
    slot.check_reachable(handles)
    told = partial(_told, f"{name!r} cannot be {doing}")
    made_anew = slot.node.adapter.reads_copies and slot.source.is_plain
    return Entry(
        name, told(slot.dtype_of, handles), slot.extents(), partial(told, slot.read, handles), settled=made_anew
    )


def _told(problem: str, look: Callable[[Any], Any], thing: Any) -> Any:
    """What an adapter tells of a tensor; where it cannot, the error says of which."""
    try:
        return look(thing)
    except MultiparamError as error:
        raise MultiparamError(f"{problem}: {error}") from error
